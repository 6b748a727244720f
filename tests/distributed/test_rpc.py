"""Functions called in other processes."""

from __future__ import annotations

from . import launch


def test_calls_and_references():
    launch.succeed("rank_rpc.py", 2)


def test_gradients():
    launch.succeed("rank_rpc_gradients.py", 3)
