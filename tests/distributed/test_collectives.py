"""Collectives between real processes."""

from __future__ import annotations

import pytest

from . import launch


@pytest.mark.parametrize("world_size", [2, 4])
def test_collectives(world_size):
    for rank in launch.succeed("rank_collectives.py", world_size):
        assert rank.out.rstrip().endswith("ok")


@pytest.mark.slow
def test_every_dtype_with_every_reduction():
    launch.succeed("rank_collectives.py", 4, "--all", timeout=300)
