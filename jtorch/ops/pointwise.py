"""Elementwise functions of one tensor."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .elementwise import by_input, hypotenuse, in_float32, is_bool, is_complex, is_integral, magnitude, refuse
from .outputs import a_bool, unconverted
from .registry import Array, op

# --- sign and magnitude ----------------------------------------------------------------------------------------------


@op(promote="default", aliases=("absolute",), out=unconverted)
def abs(input: Array):
    """``|x|``; the modulus (a real tensor) of a complex one. The gradient at 0 is 0."""
    refuse("abs_cpu", input, when=is_bool(input))
    return magnitude(input)


@op(promote="default", aliases=("negative",), out=unconverted)
def neg(input: Array):
    """``-x``.

    Raises:
        RuntimeError: a bool tensor.
    """
    if is_bool(input):
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )
    return -input


@op(promote="default", out=unconverted)
def sign(input: Array):
    """-1, 0 or 1 by the sign of x; 0 for NaN. Complex tensors want :func:`sgn`."""
    if is_complex(input):
        raise NotImplementedError(
            "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."
        )
    if is_bool(input):
        return input
    return (input > 0).astype(input.dtype) - (input < 0).astype(input.dtype)


@op(promote="default", out=unconverted)
def sgn(input: Array):
    """``x / |x|``, and 0 at 0: :func:`sign` for complex tensors too."""
    if not is_complex(input):
        return sign(input)
    zero = input == 0
    return jnp.where(zero, 0, input / jnp.abs(jnp.where(zero, 1, input)).astype(input.dtype))


@op(promote="default", inplace=False, differentiable=False, out=a_bool("signbit"))
def signbit(input: Array):
    """Whether x is negative; ``-0.0`` counts as negative."""
    if is_complex(input):
        raise RuntimeError("signbit is not implemented for complex tensors.")
    if jnp.issubdtype(input.dtype, jnp.floating):
        return jnp.signbit(input)
    return jnp.zeros(input.shape, bool) if is_bool(input) else input < 0


@op(promote="float", inplace=False)
def angle(input: Array):
    """The argument of a complex number; of a real one, 0 or pi by its sign (NaN stays NaN)."""
    if not is_complex(input):
        return jnp.where(jnp.isnan(input), input, jnp.where(input < 0, math.pi, 0.0).astype(input.dtype))
    zero = input == 0
    real, imag = jnp.real(input), jnp.imag(input)
    return jnp.where(zero, lax.stop_gradient(jnp.arctan2(imag, real)), jnp.arctan2(imag, jnp.where(zero, 1, real)))


@op(promote="default", out=unconverted)
def conj_physical(input: Array):
    """The complex conjugate, as a new tensor; a real tensor unchanged."""
    return jnp.conj(input) if is_complex(input) else input


# --- exponentials, logarithms, roots ---------------------------------------------------------------------------------


@op(promote="float")
def exp(input: Array):
    """``e ** x``."""
    return jnp.exp(input)


@op(promote="float", namespaces=("torch", "special"))
@in_float32
def exp2(input: Array):
    """``2 ** x``."""
    return jnp.exp2(input)


@op(promote="float", namespaces=("torch", "special"))
def expm1(input: Array):
    """``e ** x - 1``, accurate near 0."""
    return _expm1(input)


@op(promote="float")
def log(input: Array):
    """The natural logarithm."""
    return jnp.log(input)


@op(promote="float")
@in_float32
def log2(input: Array):
    """The logarithm to base 2, exact at the powers of 2."""
    return jnp.log2(input) if is_complex(input) else _log2(input)


@jax.custom_jvp
def _log2(x):
    # log(x) / log(2) gives 2.9999998 at 8, and its floor is 2; so split off the exponent first
    mantissa, exponent = jnp.frexp(x)
    low = mantissa < math.sqrt(0.5)
    mantissa, exponent = jnp.where(low, 2 * mantissa, mantissa), jnp.where(low, exponent - 1, exponent)
    regular = (x > 0) & (x < jnp.inf)
    return jnp.where(regular, exponent.astype(x.dtype) + jnp.log(mantissa) * (1 / math.log(2)), jnp.log(x))


_log2.defjvps(lambda dx, out, x: dx / (x * math.log(2)))


@op(promote="float")
@in_float32
def log10(input: Array):
    """The logarithm to base 10."""
    return jnp.log10(input)


@op(promote="float", namespaces=("torch", "special"), grad_name="Log1PBackward0")
def log1p(input: Array):
    """``log(1 + x)``, accurate near 0."""
    return _log1p(input)


def _by_result(function, slope):
    """``function`` with the derivative ``slope(dx, result)``.

    JAX's own keeps what it makes of the result in an array of its own. The result is there anyway, and it is what
    backward refuses to go on with where it has been written to.
    """
    f = jax.custom_jvp(function)
    f.defjvps(lambda dx, result, x: slope(dx, result))
    return f


def _complex_log1p(z):
    """Written out: XLA's and NumPy's own lose a small real part beside the 1."""
    x, y = jnp.real(z), jnp.imag(z)
    near = (jnp.abs(x) < 0.5) & (jnp.abs(y) < 0.5)
    a, b = jnp.where(near, x, 0), jnp.where(near, y, 0)
    modulus = jnp.where(near, jnp.log1p(a * (2 + a) + b * b) / 2, jnp.log(hypotenuse(1 + x, y)))
    return lax.complex(modulus, jnp.arctan2(y, 1 + x))


_sin = by_input(jnp.sin, lambda x, g: g * jnp.cos(x))
_cos = by_input(jnp.cos, lambda x, g: -g * jnp.sin(x))
_sinh = by_input(jnp.sinh, lambda x, g: g * jnp.cosh(x))
_cosh = by_input(jnp.cosh, lambda x, g: g * jnp.sinh(x))
_atan = by_input(jnp.arctan, lambda x, g: g / (x * x + 1))
_log1p = by_input(
    lambda x: _complex_log1p(x) if is_complex(x) else jnp.log1p(x),
    lambda x, g: g / (x + 1),
)
_expm1 = _by_result(jnp.expm1, lambda dx, result: dx * result + dx)
_sqrt = _by_result(jnp.sqrt, lambda dx, result: 0.5 * dx / result)
_rsqrt = _by_result(lax.rsqrt, lambda dx, result: -0.5 * dx * result * result * result)
_reciprocal = _by_result(lambda x: 1 / x, lambda dx, result: -dx * result * result)
_tan = _by_result(jnp.tan, lambda dx, result: dx + dx * result * result)
_sigmoid = _by_result(lax.logistic, lambda dx, result: dx * (1 - result) * result)


@op(promote="float")
def sqrt(input: Array):
    """The square root."""
    return _sqrt(input)


@op(promote="float")
@in_float32
def rsqrt(input: Array):
    """``1 / sqrt(x)``."""
    return _rsqrt(input)


@op(promote="default")
def square(input: Array):
    """``x * x``."""
    x = input.astype(np.int64) if is_bool(input) else input
    return x * x


@op(promote="float")
def reciprocal(input: Array):
    """``1 / x``."""
    return _reciprocal(input)


# --- trigonometry ----------------------------------------------------------------------------------------------------


@op(promote="float")
def sin(input: Array):
    """The sine of an angle in radians."""
    return _sin(input)


@op(promote="float")
def cos(input: Array):
    """The cosine of an angle in radians."""
    return _cos(input)


@op(promote="float")
def tan(input: Array):
    """The tangent of an angle in radians."""
    return _tan(input)


@op(promote="float", aliases=("arcsin",))
@in_float32
def asin(input: Array):
    """The inverse sine, in [-pi/2, pi/2]."""
    return jnp.arcsin(input)


@op(promote="float", aliases=("arccos",))
@in_float32
def acos(input: Array):
    """The inverse cosine, in [0, pi]."""
    return jnp.arccos(input)


@op(promote="float", aliases=("arctan",))
@in_float32
def atan(input: Array):
    """The inverse tangent, in (-pi/2, pi/2)."""
    return _atan(input)


@op(promote="float")
@in_float32
def sinh(input: Array):
    """The hyperbolic sine."""
    return _sinh(input)


@op(promote="float")
@in_float32
def cosh(input: Array):
    """The hyperbolic cosine."""
    return _cosh(input)


@op(promote="float")
def tanh(input: Array):
    """The hyperbolic tangent."""
    return jnp.tanh(input)


@op(promote="float", aliases=("arcsinh",))
@in_float32
def asinh(input: Array):
    """The inverse hyperbolic sine."""
    return jnp.arcsinh(input)


@op(promote="float", aliases=("arccosh",))
@in_float32
def acosh(input: Array):
    """The inverse hyperbolic cosine (NaN below 1)."""
    return jnp.arccosh(input)


@op(promote="float", aliases=("arctanh",))
@in_float32
def atanh(input: Array):
    """The inverse hyperbolic tangent (NaN outside [-1, 1])."""
    return jnp.arctanh(input)


@op(promote="float")
@in_float32
def deg2rad(input: Array):
    """``x * pi / 180``."""
    return input * (math.pi / 180)


@op(promote="float")
@in_float32
def rad2deg(input: Array):
    """``x * 180 / pi``."""
    return input * (180 / math.pi)


@op(promote="float")
def sigmoid(input: Array):
    """``1 / (1 + exp(-x))``."""
    return _sigmoid(input)


# --- rounding --------------------------------------------------------------------------------------------------------


def _rounding(kernel: str, input, fn):
    """Rounding functions: integers are round already, bool and complex numbers are refused."""
    refuse(f"{kernel}_vml_cpu", input, when=is_bool(input))
    if is_complex(input):
        raise NotImplementedError(f"{kernel} is not supported for complex inputs")
    return input if is_integral(input) else fn(input)


@op(promote="default", out=unconverted)
def floor(input: Array):
    """The largest integer not above x."""
    return _rounding("floor", input, jnp.floor)


@op(promote="default", out=unconverted)
def ceil(input: Array):
    """The smallest integer not below x."""
    return _rounding("ceil", input, jnp.ceil)


@op(promote="default", aliases=("fix",), out=unconverted)
def trunc(input: Array):
    """x without its fraction: rounded towards 0."""
    return _rounding("trunc", input, jnp.trunc)


@op(promote="default", out=unconverted)
def frac(input: Array):
    """``x - trunc(x)``."""
    refuse("frac_cpu", input, when=is_integral(input))
    return input - jnp.trunc(input)


@op(promote="default", namespaces=("torch", "special"), out=unconverted)
@in_float32
def round(input: Array, *, decimals: int = 0):
    """x to the nearest multiple of ``10 ** -decimals``, halves to the even one.

    Raises:
        NotImplementedError: ``decimals`` other than 0 for an integer tensor.
    """

    def nearest(x):
        return lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)

    if decimals == 0:
        return _rounding("round", input, nearest)
    refuse("round_cpu", input, when=is_integral(input))
    scale = 10.0 ** math.fabs(decimals)
    return nearest(input * scale) / scale if decimals > 0 else nearest(input / scale) * scale


# --- questions about a number ----------------------------------------------------------------------------------------


def _is_inexact(x) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


@op(promote="bool", differentiable=False, out=False)
def isnan(input: Array):
    """Whether x is NaN (for a complex number: either part)."""
    return jnp.isnan(input) if _is_inexact(input) else jnp.zeros(input.shape, bool)


@op(promote="bool", differentiable=False, out=False)
def isinf(input: Array):
    """Whether x is infinite (for a complex number: either part)."""
    return jnp.isinf(input) if _is_inexact(input) else jnp.zeros(input.shape, bool)


@op(promote="bool", differentiable=False, out=False)
def isfinite(input: Array):
    """Whether x is neither NaN nor infinite."""
    return jnp.isfinite(input) if _is_inexact(input) else jnp.ones(input.shape, bool)


@op(promote="bool", differentiable=False, out=a_bool("isposinf"))
def isposinf(input: Array):
    """Whether x is positive infinity."""
    if is_complex(input):
        raise RuntimeError("isposinf does not support complex inputs.")
    return input == jnp.inf if _is_inexact(input) else jnp.zeros(input.shape, bool)


@op(promote="bool", differentiable=False, out=a_bool("isneginf"))
def isneginf(input: Array):
    """Whether x is negative infinity."""
    if is_complex(input):
        raise RuntimeError("isneginf does not support complex inputs.")
    return input == -jnp.inf if _is_inexact(input) else jnp.zeros(input.shape, bool)


@op(promote="bool", differentiable=False, out=False)
def isreal(input: Array):
    """Whether the imaginary part is zero."""
    return jnp.imag(input) == 0 if is_complex(input) else jnp.ones(input.shape, bool)


@op(promote="default")
def nan_to_num(input: Array, nan: float | None = None, posinf: float | None = None, neginf: float | None = None):
    """NaN replaced by ``nan`` (default 0), infinities by ``posinf`` and ``neginf`` (default: the dtype's extremes)."""
    if not _is_inexact(input):
        return input
    if is_complex(input):
        return lax.complex(
            nan_to_num(jnp.real(input), nan, posinf, neginf), nan_to_num(jnp.imag(input), nan, posinf, neginf)
        )
    limits = jnp.finfo(input.dtype)

    def constant(value, default):
        return jnp.asarray(default if value is None else value, input.dtype)

    out = jnp.where(jnp.isnan(input), constant(nan, 0.0), input)
    out = jnp.where(input == jnp.inf, constant(posinf, limits.max), out)
    return jnp.where(input == -jnp.inf, constant(neginf, limits.min), out)
