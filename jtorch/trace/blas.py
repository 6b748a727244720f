"""How many threads NumPy's matrix products take while a program is interpreted: one.

OpenBLAS divides products from 64 x 64 x 64 on among its threads, and waits for all of them, spinning. What is
interpreted is small: the threads save microseconds, and where another program has the second processor, they cost
milliseconds a product. See docs/decisions/0015-small-programs.md.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

#: multiplications from which on a product is divided
DIVIDED = 1 << 18


@functools.cache
def _library() -> tuple[Callable, Callable] | None:
    """OpenBLAS's functions that give and set the number of threads; None where NumPy does not bring one along."""
    package = Path(np.__file__).parent
    for path in (*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name in ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads"):
            if hasattr(library, name.format("set")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


class _OneThread:
    """A context manager inside which NumPy's products take one thread, the caller's. May be nested, and entered by
    several threads: the last one to leave puts things back."""

    def __init__(self):
        self._lock = threading.Lock()
        self._inside, self._before = 0, 1

    def __enter__(self) -> None:
        found = _library()
        if found is None:
            return
        get, put = found
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = get()
                if self._before > 1:
                    put(1)

    def __exit__(self, *_) -> None:
        found = _library()
        if found is None:
            return
        with self._lock:
            self._inside -= 1
            if not self._inside and self._before > 1:
                found[1](self._before)


one_thread = _OneThread()
