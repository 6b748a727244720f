"""Starting the ranks of a job, each in a process of its own."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
HERE = pathlib.Path(__file__).parent


class Rank(NamedTuple):
    """How the process of one rank ended, and when (seconds after the start of all)."""

    code: int
    out: str
    seconds: float


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(script: str, world_size: int, *args: str, timeout: float = 300, **env) -> list[Rank]:
    """Run ``tests/distributed/<script>`` on every rank.

    Args:
        env: environment variables for all ranks; None removes one.

    Raises:
        AssertionError: a rank did not end within ``timeout``.
    """
    base = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), WORLD_SIZE=str(world_size))
    base |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    start, logs, processes = time.monotonic(), [], []
    for rank in range(world_size):
        each = {**base, "RANK": str(rank), "LOCAL_RANK": str(rank), **env}
        log = tempfile.TemporaryFile("w+")
        command = [sys.executable, "-W", "error::DeprecationWarning:jtorch", str(HERE / script), *args]
        environment = {k: v for k, v in each.items() if v is not None}
        processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT))
        logs.append(log)
    ends: dict[int, float] = {}
    try:
        while len(ends) < world_size and time.monotonic() - start < timeout:
            for rank, process in enumerate(processes):
                if rank not in ends and process.poll() is not None:
                    ends[rank] = time.monotonic() - start
            time.sleep(0.02)
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
    texts = []
    for log in logs:
        log.seek(0)
        texts.append(log.read())
        log.close()
    assert len(ends) == world_size, f"ranks {set(range(world_size)) - ends.keys()} did not end\n" + "\n".join(texts)
    return [Rank(p.returncode, texts[r], ends[r]) for r, p in enumerate(processes)]


def succeed(script: str, world_size: int, *args: str, **how) -> list[Rank]:
    """:func:`run`, and every rank must end without an error."""
    ranks = run(script, world_size, *args, **how)
    bad = [f"--- rank {r} of {world_size}, code {x.code}\n{x.out}" for r, x in enumerate(ranks) if x.code]
    assert not bad, "\n".join(bad)
    return ranks


def refused(fn, kind, words):
    """In a rank: ``fn()`` raises an exception of this kind that says these words."""
    try:
        fn()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"nothing was raised: {words}")
