"""Tensors and parameters cut over processes."""

from __future__ import annotations

import pytest

from . import launch


@pytest.mark.slow  # a minute; test_training goes through the operations that networks use
def test_operations():
    launch.succeed("rank_dtensor.py", 2)


@pytest.mark.slow
def test_all_operations():
    launch.succeed("rank_dtensor.py", 2, "--all", timeout=600)


@pytest.mark.slow
def test_operations_on_four_ranks():
    launch.succeed("rank_dtensor.py", 4, timeout=600)


def test_training():
    launch.succeed("rank_sharded.py", 2)


@pytest.mark.slow
def test_more_training():
    launch.succeed("rank_sharded.py", 2, "--all", timeout=600)


@pytest.mark.slow
def test_two_dimensions():
    launch.succeed("rank_sharded.py", 4, timeout=600)
