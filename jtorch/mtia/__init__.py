"""``torch.mtia``: Meta's accelerators, which jtorch does not run on; programs ask and are told so.

Answers are those of a machine without one; what needs a device raises RuntimeError.
"""

from __future__ import annotations

import contextlib

from ..cuda.streams import DeviceEvent as Event
from ..cuda.streams import Stream, StreamContext, set_stream, stream
from ..xpu.absent import nothing, refusal, zero

_HINT = "jtorch has no mtia devices; torch.accelerator names the one there is"


def is_available() -> bool:
    """False."""
    return False


is_initialized = is_available


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """True: of every such device."""
    return True


def memory_stats(device=None) -> dict:
    """Empty: there is no device."""
    return {}


def get_rng_state_all() -> list:
    """Empty: there is no device."""
    return []


class device(contextlib.nullcontext):
    """``with mtia.device(i):`` nothing for None and negative indices, else RuntimeError."""

    def __init__(self, device):
        if device is not None and not (isinstance(device, int) and device < 0):
            raise RuntimeError(f"torch.mtia.device({device!r}): {_HINT}")
        super().__init__()


for _name in ("device_count", "max_memory_allocated", "memory_allocated"):
    globals()[_name] = zero(_name)
for _name in ("manual_seed", "manual_seed_all", "record_memory_history", "reset_peak_memory_stats", "seed", "seed_all",
              "set_rng_state_all"):  # fmt: skip
    globals()[_name] = nothing(_name)
for _name in (
    "attach_out_of_memory_observer", "current_device", "current_stream", "default_stream", "empty_cache",
    "get_device_capability", "get_device_properties", "get_rng_state", "graph", "graph_pool_handle", "init",
    "initial_seed", "MTIAGraph", "set_device", "set_rng_state", "snapshot", "synchronize",
):  # fmt: skip
    globals()[_name] = refusal("mtia", _name, _HINT)

__all__ = [
    "Event", "MTIAGraph", "Stream", "StreamContext", "attach_out_of_memory_observer", "current_device",
    "current_stream", "default_stream", "device", "device_count", "empty_cache", "get_device_capability",
    "get_device_properties", "get_rng_state", "get_rng_state_all", "graph", "graph_pool_handle", "init",
    "initial_seed", "is_available", "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "memory_allocated", "memory_stats", "record_memory_history", "reset_peak_memory_stats",
    "seed", "seed_all", "set_device", "set_rng_state", "set_rng_state_all", "set_stream", "snapshot", "stream",
    "synchronize",
]  # fmt: skip
