"""Attention beyond ``nn.functional``: which kernels may run, causal masks, and ``flex_attention``."""

from __future__ import annotations

import contextlib
import enum

from ..functional.attention import allowed_backends

__all__ = ["SDPBackend", "WARN_FOR_UNFUSED_KERNELS", "sdpa_kernel"]

#: Accepted: there is one lowering per platform, so there is nothing to warn about.
WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(enum.IntEnum):
    """PyTorch's kernels of scaled dot-product attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


_KERNELS = frozenset(SDPBackend) - {SDPBackend.ERROR}


@contextlib.contextmanager
def sdpa_kernel(backends, set_priority: bool = False):
    """Let attention run only by one of ``backends``, a :class:`SDPBackend` or a list of them, in the given order.

    There is one lowering here, which keeps no matrix of probabilities between forward and backward, so any choice
    computes the same; with none of them allowed, attention raises.

    Raises:
        AssertionError: ``backends`` is something else.
    """
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
            f"{type(backends).__name__}"
        )
    given = [backends] if isinstance(backends, SDPBackend) else backends
    token = allowed_backends.set(bool(_KERNELS.intersection(given)))
    try:
        yield {}
    finally:
        allowed_backends.reset(token)
