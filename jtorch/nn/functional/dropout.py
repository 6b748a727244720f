"""Dropout: masks drawn in PyTorch's order, applied as arithmetic."""

from __future__ import annotations

import math
import warnings

import numpy as np

from ... import dtypes
from ...ops.registry import OPS
from ...tensor.dispatch import dispatch
from ...tensor.dispatch import inplace as _run_inplace
from ...tensor.random import host_mask

_DROPOUT, _ALPHA = OPS["_dropout"], OPS["_alpha_dropout"]
_SELU_SATURATION = 1.7580993408473766  # scale * alpha of selu


def keep_scale(p: float, dtype) -> float:
    """``1 / (1 - p)``, rounded as PyTorch rounds it: the division is float32's, except in float64."""
    if dtype is dtypes.float64:
        return 1.0 / (1.0 - p)
    return float(np.float32(1) / np.float32(1.0 - p))


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _apply(input, p, training, inplace, shape=None):
    if not training or p == 0 or input.numel() == 0:
        return input
    if input.dtype.category < dtypes.FLOAT:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {input.dtype.legacy_name}")
    if p == 1:
        return input.mul_(0) if inplace else input * 0
    mask = host_mask(input, 1.0 - p, shape=shape)
    return (_run_inplace if inplace else dispatch)(_DROPOUT, (input, mask, keep_scale(p, input.dtype)), ())


def _apply_alpha(input, p, training, inplace, shape=None):
    if not training or p == 0 or input.numel() == 0:
        return input
    if p == 1:
        return input.mul_(0) if inplace else input * 0
    a = 1.0 / math.sqrt((_SELU_SATURATION**2 * p + 1) * (1 - p))
    mask = host_mask(input, 1.0 - p, shape=shape)
    operands = (input, mask, a, _SELU_SATURATION * a, _SELU_SATURATION * a * p)
    return (_run_inplace if inplace else dispatch)(_ALPHA, operands, ())


def _per_channel(input, batched: bool):
    """A shape with one element per sample and channel."""
    kept = 2 if batched else 1
    return (*input.shape[:kept], *(1,) * (input.dim() - kept))


def dropout(input, p=0.5, training=True, inplace=False):
    """Zero each element with probability ``p`` and scale the rest by ``1 / (1 - p)``.

    Raises:
        ValueError: ``p`` is outside [0, 1].
        RuntimeError: a tensor of integers.
    """
    _check(p)
    return _apply(input, p, training, inplace)


def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout that keeps mean and variance of self-normalising activations (Klambauer et al., 2017)."""
    _check(p)
    return _apply_alpha(input, p, training, inplace)


def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """:func:`alpha_dropout` of whole channels of ``(N, C, ...)``."""
    _check(p)
    return _apply_alpha(input, p, training, inplace, _per_channel(input, True) if input.dim() > 1 else None)


def dropout1d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of ``(N, C, L)`` or ``(C, L)``.

    Raises:
        RuntimeError: another number of dimensions.
    """
    _check(p)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. Note that dropout1d exists to "
            "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional "
            "batch dimension (i.e. 2D or 3D inputs)."
        )
    return _apply(input, p, training, inplace, _per_channel(input, input.dim() == 3))


def dropout2d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of ``(N, C, H, W)``; three dimensions are taken as ``(N, C, L)``."""
    _check(p)
    if input.dim() == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is "
            "desired - input is interpreted as shape (N, C, L), where C is the channel dim. Use dropout1d for that.",
            stacklevel=2,
        )
    elif input.dim() != 4:
        warnings.warn(
            f"dropout2d: Received a {input.dim()}-D input to dropout2d, which is deprecated. To retain the behavior, "
            "use regular dropout instead.",
            stacklevel=2,
        )
    return _apply(input, p, training, inplace, _per_channel(input, True))


def dropout3d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)``."""
    _check(p)
    if input.dim() not in (4, 5):
        warnings.warn(
            f"dropout3d: Received a {input.dim()}-D input to dropout3d, which is deprecated. To retain the behavior, "
            "use regular dropout instead.",
            stacklevel=2,
        )
    return _apply(input, p, training, inplace, _per_channel(input, input.dim() != 4))
