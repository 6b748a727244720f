"""What a GPU's sensors say, asked of the driver's library (NVML), which needs no JAX."""

from __future__ import annotations

import ctypes

from .. import devices

_CORE_CLOCK, _CORE_TEMPERATURE = 1, 0  # NVML_CLOCK_SM, NVML_TEMPERATURE_GPU


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _ask(function: str, device, answer: ctypes.Structure | ctypes._SimpleCData, *which: int):
    """The answer of one of NVML's questions about a GPU, which it writes into ``answer``.

    Raises:
        RuntimeError: there is no GPU, or no driver that answers.
    """
    from . import _index, _require

    _require()
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        raise RuntimeError(f"torch.cuda: the driver's libnvidia-ml.so.1 is needed: {error}") from None
    handle = ctypes.c_void_p()
    failed = nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(_index(device), ctypes.byref(handle))
    failed = failed or getattr(nvml, function)(handle, *which, ctypes.byref(answer))
    if failed:
        raise RuntimeError(f"torch.cuda: {function} answered with error {failed}")
    return answer


def utilization(device: devices.device | str | int | None = None) -> int:
    """Percent of the last moments in which the GPU computed."""
    return _ask("nvmlDeviceGetUtilizationRates", device, _Utilization()).gpu


def memory_usage(device: devices.device | str | int | None = None) -> int:
    """Percent of the last moments in which the GPU read or wrote its memory."""
    return _ask("nvmlDeviceGetUtilizationRates", device, _Utilization()).memory


def device_memory_used(device: devices.device | str | int | None = None) -> int:
    """Bytes of the GPU's memory that are in use, by all programs."""
    return _ask("nvmlDeviceGetMemoryInfo", device, _Memory()).used


def temperature(device: devices.device | str | int | None = None) -> int:
    """Degrees Celsius."""
    return _ask("nvmlDeviceGetTemperature", device, ctypes.c_uint(), _CORE_TEMPERATURE).value


def power_draw(device: devices.device | str | int | None = None) -> int:
    """Milliwatts."""
    return _ask("nvmlDeviceGetPowerUsage", device, ctypes.c_uint()).value


def clock_rate(device: devices.device | str | int | None = None) -> int:
    """The clock of the multiprocessors, in MHz."""
    return _ask("nvmlDeviceGetClockInfo", device, ctypes.c_uint(), _CORE_CLOCK).value


__all__ = ["clock_rate", "device_memory_used", "memory_usage", "power_draw", "temperature", "utilization"]
