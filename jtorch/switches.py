"""Process-wide switches of PyTorch: threads, determinism, float32 precision."""

from __future__ import annotations

import os

from . import config

_warn_only = False


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Compile training steps however small they are, so that a step computes the same to the last digit in its first
    run and in its thousandth. XLA's CPU and TPU programs are deterministic (GPU: ``--xla_gpu_deterministic_ops``).

    Raises:
        TypeError: an argument is not a bool.
    """
    for name, value in (("mode", mode), ("warn_only", warn_only)):
        if not isinstance(value, bool):
            raise TypeError(f"use_deterministic_algorithms(): {name!r} must be bool, not {type(value).__name__}")
    global _warn_only
    config.deterministic, _warn_only = mode, warn_only


def are_deterministic_algorithms_enabled() -> bool:
    return config.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    return _warn_only


def get_deterministic_debug_mode() -> int:
    """0 (default), 1 (warn) or 2 (error): the same switch as :func:`use_deterministic_algorithms`, as a number."""
    return 0 if not config.deterministic else 1 if _warn_only else 2


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """``"default"`` (0), ``"warn"`` (1) or ``"error"`` (2).

    Raises:
        RuntimeError: another word or number.
    """
    modes = {"default": 0, "warn": 1, "error": 2}
    code = modes.get(debug_mode, debug_mode)
    if code not in modes.values():
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, 2, or {', '.join(modes)}, got {debug_mode!r}")
    use_deterministic_algorithms(code > 0, warn_only=code == 1)


def set_float32_matmul_precision(precision: str) -> None:
    """``"highest"`` (full float32), ``"high"`` or ``"medium"`` (TensorFloat-32, bfloat16 passes on accelerators).

    Raises:
        RuntimeError: another word.
    """
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"invalid float32 matmul precision {precision!r}: expected 'highest', 'high' or 'medium'")
    config.set_float32_matmul_precision(precision)


def get_float32_matmul_precision() -> str:
    return config.float32_matmul_precision


def set_num_threads(n: int) -> None:
    """Accepted: XLA sizes its thread pool when it starts.

    Raises:
        RuntimeError: ``n`` is not a positive int.
    """
    if not isinstance(n, int):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")


def get_num_threads() -> int:
    """The threads XLA's CPU backend uses: one per core the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


set_num_interop_threads = set_num_threads
get_num_interop_threads = get_num_threads
