"""``torch.mps``: Apple's GPUs, which jtorch does not run on; programs ask and are told so.

Answers are those of a machine without such a GPU; what needs a device raises RuntimeError.
"""

from ..cuda.streams import DeviceEvent as Event
from ..xpu.absent import nothing, refusal, zero
from . import profiler
from .profiler import _HINT


def is_available() -> bool:
    """False."""
    return False


for _name in ("device_count", "current_allocated_memory", "driver_allocated_memory", "recommended_max_memory"):
    globals()[_name] = zero(_name)
for _name in ("empty_cache", "manual_seed", "seed"):
    globals()[_name] = nothing(_name)
for _name in (
    "compile_shader", "get_rng_state", "load_metallib", "set_per_process_memory_fraction",
    "set_rng_state", "synchronize",
):  # fmt: skip
    globals()[_name] = refusal("mps", _name, _HINT)

__all__ = [
    "Event", "compile_shader", "current_allocated_memory", "device_count", "driver_allocated_memory", "empty_cache",
    "get_rng_state", "is_available", "load_metallib", "manual_seed", "recommended_max_memory", "seed",
    "set_per_process_memory_fraction", "set_rng_state", "synchronize",
]  # fmt: skip
