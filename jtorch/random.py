"""``torch.random``: seeding, generator states, and forking them."""

from __future__ import annotations

import contextlib

from . import devices as _devices
from .functions.random import get_rng_state, initial_seed, seed, set_rng_state
from .tensor.random import default_generator as _default
from .tensor.random import manual_seed


@contextlib.contextmanager
def fork_rng(devices=None, enabled=True, device_type=None):
    """Inside the block random numbers go their own way; afterwards the generators are as they were before.

    ``devices`` lists accelerators to restore as well (all that have been used, by default).
    """
    from .tensor.random import _generators

    if not enabled:
        yield
        return
    wanted = [_default()] + (
        [g for d, g in _generators.items() if d is not _devices.CPU]
        if devices is None
        else [_default(_devices.resolve(f"{device_type or 'cuda'}:{d}" if isinstance(d, int) else d)) for d in devices]
    )
    states = [g.get_state() for g in wanted]
    try:
        yield
    finally:
        for g, state in zip(wanted, states, strict=True):
            g.set_state(state)


def thread_safe_generator():
    """The generator that a worker of a ``DataLoader`` should draw from: None, each worker is a process of its own."""
    return None


def __getattr__(name):
    if name == "default_generator":
        return _default()
    raise AttributeError(f"module 'torch.random' has no attribute {name!r}")


__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state", "thread_safe_generator"]
