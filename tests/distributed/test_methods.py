"""Ways of joining a job."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from . import launch


@pytest.mark.slow
@pytest.mark.parametrize("method", ["file", "tcp", "store"])
def test_methods(method, tmp_path):
    url = {"file": f"file://{tmp_path}/rendezvous", "tcp": f"tcp://127.0.0.1:{launch.free_port()}"}.get(method, method)
    launch.succeed("rank_methods.py", 2, url)
    assert not (tmp_path / "rendezvous").exists()


def test_ranks_that_disagree():
    ranks = launch.run("rank_methods.py", 2, "disagree", timeout=150)
    assert [r.code for r in ranks] == [1, 1]
    assert "rank 1 was told that world_size is 3, rank 0 that it is 2" in ranks[1].out


@pytest.mark.slow
def test_one_rank_twice():
    ranks = launch.run("rank_methods.py", 3, "same rank", timeout=150)
    assert all(r.code for r in ranks)
    assert "there is a process with rank 1 already" in ranks[1].out + ranks[2].out


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torchrun is PyTorch's")
def test_pytorchs_own_launcher():
    """``torchrun`` keeps a store of its own at MASTER_PORT."""
    script = str(launch.HERE / "rank_launched.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", script]
    env = dict(os.environ, PYTHONPATH=str(launch.ROOT), JAX_PLATFORMS="cpu")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count("ok") == 2, done.stdout + done.stderr
