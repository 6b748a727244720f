"""The names from before device types were arguments: ``torch.cuda.amp``, ``torch.cpu.amp``, ``*_autocast_cpu_*``."""

from __future__ import annotations

from functools import partial

from . import autocast_mode as _amp
from .autocast_mode import autocast as _autocast
from .grad_scaler import GradScaler as _GradScaler

__all__ = [
    "get_autocast_cpu_dtype",
    "get_autocast_gpu_dtype",
    "is_autocast_cpu_enabled",
    "set_autocast_cpu_dtype",
    "set_autocast_cpu_enabled",
    "set_autocast_gpu_dtype",
]

get_autocast_cpu_dtype = partial(_amp.get_autocast_dtype, "cpu")
get_autocast_gpu_dtype = partial(_amp.get_autocast_dtype, "cuda")
set_autocast_cpu_dtype = partial(_amp.set_autocast_dtype, "cpu")
set_autocast_gpu_dtype = partial(_amp.set_autocast_dtype, "cuda")
is_autocast_cpu_enabled = partial(_amp.is_autocast_enabled, "cpu")
set_autocast_cpu_enabled = partial(_amp.set_autocast_enabled, "cpu")


def of_device(device_type: str) -> tuple[type, type]:
    """``autocast`` and ``GradScaler`` with the device type filled in, as ``torch.<device>.amp`` has them."""

    class autocast(_autocast):
        __doc__ = _autocast.__doc__

        def __init__(self, enabled: bool = True, dtype=None, cache_enabled: bool = True):
            super().__init__(device_type, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    class GradScaler(_GradScaler):
        __doc__ = _GradScaler.__doc__

        def __init__(self, *args, **kwargs):
            super().__init__(device_type, *args, **kwargs)

    return autocast, GradScaler
