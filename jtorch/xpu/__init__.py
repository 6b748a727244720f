"""``torch.xpu``: Intel's GPUs, which jtorch does not run on; programs ask and are told so.

Questions and accepted calls are answered as for a machine without such a GPU: nothing is available, no memory is
in use, there is nothing to seed. What needs a device raises RuntimeError.
"""

from __future__ import annotations

import contextlib

from ..cuda.streams import DeviceEvent as Event
from ..cuda.streams import Stream, StreamContext, set_stream, stream
from .absent import nothing, refusal, zero

_HINT = "jtorch has no xpu devices; torch.accelerator names the one there is"


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def _is_in_bad_fork() -> bool:
    """False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no device."""
    return False


def is_tf32_supported() -> bool:
    """False: there is no device."""
    return False


class device(contextlib.nullcontext):
    """``with xpu.device(i):`` nothing for None and negative indices, else RuntimeError."""

    def __init__(self, device):
        if device is not None and not (isinstance(device, int) and device < 0):
            raise RuntimeError(f"torch.xpu.device({device!r}): {_HINT}")
        super().__init__()


class device_of(device):
    """``with xpu.device_of(x):`` nothing: no tensor lies on such a GPU."""

    def __init__(self, obj):
        super().__init__(None)


default_generators: tuple = ()

for _name in (
    "device_count", "memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved",
):  # fmt: skip
    globals()[_name] = zero(_name)
for _name in (
    "empty_cache", "manual_seed", "manual_seed_all", "reset_accumulated_memory_stats", "reset_peak_memory_stats",
    "seed", "seed_all",
):  # fmt: skip
    globals()[_name] = nothing(_name)
for _name in (
    "current_device", "current_stream", "get_device_capability", "get_device_name", "get_device_properties",
    "get_rng_state", "init", "initial_seed", "mem_get_info", "set_device", "set_rng_state", "synchronize",
    "XPUGraph", "XPUPluggableAllocator", "MemPool", "can_device_access_peer", "change_current_allocator", "clock_rate",
    "device_memory_used", "get_per_process_memory_fraction", "get_stream_from_external", "graph", "graph_pool_handle",
    "is_current_stream_capturing", "make_graphed_callables", "memory_usage", "power_draw",
    "set_per_process_memory_fraction", "temperature", "use_mem_pool", "utilization",
):  # fmt: skip
    globals()[_name] = refusal("xpu", _name, _HINT)


def memory_stats(device=None) -> dict:
    """Empty: there is no device."""
    return {}


memory_stats_as_nested_dict = memory_stats


def memory_snapshot(mempool_id=None) -> list:
    """Empty: there is no device."""
    return []


def get_gencode_flags() -> str:
    """Empty: there is no device."""
    return ""


def get_rng_state_all() -> list:
    """Empty: there is no device."""
    return []


def set_rng_state_all(new_states) -> None:
    """Nothing to set."""


def get_arch_list() -> list[str]:
    """Empty: there is no device."""
    return []


__all__ = [
    "Event", "Stream", "StreamContext", "current_device", "current_stream", "default_generators", "device",
    "device_count", "empty_cache", "get_arch_list", "get_device_capability", "get_device_name",
    "get_device_properties", "get_rng_state", "get_rng_state_all", "init", "initial_seed", "is_available",
    "is_bf16_supported", "is_initialized", "is_tf32_supported", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_reserved",
    "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats", "seed", "seed_all", "set_device",
    "set_rng_state", "set_rng_state_all", "set_stream", "stream", "synchronize",
    "XPUGraph", "XPUPluggableAllocator", "MemPool", "can_device_access_peer", "change_current_allocator", "clock_rate",
    "device_memory_used", "device_of", "get_gencode_flags", "get_per_process_memory_fraction",
    "get_stream_from_external", "graph", "graph_pool_handle", "is_current_stream_capturing", "make_graphed_callables",
    "memory_snapshot", "memory_stats_as_nested_dict", "memory_usage", "power_draw", "set_per_process_memory_fraction",
    "temperature", "use_mem_pool", "utilization",
]  # fmt: skip
