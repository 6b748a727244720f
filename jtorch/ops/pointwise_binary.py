"""Arithmetic on two or three tensors, element by element, with broadcasting.

Operands arrive in their common dtype. ``div`` with its ``rounding_mode`` is two ops, because the dtypes of their
results follow different rules: ``true_divide`` and ``div.mode``.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import dtypes
from . import nodes
from .elementwise import (
    c_type_name,
    hypotenuse,
    in_float32,
    is_bool,
    is_complex,
    is_integral,
    magnitude,
    refuse,
    require_scale,
    same_shape,
)
from .registry import Array, Number, Scalar, op

# --- sums and products -----------------------------------------------------------------------------------------------


def _is_bool(key) -> bool:
    """Whether an operand, as a ``types`` rule is given it, is a bool tensor or number."""
    return key is bool or getattr(key, "dtype", None) is dtypes.bool_


def _added(target, input, other, alpha) -> None:
    require_scale(target, alpha=alpha)


def _subtracted(target, input, other, alpha) -> None:
    """Raises:
    RuntimeError: an operand is bool.
    """
    bools = [_is_bool(k) for k in (input, other)]
    if all(bools):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. "
            "Use the `^` or `logical_xor()` operator instead."
        )
    if any(bools):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )
    _added(target, input, other, alpha)


def _interpolated(target, input, end, weight) -> None:
    """Raises:
    RuntimeError: tensors of several dtypes (a 0-d ``weight`` may be of another).
    """
    for name, x in (("end", end), ("weight", weight)):
        if isinstance(x, type) or name == "weight" and not x.shape:
            continue
        if x.dtype is not input.dtype:
            raise RuntimeError(f"expected dtype {c_type_name(input)} for `{name}` but got dtype {c_type_name(x)}")


def _divided(target, input, tensor1, tensor2, value) -> None:
    """Raises:
    RuntimeError: both divided tensors are of integers.
    """
    if tensor1.dtype.category < dtypes.FLOAT and tensor2.dtype.category < dtypes.FLOAT:
        raise RuntimeError(
            "Integer division with addcdiv is not supported. Convert the tensors to a floating dtype, or write "
            "(input + value * torch.trunc(tensor1 / tensor2)).to(input.dtype)."
        )


@in_float32
def _scaled(combine, input, other, alpha):
    """``combine(input, alpha * other)``, rounded once."""
    return combine(input, mul(other, alpha))


# ``alpha`` is PyTorch's ``alpha=1``; None keeps the commonest ops at two operands.
@op(promote="default", numbers_alone=True, types=_added)
def add(input: Array | Number, other: Array | Number, *, alpha: Scalar | None = None):
    """``input + alpha * other`` (``alpha`` is 1 by default); on bools, or."""
    if alpha is not None:
        return _scaled(add, input, other, alpha)
    x, y = same_shape(input, other)
    return x | y if is_bool(x) else x + y


@op(promote="default", aliases=("subtract",), numbers_alone=True, types=_subtracted, grad_name=nodes.sub)
def sub(input: Array | Number, other: Array | Number, *, alpha: Scalar | None = None):
    """``input - alpha * other`` (``alpha`` is 1 by default).

    Raises:
        RuntimeError: a bool operand.
    """
    if alpha is not None:
        return _scaled(sub, input, other, alpha)
    x, y = same_shape(input, other)
    return x - y


@op(promote="default", inplace=False, out=False, types=_subtracted)
def rsub(input: Array, other: Array | Number, *, alpha: Scalar | None = None):
    """``other - alpha * input``."""
    return sub(other, input, alpha=alpha)


@op(promote="default", aliases=("multiply",), numbers_alone=True, unrounded=("input", "other"))
def mul(input: Array | Number, other: Array | Number):
    """``input * other``; on bools, and."""
    x, y = same_shape(input, other)
    return x & y if is_bool(x) else x * y


@op(promote="default", unrounded=("value",))
@in_float32
def addcmul(input: Array, tensor1: Array, tensor2: Array, *, value: Scalar = 1):
    """``input + value * tensor1 * tensor2``."""
    x, a, b = same_shape(input, tensor1, tensor2)
    return x + value * (a * b)


@op(promote="default", types=_divided, unrounded=("value",))
@in_float32
def addcdiv(input: Array, tensor1: Array, tensor2: Array, *, value: Scalar = 1):
    """``input + value * tensor1 / tensor2``.

    Raises:
        RuntimeError: ``tensor1`` and ``tensor2`` are of integers.
    """
    x, a, b = same_shape(input, tensor1, tensor2)
    return x + value * (a / b)


@op(promote="default", types=_interpolated, grad_name=nodes.by_tensor("Lerp", "weight"), unrounded=("weight",))
@in_float32
def lerp(input: Array, end: Array, weight: Array | Number):
    """``input + weight * (end - input)``, computed from the nearer end, so that ``weight`` 1 gives ``end`` exactly."""
    refuse("lerp_kernel_scalar", input, when=is_integral(input))
    x, y, w = same_shape(input, end, weight)
    return jnp.where(jnp.abs(w) < 0.5, x + w * (y - x), y - (y - x) * (1 - w))


# --- integers ---------------------------------------------------------------------------------------------------------


def _computes_integers(target, *operands) -> bool:
    """Whether there is anything to compute, and in integers."""
    return target.category < dtypes.FLOAT and all(0 not in getattr(x, "shape", ()) for x in operands)


def _zero_number(target, input, other, *_):
    """Integers are not divided by the number 0; what a tensor holds is only known to the program (:func:`_zeros`)."""
    return _refuse_zero if isinstance(other, type) and _computes_integers(target, input, other) else None


def _refuse_zero(operands) -> None:
    if operands[1] == 0:
        raise RuntimeError("ZeroDivisionError")


def _divides_integers(target, input, other, *_) -> bool:
    return not isinstance(other, type) and _computes_integers(target, input, other)


def _zeros(input, other, **_):
    return jnp.any(other == 0), "ZeroDivisionError"


#: What the operations have that divide integers as such.
_BY_INTEGERS = {"numbers": _zero_number, "check": _zeros, "checked": _divides_integers, "error": RuntimeError}


def _negative_number(target, input, exponent):
    """Integers have no negative powers, if the exponent is a number: those of a tensor are rounded."""
    return _refuse_negative if isinstance(exponent, type) and target.category < dtypes.FLOAT else None


def _refuse_negative(operands) -> None:
    if operands[1] < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")


# --- division --------------------------------------------------------------------------------------------------------


@op(promote="float", grad_name=nodes.true_divide, numbers_alone=True, unrounded=("other",))
def true_divide(input: Array | Number, other: Array | Number):
    """``input / other``; integers give the default floating dtype. :func:`div` without a ``rounding_mode``."""
    x, y = same_shape(input, other)
    return x / y


@op(name="div.mode", promote="default", grad_name=nodes.div_mode, numbers_alone=True, **_BY_INTEGERS)
def div_mode(input: Array | Number, other: Array | Number, *, rounding_mode: str | None = None):
    """The quotient rounded to an integer: towards 0 (``"trunc"``) or downwards (``"floor"``). Dtypes stay.

    Raises:
        RuntimeError: another ``rounding_mode``.
    """
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    refuse("div_trunc_cpu", input, when=is_bool(input) or is_complex(input))
    x, y = same_shape(input, other)
    return lax.div(x, y) if is_integral(x) else lax.stop_gradient(jnp.trunc(x / y))


@op(promote="default", differentiable=False, numbers_alone=True, unrounded=("other",), **_BY_INTEGERS)
@in_float32
def floor_divide(input: Array | Number, other: Array | Number):
    """The quotient rounded downwards. Dtypes stay; a float divided by 0 gives an infinity or NaN."""
    refuse("div_floor_cpu", input, when=is_bool(input) or is_complex(input))
    x, y = same_shape(input, other)
    if is_integral(x):
        return jnp.floor_divide(x, y)
    x, y = lax.stop_gradient((x, y))
    # floor(x / y) is wrong where x / y rounds up to an integer, so divide out the exact remainder first
    mod = lax.rem(x, y)
    quotient = (x - mod) / y
    quotient = jnp.where((mod != 0) & ((y < 0) != (mod < 0)), quotient - 1, quotient)
    floored = jnp.floor(quotient)
    floored = jnp.where(quotient - floored > 0.5, floored + 1, floored)
    result = jnp.where(quotient != 0, floored, jnp.copysign(jnp.zeros_like(x), x / y))
    return jnp.where(y == 0, x / y, result)


@op(promote="default", **_BY_INTEGERS, grad_name=nodes.by_tensor("Remainder", "other"))
@in_float32
def remainder(input: Array | Number, other: Array | Number):
    """``input - floor(input / other) * other``: the sign is ``other``'s, as in Python."""
    refuse("remainder_cpu", input, when=is_bool(input) or is_complex(input))
    return jnp.remainder(*same_shape(input, other))


@op(promote="default", **_BY_INTEGERS, grad_name=nodes.by_tensor("Fmod", "other"))
@in_float32
def fmod(input: Array, other: Array | Number):
    """``input - trunc(input / other) * other``: the sign is ``input``'s, as in C."""
    refuse("fmod_cpu", input, when=is_bool(input) or is_complex(input))
    return lax.rem(*same_shape(input, other))


@op(promote="default", differentiable=False)
def gcd(input: Array, other: Array):
    """The greatest common divisor of integers; ``gcd(0, 0)`` is 0."""
    refuse("gcd_cpu", input, when=is_bool(input) or not is_integral(input))
    return jnp.gcd(*same_shape(input, other))


@op(promote="default", differentiable=False)
def lcm(input: Array, other: Array):
    """The least common multiple of integers, not negative."""
    refuse("lcm_cpu", input, when=is_bool(input) or not is_integral(input))
    return jnp.lcm(*same_shape(input, other))


# --- powers ----------------------------------------------------------------------------------------------------------


@op(promote="default", numbers=_negative_number, grad_name=nodes.pow)
def pow(input: Array | Number, exponent: Array | Number):
    """``input ** exponent``; either may be a number. Integers to negative integers are rounded towards 0.

    Raises:
        RuntimeError: integers, and the exponent is a negative number.
    """
    refuse("pow", input, when=is_bool(input))
    if not is_integral(input):
        return _pow(*_paired(input, exponent))
    x, y = same_shape(input, exponent)
    result = jnp.power(x, jnp.maximum(y, 0))
    if jnp.issubdtype(x.dtype, jnp.unsignedinteger):
        return result
    unit = jnp.where(x == 1, 1, jnp.where(x == -1, 1 - 2 * (y & 1), 0)).astype(x.dtype)
    return jnp.where(y < 0, unit, result)


def _paired(x, *others):
    """The arrays broadcast, but for those of no dimension: backward would keep them in full."""
    wide = same_shape(x, *others)
    return tuple(w if a.ndim else a for a, w in zip((x, *others), wide, strict=True))


@jax.custom_vjp
def _pow(x, y):
    return lax.pow(*same_shape(x, y))


def _pow_forward(x, y):
    out = _pow(x.value, y.value)
    return out, (x.value, y.value, out if y.perturbed else None)


def _pow_backward(kept, g):
    # PyTorch's conventions at base 0, where the plain rule has 0 * inf: no gradient in x where y is 0, none in y
    x, y, out = kept
    flat = y == 0
    dx = g * jnp.where(flat, 0, y * _pow(x, jnp.where(flat, 1, y - 1)))
    dy = None if out is None else g * out * jnp.log(jnp.where((x == 0) & (jnp.real(y) >= 0), 1, x))
    return tuple(d if d is None or a.ndim else jnp.sum(d) for d, a in zip((dx, dy), (x, y), strict=True))


_pow.defvjp(_pow_forward, _pow_backward, symbolic_zeros=True)


@op(promote="keep", inplace=True)
def float_power(input: Array | Number, exponent: Array | Number):
    """``input ** exponent`` in double precision, whatever the operands' dtypes."""
    wide = np.complex128 if is_complex(input) or is_complex(exponent) else np.float64
    return _pow(*_paired(input.astype(wide), exponent.astype(wide)))


@op(promote="float")
@in_float32
def ldexp(input: Array, other: Array):
    """``input * 2 ** other``; exact for integer exponents."""
    x, y = same_shape(input, other)
    if is_complex(x):
        return x * jnp.exp(y * math.log(2))
    whole = jnp.floor(y)
    # 2 ** 1000 does not fit a float32, nor does the half of a tiny result: apply the exponent to x itself
    return _scale_by_power_of_two(x, lax.stop_gradient(whole).astype(np.int32)) * jnp.exp2(y - lax.stop_gradient(whole))


_scale_by_power_of_two = jax.custom_jvp(lambda x, n: jnp.ldexp(x, n))
_scale_by_power_of_two.defjvps(lambda dx, out, x, n: dx * jnp.ldexp(jnp.ones_like(x), n), None)


# --- the larger, the smaller, the nearer ---------------------------------------------------------------------------


def _ordered(name, x):
    if is_complex(x):
        raise RuntimeError(f"{name} not implemented for complex tensors.")


@op(promote="default", inplace=False)
def maximum(input: Array, other: Array):
    """The larger of the two; NaN if either is. Equal operands share the gradient; beside a NaN each has all of it."""
    _ordered("maximum", input)
    x, y = same_shape(input, other)
    return jnp.maximum(x, y) if is_integral(x) else _maximum(x, y)


def _share(loses, x, y):
    """The part of a derivative that ``x`` has: none where it loses against ``y``, half where they are equal."""
    return jnp.where(loses, 0, jnp.where(x == y, 0.5, 1)).astype(x.dtype)


_maximum, _minimum = jax.custom_jvp(jnp.maximum), jax.custom_jvp(jnp.minimum)
_maximum.defjvps(lambda dx, _, x, y: _share(x < y, x, y) * dx, lambda dy, _, x, y: _share(y < x, y, x) * dy)
_minimum.defjvps(lambda dx, _, x, y: _share(x > y, x, y) * dx, lambda dy, _, x, y: _share(y > x, y, x) * dy)


@op(promote="default", inplace=False)
def minimum(input: Array, other: Array):
    """The smaller of the two, else as :func:`maximum`."""
    _ordered("minimum", input)
    x, y = same_shape(input, other)
    return jnp.minimum(x, y) if is_integral(x) else _minimum(x, y)


@op(promote="default", inplace=False)
def fmax(input: Array, other: Array):
    """The larger of the two; a NaN loses against a number."""
    _ordered("fmax", input)
    x, y = same_shape(input, other)
    return jnp.where((x >= y) | (y != y), x, y)


@op(promote="default", inplace=False)
def fmin(input: Array, other: Array):
    """The smaller of the two; a NaN loses against a number."""
    _ordered("fmin", input)
    x, y = same_shape(input, other)
    return jnp.where((x <= y) | (y != y), x, y)


@op(promote="default", aliases=("clip",), grad_name=nodes.clamp)
def clamp(input: Array, min: Array | Number | None = None, max: Array | Number | None = None):
    """x limited to ``[min, max]``; ``max`` wins where ``min > max``. At a bound the gradient goes to x.

    Raises:
        RuntimeError: neither bound is given.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if is_complex(input):
        raise NotImplementedError("clamp is not supported for complex types")
    if min is None or max is None:
        x, bound = _paired(input, max if min is None else min)
        return _clamp(x, None, bound) if min is None else _clamp(x, bound, None)
    return _clamp(*_paired(input, min, max))


@jax.custom_vjp
def _clamp(x, low, high):
    if low is not None:
        x = jnp.where((x < low) | (low != low), low, x)
    if high is not None:
        x = jnp.where((x > high) | (high != high), high, x)
    return x


def _clamp_backward(kept, g):
    # PyTorch's: nothing at NaN, and nothing for a lower bound that is not below the upper one
    x, low, high = kept
    inside = (low is None or x >= low) & (high is None or x <= high)
    found = [jnp.where(inside, g, 0), None, None]
    if low is not None:
        found[1] = jnp.where(x < low if high is None else (x < low) & (low < high), g, 0)
    if high is not None:
        found[2] = jnp.where(x > high if low is None else (x > high) | (high < low), g, 0)
    return tuple(f if f is None or b.ndim else jnp.sum(f) for f, b in zip(found, kept, strict=True))


_clamp.defvjp(lambda *args: (_clamp(*args), args), _clamp_backward)


@op(promote="default")
def clamp_min(input: Array, min: Array | Number):
    """x, but at least ``min``."""
    return clamp(input, min=min)


@op(promote="default")
def clamp_max(input: Array, max: Array | Number):
    """x, but at most ``max``."""
    return clamp(input, max=max)


@op(promote="default")
def nextafter(input: Array, other: Array):
    """The next floating-point number after ``input`` towards ``other``. Its slope is 1, or 0 where they are equal."""
    refuse("nextafter_cpu", input, when=is_integral(input) or is_complex(input))
    return _nextafter(*same_shape(input, other))


_nextafter = jax.custom_jvp(lambda x, y: lax.nextafter(x, y))
_nextafter.defjvps(lambda dx, out, x, y: jnp.where(x == y, 0, dx), None)


def _of_one_dtype(target, input, values) -> None:
    """Raises:
    RuntimeError: two dtypes.
    """
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")


@op(promote="default", differentiable=False, types=_of_one_dtype)
def heaviside(input: Array, values: Array):
    """0 below 0, 1 above, ``values`` at 0."""
    x, v = same_shape(input, values)
    return jnp.where(x == 0, v, (x > 0).astype(x.dtype))


# --- logarithms, angles, signs -------------------------------------------------------------------------------------


@op(promote="default", inplace=False)
@in_float32
def logaddexp(input: Array, other: Array):
    """``log(exp(input) + exp(other))``, without overflow."""
    refuse("logaddexp_cpu", input, when=is_integral(input))
    x, y = same_shape(input, other)
    return complex_logaddexp(x, y) if is_complex(x) else _logaddexp(x, y)


# JAX's own derivatives are wrong beside infinity: e^3 at (inf, 3).
_logaddexp = jax.custom_jvp(jnp.logaddexp)
_logaddexp.defjvps(lambda dx, _, x, y: lax.logistic(x - y) * dx, lambda dy, _, x, y: lax.logistic(y - x) * dy)
_logaddexp2 = jax.custom_jvp(jnp.logaddexp2)
_logaddexp2.defjvps(
    lambda dx, _, x, y: lax.logistic((x - y) * math.log(2)) * dx,
    lambda dy, _, x, y: lax.logistic((y - x) * math.log(2)) * dy,
)


def complex_logaddexp(x, y):
    """From the operand of the larger real part, whose imaginary part is kept beyond pi (``jnp.logaddexp`` wraps it)."""
    swap = jnp.real(y) < jnp.real(x)
    low, high = jnp.where(swap, y, x), jnp.where(swap, x, y)
    same = jnp.real(low) == jnp.real(high)
    both_infinite = same & jnp.isinf(jnp.real(low))
    step = jnp.where(both_infinite, 0, low - high)
    regular = jnp.log1p(jnp.exp(step)) + high
    a, b = jnp.where(both_infinite, low, 0), jnp.where(both_infinite, high, 0)  # whose exp does not overflow elsewhere
    infinite = jnp.where(jnp.real(low) < 0, low, jnp.log(jnp.exp(a) + jnp.exp(b)))
    return jnp.where(both_infinite, infinite, regular)


@op(promote="default", inplace=False)
@in_float32
def logaddexp2(input: Array, other: Array):
    """``log2(2 ** input + 2 ** other)``, without overflow."""
    refuse("logaddexp2_cpu", input, when=is_integral(input))
    return _logaddexp2(*same_shape(input, other))


@op(promote="float", aliases=("arctan2",))
@in_float32
def atan2(input: Array, other: Array):
    """The angle of the point (``other``, ``input``), in [-pi, pi]. The gradient at the origin is 0."""
    y, x = same_shape(input, other)
    origin = (x == 0) & (y == 0)
    angle = jnp.arctan2(y, jnp.where(origin, 1, x))
    return jnp.where(origin, lax.stop_gradient(jnp.arctan2(y, x)), angle)


@op(promote="default")
@in_float32
def hypot(input: Array, other: Array):
    """``sqrt(input^2 + other^2)``, without overflow. The gradient at the origin is 0."""
    refuse("hypot_cpu", input, when=is_integral(input))
    return hypotenuse(*same_shape(input, other))


@op(promote="float")
def copysign(input: Array, other: Array | Number):
    """``|input|`` with the sign of ``other`` (that of ``-0.0`` is minus)."""
    x, y = same_shape(input, other)
    size = magnitude(x)
    return jnp.where(jnp.signbit(y), -size, size)
