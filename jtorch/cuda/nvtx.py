"""``torch.cuda.nvtx``: named regions in the timeline of JAX's profiler."""

from __future__ import annotations

import contextlib
import threading

from ..autograd.profiler import record_function


class _Open(threading.local):
    def __init__(self):
        self.regions: list[record_function] = []
        self.numbered: dict[int, record_function] = {}


_open = _Open()


def range_push(msg: str) -> int:
    """Begin a region inside those of this thread that are open; returns how many those are."""
    _open.regions.append(record_function(msg).__enter__())
    return len(_open.regions) - 1


def range_pop() -> int:
    """End the innermost region; returns how many were open around it, or -2 if none was open (as NVTX does)."""
    if not _open.regions:
        return -2
    _open.regions.pop().__exit__(None, None, None)
    return len(_open.regions)


def range_start(msg) -> int:
    """Begin a region that need not lie within others; the number returned ends it."""
    number = max(_open.numbered, default=0) + 1
    _open.numbered[number] = record_function(msg).__enter__()
    return number


def range_end(range_id) -> None:
    """End the region of that number; nothing if there is none."""
    region = _open.numbered.pop(range_id, None)
    if region is not None:
        region.__exit__(None, None, None)


@contextlib.contextmanager
def range(msg: str, *args, **kwargs):
    """``with range("step {}", i):`` a region; also decorates functions."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()


def mark(msg: str) -> None:
    """A region of no length."""
    with record_function(msg):
        pass


__all__ = ["mark", "range", "range_end", "range_pop", "range_push", "range_start"]
