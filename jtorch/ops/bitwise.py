"""Bitwise operations on integers, logical operations on truth values."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from .elementwise import is_bool, is_integral, refuse, same_shape
from .outputs import unconverted
from .registry import Array, Number, op


@op(promote="default", differentiable=False, out=unconverted)
def bitwise_not(input: Array):
    """Every bit flipped; on bools, not."""
    refuse("bitwise_not_cpu", input, when=not is_integral(input))
    return ~input


@op(promote="default", differentiable=False)
def bitwise_and(input: Array | Number, other: Array | Number):
    """``input & other``."""
    refuse("bitwise_and_cpu", input, when=not is_integral(input))
    x, y = same_shape(input, other)
    return x & y


@op(promote="default", differentiable=False)
def bitwise_or(input: Array | Number, other: Array | Number):
    """``input | other``."""
    refuse("bitwise_or_cpu", input, when=not is_integral(input))
    x, y = same_shape(input, other)
    return x | y


@op(promote="default", differentiable=False)
def bitwise_xor(input: Array | Number, other: Array | Number):
    """``input ^ other``."""
    refuse("bitwise_xor_cpu", input, when=not is_integral(input))
    x, y = same_shape(input, other)
    return x ^ y


@op(promote="default", differentiable=False)
def bitwise_left_shift(input: Array | Number, other: Array | Number):
    """``input << other``; 0 for a shift that is negative or as wide as the dtype."""
    refuse("lshift_cpu", input, when=is_bool(input) or not is_integral(input))
    x, n = same_shape(input, other)
    inside = (n >= 0) & (n < x.dtype.itemsize * 8)
    return jnp.where(inside, lax.shift_left(x, jnp.where(inside, n, 0)), 0)


@op(promote="default", differentiable=False)
def bitwise_right_shift(input: Array | Number, other: Array | Number):
    """``input >> other``, keeping the sign; a shift that is negative or as wide as the dtype leaves only the sign."""
    refuse("rshift_cpu", input, when=is_bool(input) or not is_integral(input))
    x, n = same_shape(input, other)
    bits = x.dtype.itemsize * 8
    inside = (n >= 0) & (n < bits)
    if not jnp.issubdtype(x.dtype, jnp.signedinteger):
        return jnp.where(inside, lax.shift_right_logical(x, jnp.where(inside, n, 0)), 0)
    return lax.shift_right_arithmetic(x, jnp.where(inside, n, bits - 1).astype(x.dtype))


def _truth(x):
    return x if is_bool(x) else x != np.zeros((), x.dtype)


@op(promote="bool", inplace=True, differentiable=False)
def logical_not(input: Array):
    """Whether x is zero."""
    return ~_truth(input)


@op(promote="bool", inplace=True, differentiable=False)
def logical_and(input: Array, other: Array):
    """Whether both are nonzero."""
    x, y = same_shape(_truth(input), _truth(other))
    return x & y


@op(promote="bool", inplace=True, differentiable=False)
def logical_or(input: Array, other: Array):
    """Whether either is nonzero."""
    x, y = same_shape(_truth(input), _truth(other))
    return x | y


@op(promote="bool", inplace=True, differentiable=False)
def logical_xor(input: Array, other: Array):
    """Whether exactly one is nonzero."""
    x, y = same_shape(_truth(input), _truth(other))
    return x ^ y
