"""Normalisation with running statistics, and to unit norm."""

from __future__ import annotations

import math

import jtorch

from ...ops.registry import OPS
from ...tensor.dispatch import dispatch


def _check_batch(shape) -> None:
    """A single value per channel has no variance.

    Raises:
        ValueError: there is one.
    """
    if shape[0] * math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {shape}")


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """``x / max(‖x‖_p, eps)`` along ``dim``."""
    size = input.norm(p, dim, keepdim=True).clamp_min(eps)
    return input / size if out is None else jtorch.div(input, size, out=out)


def _update(running, new, momentum: float) -> None:
    """``running ← (1 - momentum) running + momentum new``, outside autograd."""
    with jtorch.no_grad():
        running.mul_(1 - momentum).add_(new.detach().to(running.dtype), alpha=momentum)
