"""What the NVIDIA driver says before JAX has started.

``torch.cuda.is_available()`` and ``set_device`` often stand before ``init_process_group``, which must come before JAX's
backend starts: so until then they ask the driver's library, which starts nothing.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os

import jax


def count() -> int:
    """How many GPUs JAX will see."""
    platforms = jax.config.jax_platforms
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return 0
    if all(importlib.util.find_spec(f"jax_cuda{v}_plugin") is None for v in (12, 13)):
        return 0
    return len(_visible(_installed(), os.environ.get("CUDA_VISIBLE_DEVICES")))


def _visible(installed: int, chosen: str | None) -> list[str]:
    """``CUDA_VISIBLE_DEVICES``: numbers or identifiers, up to the first that does not exist."""
    if chosen is None:
        return [str(i) for i in range(installed)]
    found = []
    for name in map(str.strip, chosen.split(",")):
        exists = int(name) < installed if name.isdigit() else name.startswith(("GPU-", "MIG-"))
        if not exists:
            break
        found.append(name)
    return found


@functools.cache
def _installed() -> int:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    number = ctypes.c_uint()
    if nvml.nvmlInit_v2() != 0:
        return 0
    try:
        failed = nvml.nvmlDeviceGetCount_v2(ctypes.byref(number))
        return 0 if failed else number.value
    finally:
        nvml.nvmlShutdown()
