"""``torch._inductor.utils``: the one helper programs use of it."""

from __future__ import annotations

import contextlib

from ..trace import executor


@contextlib.contextmanager
def fresh_cache(*args, **kwargs):
    """Inside the block nothing is known that was compiled in this process before, to time compilation; the arguments,
    which place PyTorch's cache, are accepted. Programs in the folder ``JTORCH_CACHE_DIR`` are found as ever."""
    executor.clear()
    yield


fresh_inductor_cache = fresh_cache
