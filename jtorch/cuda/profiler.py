"""``torch.cuda.profiler``: which part of a program a profiler started outside it is to record.

The switch is CUDA's own (``cudaProfilerStart``): ``nsys profile -c cudaProfilerApi`` begins there, whoever computes.
"""

from __future__ import annotations

import contextlib
import ctypes

from ..trace.recorder import sync
from . import _require, check_error


def _call(function: str) -> None:
    _require()
    for version in (13, 12):
        with contextlib.suppress(OSError):
            check_error(getattr(ctypes.CDLL(f"libcudart.so.{version}"), function)())
            return
    raise RuntimeError("torch.cuda.profiler: libcudart.so.13 (or .12), CUDA's runtime, was not found")


def start() -> None:
    """Record from here, once what was asked for before has run."""
    sync()
    _call("cudaProfilerStart")


def stop() -> None:
    """Record no longer, once what was asked for has run."""
    sync()
    _call("cudaProfilerStop")


@contextlib.contextmanager
def profile():
    """``with profile():`` record the block."""
    start()
    try:
        yield
    finally:
        stop()


__all__ = ["profile", "start", "stop"]
