"""Which arithmetic PyTorch's CPU kernels would use here.

PyTorch compiles its samplers several times and picks one build by the processor's features. The AVX2 and AVX-512
builds agree with each other; the plain x86 build differs from them in two ways:

* ``fused()``: ``u * (b - a) + a`` is rounded once (a fused multiply-add) instead of twice;
* ``vector_normal()``: normals of 16 and more float32 elements come from a polynomial kernel instead of the C library.

Other processors (ARM) fuse, and have no polynomial kernel. That is inferred from compilers' habits, not measured.
"""

from __future__ import annotations

import functools
import platform
import sys


@functools.cache
def capability() -> str:
    """``"avx2"``, ``"default"`` (x86 without AVX2 or FMA) or ``"other"`` (not x86)."""
    if platform.machine().lower() not in ("x86_64", "amd64", "x64", "i686", "x86"):
        return "other"
    if sys.platform != "linux":
        return "avx2"  # not worth asking: x86 without AVX2 has not been sold for a decade
    try:
        with open("/proc/cpuinfo") as file:
            head = file.read(8192)  # the first processor's entry
    except OSError:
        return "avx2"
    flags = next((line.split() for line in head.splitlines() if line.startswith("flags")), ["avx2", "fma"])
    return "avx2" if "avx2" in flags and "fma" in flags else "default"


def fused() -> bool:
    return capability() != "default"


def vector_normal() -> bool:
    return capability() == "avx2"
