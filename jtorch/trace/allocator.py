"""How the C library's allocator treats the large buffers of a training step.

XLA's CPU backend takes a fresh scratch buffer for each run of a program: 51 MB for a small GPT's step, 207 MB for
ResNet-18. Under glibc's defaults a block of that size is mapped anew and returned each time, which costs a page fault
for every 4 KiB of it, a fifth to a third of the step. See docs/decisions/0008-keep-freed-memory.md.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8


def keep_freed_memory() -> bool:
    """Have glibc reuse freed blocks instead of returning them; True if that was done.

    Nothing is done elsewhere than on Linux with glibc, when ``JTORCH_KEEP_MEMORY=0``, or when the environment tunes the
    allocator itself (``MALLOC_…``, ``GLIBC_TUNABLES``).
    """
    if not sys.platform.startswith("linux") or os.environ.get("JTORCH_KEEP_MEMORY") == "0":
        return False
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        mallopt, _ = library.mallopt, library.gnu_get_libc_version
    except (AttributeError, OSError):
        return False  # another C library
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_ARENA_MAX, 1)  # other arenas are limited to 64 MiB
    return True
