"""Checkpoints of several processes, and functional collectives between them."""

from __future__ import annotations

import pytest

from . import launch


@pytest.mark.parametrize("world_size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_ranks_together(world_size, tmp_path):
    for rank in launch.succeed("rank_checkpoint.py", world_size, str(tmp_path)):
        assert rank.out.rstrip().endswith("ok")
