"""Dropout as arithmetic on a mask that the caller has drawn (see the random streams for how)."""

from __future__ import annotations

import jax.numpy as jnp

from .registry import Array, Scalar, op
from .softmax import widened


@op(namespaces=(), grad_name="MulBackward0", elementwise=True)
def _dropout(input: Array, mask: Array, scale: Scalar):
    """``x * (mask * scale)``: ``mask`` is bool and broadcasts (feature dropout), ``scale`` is ``1 / (1 - p)``.

    ``scale`` is rounded to the dtype before the one multiplication, as PyTorch's ``noise / (1 - p)`` is.
    """
    noise = jnp.where(mask, scale.astype(input.dtype), jnp.zeros((), input.dtype))
    return input * noise


@op(namespaces=(), grad_name="AddBackward0", elementwise=True)
def _alpha_dropout(input: Array, mask: Array, a: Scalar, alpha_a: Scalar, shift: Scalar):
    """``x (m a) + ((m - 1) alpha_a + shift)``, each operation rounded to the dtype.

    With ``A = 1.7580993408473766`` and ``a = 1 / sqrt((A² p + 1) (1 - p))``, the caller passes ``alpha_a = A a`` and
    ``shift = A a p``; dropped elements take the negative saturation value, and mean and variance stay.
    """
    dt = input.dtype
    m = mask.astype(dt)
    b = (m - 1) * alpha_a.astype(dt) + shift.astype(dt)
    return (widened(input) * widened(m * a.astype(dt))).astype(dt) + b
