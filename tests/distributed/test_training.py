"""Training in several processes gives what one process gives."""

from __future__ import annotations

import pytest

from . import launch


def test_two_ranks():
    launch.succeed("rank_training.py", 2)


@pytest.mark.slow
def test_four_ranks():
    launch.succeed("rank_training.py", 4, timeout=300)
