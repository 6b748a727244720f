"""``torch.cuda.memory``: what :mod:`jtorch.cuda` says of the GPU's memory, under PyTorch's second name."""

from __future__ import annotations

from . import (
    empty_cache,
    max_memory_allocated,
    max_memory_cached,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_cached,
    memory_reserved,
    memory_stats,
    memory_summary,
    reset_max_memory_allocated,
    reset_max_memory_cached,
    reset_peak_memory_stats,
)

__all__ = [
    "empty_cache", "max_memory_allocated", "max_memory_cached", "max_memory_reserved", "mem_get_info",
    "memory_allocated", "memory_cached", "memory_reserved", "memory_stats", "memory_summary",
    "reset_max_memory_allocated", "reset_max_memory_cached", "reset_peak_memory_stats",
]  # fmt: skip


def _unsupported(name: str):
    def refuse(*args, **kwargs):
        raise NotImplementedError(
            f"torch.cuda.memory.{name}: XLA's allocator keeps no history; "
            "jax.profiler.save_device_memory_profile(path) writes what holds memory now"
        )

    refuse.__name__, refuse.__doc__ = name, "Refuses, naming the way out."
    return refuse


_record_memory_history, _snapshot, _dump_snapshot = map(
    _unsupported, ("_record_memory_history", "_snapshot", "_dump_snapshot")
)
