"""Special functions: error functions, gamma functions, Bessel functions."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import special as jsp

from .elementwise import by_input, in_float32, same_shape
from .loops import staged, while_loop
from .registry import Array, Number, op

BOTH = ("torch", "special")
ONLY = ("special",)

# --- error functions and the normal distribution ---------------------------------------------------------------------


@op(promote="float", namespaces=BOTH)
def erf(input: Array):
    """``2 / sqrt(pi) * integral of exp(-t^2) from 0 to x``."""
    return _erf(input)


_erf = by_input(lax.erf, lambda x, g: (2 / math.sqrt(math.pi)) * jnp.exp(-x * x) * g)


@op(promote="float", namespaces=BOTH)
def erfc(input: Array):
    """``1 - erf(x)``, accurate for large x."""
    return lax.erfc(input)


@op(promote="float", namespaces=BOTH)
@in_float32
def erfinv(input: Array):
    """The inverse of :func:`erf`, on (-1, 1)."""
    return lax.erf_inv(input)


@op(promote="float", namespaces=ONLY)
@in_float32
def ndtr(input: Array):
    """The standard normal distribution function: ``(1 + erf(x / sqrt 2)) / 2``."""
    return jsp.ndtr(input)


@op(promote="float", namespaces=ONLY)
@in_float32
def ndtri(input: Array):
    """The inverse of :func:`ndtr`."""
    return _ndtri(input)


_ndtri = jax.custom_jvp(staged(jsp.ndtri))
_ndtri.defjvps(lambda dx, out, x: math.sqrt(2 * math.pi) * jnp.exp(out * out / 2) * dx)


@op(promote="float", namespaces=ONLY)
@in_float32
def log_ndtr(input: Array):
    """``log(ndtr(x))``, accurate in the left tail."""
    return jsp.log_ndtr(input)


@op(promote="float", namespaces=ONLY)
@in_float32
def erfcx(input: Array):
    """``exp(x^2) * erfc(x)``, without overflow for large x."""
    # the product for small x, the asymptotic series in 1 / x^2 from where it is exact to the last digits
    limit = 25.0 if input.dtype == np.float64 else 5.0
    low, high = jnp.minimum(input, limit), jnp.maximum(input, limit)
    t = 1 / jnp.square(high)
    series, term = jnp.ones_like(t), jnp.ones_like(t)
    for k in range(1, 9):
        term = term * t * (-(2 * k - 1) / 2)
        series = series + term
    return jnp.where(input > limit, series / (high * math.sqrt(math.pi)), jnp.exp(low * low) * lax.erfc(low))


# --- gamma functions -------------------------------------------------------------------------------------------------


@op(promote="float")
@in_float32
def lgamma(input: Array):
    """``log |gamma(x)|``."""
    return _lgamma(input)


# JAX's own second derivatives go through XLA's polygamma, which is right for positive numbers alone.
_lgamma = jax.custom_jvp(lambda x: lax.lgamma(x))
_lgamma.defjvps(lambda dx, out, x: _digamma(x) * dx)
_digamma = jax.custom_jvp(lambda x: _digamma_with_zero(x))
_digamma.defjvps(lambda dx, out, x: _polygamma(1, x) * dx)


@op(promote="float", namespaces=BOTH)
@in_float32
def digamma(input: Array):
    """The derivative of ``lgamma``; minus infinity at ``+0``, NaN at the negative integers."""
    return _digamma(input)


def _digamma_with_zero(x):
    zero = x == 0
    at_zero = jnp.where(jnp.signbit(x), jnp.inf, -jnp.inf).astype(x.dtype)
    return jnp.where(zero, at_zero, lax.digamma(jnp.where(zero, 1, x)))


@op(promote="float", namespaces=BOTH, inplace=False)
@in_float32
def polygamma(n: int, input: Array):
    """The ``n``-th derivative of :func:`digamma`.

    Raises:
        RuntimeError: ``n`` is negative.
    """
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n != 1:
        return digamma(input) if n == 0 else _polygamma(n, input)
    # PyTorch reflects, pi^2 / sin^2(pi x); what rounding leaves of the sine makes that finite at negative whole numbers
    pole = (input < 0) & (input == jnp.floor(input))
    sine = jnp.sin(np.asarray(np.pi, input.dtype) * jnp.where(pole, input, 1))
    return jnp.where(pole, lax.stop_gradient((np.pi / sine) ** 2), _polygamma(1, jnp.where(pole, 1, input)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _polygamma(n: int, x):
    """By ``ψₙ(x) = ψₙ(x + 1) - (-1)ⁿ n! / x^(n+1)`` up to positive numbers: XLA's zeta is one of those alone.

    Infinite at the poles, 0 and the negative whole numbers, of the sign that it has to their right.
    """

    def step(carry):
        at, total = carry
        low = at < 0
        return jnp.where(low, at + 1, at), total + jnp.where(low, at ** -(n + 1), 0)

    pole = (x <= 0) & (x == jnp.floor(x))
    start = jnp.where(jnp.isfinite(x) & ~pole, x, jnp.ones_like(x))
    at, total = while_loop(lambda carry: jnp.any(carry[0] < 0), step, (start, jnp.zeros_like(x)))
    below = (-1) ** (n + 1) * math.factorial(n) * total
    found = jsp.polygamma(n, jnp.where(jnp.isfinite(x), at, x)) + below
    if n == 1:
        found = jnp.where(x == jnp.inf, 0, found)
    return jnp.where(pole, (-1) ** (n + 1) * np.asarray(np.inf, x.dtype), found)


@_polygamma.defjvp
def _polygamma_jvp(n, primals, tangents):
    return _polygamma(n, primals[0]), _polygamma(n + 1, primals[0]) * tangents[0]


@op(promote="float", namespaces=BOTH)
@in_float32
def mvlgamma(input: Array, p: int):
    """The logarithm of the multivariate gamma function of dimension ``p``."""
    terms = sum(lax.lgamma(input - j / 2) for j in range(p))
    return terms + p * (p - 1) / 4 * math.log(math.pi)


@op(promote="float", namespaces=ONLY)
@in_float32
def gammainc(input: Array, other: Array):
    """The regularised lower incomplete gamma function P(input, other)."""
    return lax.igamma(*same_shape(input, other))


@op(promote="float", namespaces=ONLY)
@in_float32
def gammaincc(input: Array, other: Array):
    """The regularised upper incomplete gamma function Q(input, other)."""
    return lax.igammac(*same_shape(input, other))


@op(promote="float")
def igamma(input: Array, other: Array):
    """Another name of :func:`jtorch.special.gammainc`."""
    return gammainc(input, other)


@op(promote="float")
def igammac(input: Array, other: Array):
    """Another name of :func:`jtorch.special.gammaincc`."""
    return gammaincc(input, other)


@op(promote="float", namespaces=ONLY)
@in_float32
def zeta(input: Array | Number, other: Array | Number):
    """The Hurwitz zeta function: the sum of ``(k + other) ** -input`` over k = 0, 1, ..."""
    s, q = same_shape(input, other)
    pole = (q <= 0) & (q == jnp.floor(q)) & (s > 1)  # where XLA has NaN
    value = jnp.where(pole, jnp.inf, jsp.zeta(s, jnp.where(pole, 1, q)))
    return jnp.where(s < 1, jnp.nan, value)  # where the sum diverges


# --- Bessel functions ------------------------------------------------------------------------------------------------


# JAX derives these from exp(|x|), whose slope it takes as 1 at 0.
@jax.custom_jvp
def bessel_i0(x):
    """``I0(x)``; its derivative is ``I1(x)``."""
    return jsp.i0(x)


@jax.custom_jvp
def bessel_i1(x):
    """``I1(x)``; its derivative is ``I0(x) - I1(x) / x``, a half at 0."""
    return jsp.i1(x)


def _bessel_i1_slope(x, out):
    zero = x == 0
    return jnp.where(zero, 0.5, bessel_i0(x) - out / jnp.where(zero, 1, x)).astype(x.dtype)


bessel_i0.defjvps(lambda dx, out, x: bessel_i1(x) * dx)
bessel_i1.defjvps(lambda dx, out, x: _bessel_i1_slope(x, out) * dx)


@op(promote="float", namespaces=BOTH)
@in_float32
def i0(input: Array):
    """The modified Bessel function of the first kind, order 0."""
    return bessel_i0(input)


@op(promote="float", namespaces=ONLY)
@in_float32
def i0e(input: Array):
    """``exp(-|x|) * i0(x)``."""
    return jsp.i0e(input)


@op(promote="float", namespaces=ONLY)
@in_float32
def i1(input: Array):
    """The modified Bessel function of the first kind, order 1."""
    return bessel_i1(input)


@op(promote="float", namespaces=ONLY)
@in_float32
def i1e(input: Array):
    """``exp(-|x|) * i1(x)``."""
    return jsp.i1e(input)


# --- logits, entropies, sinc -----------------------------------------------------------------------------------------


@op(promote="float", namespaces=BOTH)
@in_float32
def logit(input: Array, eps: float | None = None):
    """``log(x / (1 - x))``; with ``eps``, x is first clamped to ``[eps, 1 - eps]``."""
    if eps is None:
        return _logit(input)
    low, high = jnp.asarray(eps, input.dtype), jnp.asarray(1 - eps, input.dtype)
    inside = jnp.where(input < low, low, jnp.where(input > high, high, input))
    return _logit(inside)


_logit = jax.custom_jvp(lambda x: jnp.log(x / (1 - x)))
_logit.defjvps(lambda dx, _, x: jnp.where((x < 0) | (x > 1), jnp.nan, 1 / (x * (1 - x))) * dx)


@op(promote="float", namespaces=BOTH)
@in_float32
def sinc(input: Array):
    """``sin(pi x) / (pi x)``, and 1 at 0."""
    return _sinc(input)


def _sinc_slope(x, g):
    # (t cos t - sin t) / t^2 cancels near 0: its series there, 2k t^(2k-1) / (2k+1)! with alternating signs
    t = jnp.pi * x
    near = jnp.abs(t) < 0.5
    small, large = jnp.where(near, t, 0), jnp.where(near, 1, t)
    series = sum((-1) ** k * 2 * k / math.factorial(2 * k + 1) * small ** (2 * k - 1) for k in range(1, 8))
    return g * jnp.pi * jnp.where(near, series, (large * jnp.cos(large) - jnp.sin(large)) / (large * large))


_sinc = by_input(jnp.sinc, _sinc_slope)


@op(promote="float", namespaces=BOTH)
@in_float32
def xlogy(input: Array | Number, other: Array | Number):
    """``input * log(other)``; 0 where ``input`` is 0, NaN where ``other`` is."""
    return _x_times_log(input, other, jnp.log, lambda y: y <= 0)


@op(promote="float", namespaces=ONLY)
@in_float32
def xlog1py(input: Array | Number, other: Array | Number):
    """``input * log1p(other)``; 0 where ``input`` is 0, NaN where ``other`` is."""
    return _x_times_log(input, other, jnp.log1p, lambda y: y <= -1)


def _x_times_log(x, y, log, outside):
    x, y = same_shape(x, y)
    vanish = (x == 0) & (outside(y) | jnp.isinf(y))  # there x * log(y) would be NaN; elsewhere its gradient is right
    return jnp.where(vanish, 0, x * log(jnp.where(vanish, 1, y)))


@op(promote="float", namespaces=ONLY)
@in_float32
def entr(input: Array):
    """``-x log x``; 0 at 0, minus infinity below."""
    return _entr(input)


@jax.custom_jvp
def _entr(x):
    positive = x > 0
    safe = jnp.where(positive, x, 1)
    rest = jnp.where(x == 0, 0, -jnp.inf).astype(x.dtype)
    return jnp.where(jnp.isnan(x), x, jnp.where(positive, -safe * jnp.log(safe), rest))


_entr.defjvps(lambda dx, _, x: -(1 + jnp.log(x)) * dx)
