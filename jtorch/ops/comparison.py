"""Comparisons, element by element, with broadcasting. The results are bool."""

from __future__ import annotations

import jax.numpy as jnp

from .elementwise import is_complex, is_integral, refuse, same_shape, type_name
from .outputs import same_dtype
from .registry import Array, Number, op


@op(promote="bool", inplace=True, differentiable=False)
def eq(input: Array, other: Array | Number):
    """``input == other``."""
    x, y = same_shape(input, other)
    return x == y


@op(promote="bool", inplace=True, aliases=("not_equal",), differentiable=False)
def ne(input: Array, other: Array | Number):
    """``input != other``."""
    x, y = same_shape(input, other)
    return x != y


@op(promote="bool", inplace=True, aliases=("less",), differentiable=False)
def lt(input: Array, other: Array | Number):
    """``input < other``."""
    refuse("lt_cpu", input, when=is_complex(input))
    x, y = same_shape(input, other)
    return x < y


@op(promote="bool", inplace=True, aliases=("less_equal",), differentiable=False)
def le(input: Array, other: Array | Number):
    """``input <= other``."""
    refuse("le_cpu", input, when=is_complex(input))
    x, y = same_shape(input, other)
    return x <= y


@op(promote="bool", inplace=True, aliases=("greater",), differentiable=False)
def gt(input: Array, other: Array | Number):
    """``input > other``."""
    refuse("gt_cpu", input, when=is_complex(input))
    x, y = same_shape(input, other)
    return x > y


@op(promote="bool", inplace=True, aliases=("greater_equal",), differentiable=False)
def ge(input: Array, other: Array | Number):
    """``input >= other``."""
    refuse("ge_cpu", input, when=is_complex(input))
    x, y = same_shape(input, other)
    return x >= y


def _of_one_dtype(target, input, other) -> None:
    """Raises:
    RuntimeError: two dtypes.
    """
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{type_name(input)} did not match {type_name(other)}")


@op(promote="bool", out=False, differentiable=False, types=_of_one_dtype)
def isclose(input: Array, other: Array, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False):
    """``|input - other| <= atol + rtol * |other|``; infinities of one sign are close, NaNs only with ``equal_nan``."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    x, y = same_shape(input, other)
    close = x == y
    if equal_nan:
        close |= (x != x) & (y != y)
    if rtol == 0 and atol == 0:
        return close
    if is_integral(x):
        x, y = x.astype(float), y.astype(float)
    error, allowed = jnp.abs(x - y), atol + jnp.abs(rtol * y)
    return close | (jnp.isfinite(error) & (error <= allowed))


@op(promote="bool", elementwise=False, method=False, differentiable=False, out=same_dtype)
def isin(elements: Array | Number, test_elements: Array | Number, *, assume_unique: bool = False, invert: bool = False):
    """For each element, whether it occurs in ``test_elements`` (with ``invert``, whether it does not)."""
    return jnp.isin(elements, test_elements, assume_unique=assume_unique, invert=invert)
