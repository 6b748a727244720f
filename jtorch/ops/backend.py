"""The kind of backend the program being traced will run on, for ops that lower differently on each."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager

import jax


class _State(threading.local):
    platform = "cpu"
    here = False


_state = _State()


def platform() -> str:
    """``"cpu"``, ``"cuda"`` or ``"tpu"``."""
    return _state.platform


def multiplies_bfloat16() -> bool:
    """Whether the program will run on a processor that multiplies matrices of bfloat16 faster than of float32.

    Not where the processor counts as several devices: JAX 0.10 gathers a sharded array whose layout is pinned.
    """
    return _state.here and _state.platform == "cpu" and "amx_bf16" in _features() and jax.device_count("cpu") == 1


@contextmanager
def using(name: str, here: bool | None = None):
    """Trace ops for this platform inside the block; ``here``: for this very machine (None: as before)."""
    before = _state.platform, _state.here
    _state.platform, _state.here = name, _state.here if here is None else here
    try:
        yield
    finally:
        _state.platform, _state.here = before


@functools.cache
def _features() -> frozenset[str]:
    """What this machine's processor can do, in Linux's words."""
    try:
        with open("/proc/cpuinfo") as file:
            return frozenset(next((line for line in file if line.startswith("flags")), "").split())
    except OSError:
        return frozenset()
