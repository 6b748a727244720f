"""``torch.backends.cpu``."""

from __future__ import annotations

import functools

_NEEDED = {"AVX512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}, "AVX2": {"avx2", "fma"}}


def processor_flags() -> list[str]:
    """The processor's extensions as Linux lists them; none elsewhere."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith("flags")), "").split()[2:]
    except OSError:
        return []


@functools.cache
def get_cpu_capability() -> str:
    """The widest instructions the processor has: ``"AVX512"``, ``"AVX2"``, or ``"DEFAULT"`` for any others.

    XLA makes its own choice; programs ask in order to choose between computing with bytes and with floats.
    """
    flags = processor_flags()
    return next((name for name, needed in _NEEDED.items() if needed <= set(flags)), "DEFAULT")


__all__ = ["get_cpu_capability"]
