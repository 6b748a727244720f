"""``torch.accelerator``: the accelerator of this process, whichever kind it is (here: CUDA)."""

from __future__ import annotations

import contextlib

from .. import cuda, dtypes
from ..cuda.streams import current_stream, set_stream
from ..devices import device


def is_available() -> bool:
    """Whether there is an accelerator."""
    return cuda.is_available()


def device_count() -> int:
    """How many accelerators there are; 0 without any."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False):
    """The accelerator's device type as a device without index, or None."""
    return device("cuda") if cuda.is_available() else None


def _require() -> None:
    if not is_available():
        raise RuntimeError("Cannot access accelerator device when none is available.")


def current_device_index() -> int:
    """The index of the current accelerator.

    Raises:
        RuntimeError: there is none.
    """
    _require()
    return cuda.current_device()


def set_device_index(device) -> None:
    """Make an accelerator, given by its index or device, the current one."""
    _require()
    cuda.set_device(device)


def synchronize(device=None) -> None:
    """Wait until everything asked for so far is computed."""
    _require()
    cuda.synchronize()


def empty_cache() -> None:
    """Accepted: XLA keeps its memory pool."""
    _require()


class device_index(contextlib.ContextDecorator):
    """``with device_index(i):`` make accelerator ``i`` the current one inside the block (nothing for None)."""

    def __init__(self, device):
        self.index = device

    def __enter__(self):
        if self.index is not None:
            self.before = current_device_index()
            set_device_index(self.index)

    def __exit__(self, *exc):
        if self.index is not None:
            set_device_index(self.before)


def get_device_capability(device=None, /) -> dict:
    """``{"supported_dtypes": ...}``: the dtypes an accelerator computes with."""
    _require()
    return {"supported_dtypes": {d for d in dtypes.ALL if d is not dtypes.complex32}}


def get_memory_info(device_index=None, /) -> tuple[int, int]:
    """(free, total) bytes of an accelerator's memory."""
    _require()
    return cuda.mem_get_info(device_index)


def empty_host_cache() -> None:
    """Accepted: XLA keeps the memory it pins."""
    _require()


class Graph:
    """Refuses, naming the way out."""

    def __init__(self, *args, **kwargs):
        _require()
        cuda.CUDAGraph()


current_device_idx, set_device_idx = current_device_index, set_device_index
memory_allocated, max_memory_allocated = cuda.memory_allocated, cuda.max_memory_allocated
memory_reserved, max_memory_reserved = cuda.memory_reserved, cuda.max_memory_reserved
memory_stats, reset_peak_memory_stats = cuda.memory_stats, cuda.reset_peak_memory_stats
reset_accumulated_memory_stats = cuda.reset_accumulated_memory_stats

__all__ = [
    "current_accelerator", "current_device_index", "current_stream", "device_count", "device_index", "empty_cache",
    "Graph", "empty_host_cache", "get_device_capability", "get_memory_info", "is_available", "max_memory_allocated",
    "max_memory_reserved", "memory_allocated", "memory_reserved", "memory_stats", "reset_accumulated_memory_stats",
    "reset_peak_memory_stats", "set_device_index", "set_stream", "synchronize",
]  # fmt: skip
