"""Bessel and Airy functions, by quadrature near the origin and asymptotic series far from it.

The integral of a smooth periodic (or fast decaying) function converges exponentially under the trapezoidal rule, so a
few dozen constant nodes give every digit of the type: no tables of fitted coefficients are needed.
References: NIST Digital Library of Mathematical Functions, chapters 9 and 10 (dlmf.nist.gov).
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax.scipy import special as jsp

from .elementwise import in_float32
from .registry import Array, op
from .special import bessel_i0, bessel_i1

_EULER = 0.5772156649015329

#: From here on the asymptotic (Hankel) series of J and Y is exact to double precision.
_FAR = 25.0

# --- J and Y ---------------------------------------------------------------------------------------------------------

# J_0(x) is the mean of cos(x sin t) over a period. 160 midpoints resolve every x up to _FAR; by symmetry 40 remain.
_T = (np.arange(40) + 0.5) * math.pi / 80
_SIN = np.sin(_T)
# Y_0(x) = 2/pi (log(x/2) + gamma) J_0 + 4/pi sum of (-1)^(k+1) J_2k / k (DLMF 10.8.4), where J_2k is the mean of
# cos(x sin t) cos(2kt): the sum over k is a constant weight of each node.
_LOG_WEIGHT = sum((-1) ** (k + 1) * np.cos(2 * k * _T) / k for k in range(1, 36))


def _mean(x, function, weight=None):
    """The mean over the nodes of ``weight * function(x sin t)``."""
    w = np.ones_like(_SIN) if weight is None else weight
    return jnp.sum(jnp.asarray(w / 40, x.dtype) * function(x[..., None] * jnp.asarray(_SIN, x.dtype)), -1)


def _hankel(x, order: int):
    """``(P, Q)`` of the asymptotic series (DLMF 10.17.3, 10.17.4)."""
    terms, coefficient = [], 1.0
    for k in range(24):
        terms.append(coefficient)
        coefficient *= (4 * order * order - (2 * k + 1) ** 2) / (8 * (k + 1))
    inverse = 1 / x
    square = inverse * inverse
    p, q = jnp.zeros_like(x), jnp.zeros_like(x)
    for k in reversed(range(12)):
        p = p * square + (-1) ** k * terms[2 * k]
        q = q * square + (-1) ** k * terms[2 * k + 1]
    return p, q * inverse


def _far(x, order: int, second: bool):
    p, q = _hankel(x, order)
    angle = x - (2 * order + 1) * math.pi / 4
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.sqrt(2 / (math.pi * x)) * (p * s + q * c if second else p * c - q * s)


def _split(x, near, far, limit: float):
    """``near(x)`` up to ``limit`` and ``far(x)`` beyond, each seeing only its own part."""
    return jnp.where(x > limit, far(jnp.maximum(x, limit)), near(jnp.minimum(x, limit)))


def _j0(x):
    return _split(x, lambda x: _mean(x, jnp.cos), lambda x: _far(x, 0, False), _FAR)


def _j1(x):
    return _split(x, lambda x: _mean(x, jnp.sin, _SIN), lambda x: _far(x, 1, False), _FAR)


@op(promote="float", namespaces=("special",))
@in_float32
def bessel_j0(input: Array):
    """The Bessel function of the first kind, order 0."""
    return _j0(jnp.abs(input))


@op(promote="float", namespaces=("special",))
@in_float32
def bessel_j1(input: Array):
    """The Bessel function of the first kind, order 1."""
    value = _j1(jnp.abs(input))
    return jnp.where(input < 0, -value, value)


def _positive_only(x, function, at_zero: float, at_infinity: float):
    """``function`` of the positive finite elements; NaN below 0."""
    inside = (x > 0) & ~jnp.isinf(x)
    value = function(jnp.where(inside, x, 1))
    edge = jnp.where(x == 0, at_zero, jnp.where(jnp.isposinf(x), at_infinity, jnp.nan)).astype(x.dtype)
    return jnp.where(inside, value, edge)


def _near_y0(x):
    logarithm = jnp.log(x / 2) + _EULER
    return 2 / math.pi * logarithm * _mean(x, jnp.cos) + 4 / math.pi * _mean(x, jnp.cos, _LOG_WEIGHT)


def _near_y1(x):  # minus the derivative of Y_0
    logarithm = jnp.log(x / 2) + _EULER
    first = 2 / math.pi * (logarithm * _mean(x, jnp.sin, _SIN) - _mean(x, jnp.cos) / x)
    return first + 4 / math.pi * _mean(x, jnp.sin, _SIN * _LOG_WEIGHT)


@op(promote="float", namespaces=("special",))
@in_float32
def bessel_y0(input: Array):
    """The Bessel function of the second kind, order 0; minus infinity at 0, NaN below."""
    return _positive_only(input, lambda x: _split(x, _near_y0, lambda x: _far(x, 0, True), _FAR), -math.inf, math.nan)


@op(promote="float", namespaces=("special",))
@in_float32
def bessel_y1(input: Array):
    """The Bessel function of the second kind, order 1; minus infinity at 0, NaN below."""
    return _positive_only(input, lambda x: _split(x, _near_y1, lambda x: _far(x, 1, True), _FAR), -math.inf, math.nan)


@op(promote="float", namespaces=("special",))
@in_float32
def spherical_bessel_j0(x: Array):
    """``sin(x) / x``, and 1 at 0."""
    small = jnp.abs(x) < 0.5
    apart = jnp.where(small, 1, x)
    square = jnp.square(jnp.where(small, x, 0))
    series = jnp.zeros_like(x)
    for k in reversed(range(8)):
        series = series * square + (-1) ** k / math.factorial(2 * k + 1)
    return jnp.where(small, series, jnp.where(jnp.isinf(x), 0, jnp.sin(apart) / apart))


# --- I and K ---------------------------------------------------------------------------------------------------------


@op(promote="float", namespaces=("special",))
@in_float32
def modified_bessel_i0(input: Array):
    """The modified Bessel function of the first kind, order 0."""
    return bessel_i0(input)


@op(promote="float", namespaces=("special",))
@in_float32
def modified_bessel_i1(input: Array):
    """The modified Bessel function of the first kind, order 1."""
    return bessel_i1(input)


_NEAR = 2.0
#: sum over k of H_k / (k!)^2 (x/2)^2k, H_k being the harmonic numbers (DLMF 10.31.2)
_HARMONIC = [sum(1 / j for j in range(1, k + 1)) / math.factorial(k) ** 2 for k in range(16)]
# e^x K_0(x) = sqrt(2/x) * integral of exp(-u^2) / sqrt(1 + u^2 / 2x) over u >= 0 (DLMF 10.32.9, u^2 = x (cosh t - 1)).
_U = np.arange(28) * 0.25
_GAUSS = np.exp(-_U * _U) * 0.25 * np.where(_U == 0, 0.5, 1)


def _powers(x, coefficients):
    y = jnp.zeros_like(x)
    for c in reversed(coefficients):
        y = y * x + c
    return y


def _near_k0(x):
    quarter = jnp.square(x / 2)
    return _powers(quarter, _HARMONIC) - (jnp.log(x / 2) + _EULER) * jsp.i0(x)


def _near_k1(x):  # minus the derivative of K_0
    quarter = jnp.square(x / 2)
    slope = _powers(quarter, [k * c for k, c in enumerate(_HARMONIC)][1:]) * x / 2
    return jsp.i0(x) / x + (jnp.log(x / 2) + _EULER) * jsp.i1(x) - slope


def _far_scaled_k(x, order: int):
    ratio = jnp.asarray(_U * _U, x.dtype) / x[..., None]
    terms = jnp.asarray(_GAUSS, x.dtype) / jnp.sqrt(1 + ratio / 2)
    return jnp.sqrt(2 / x) * jnp.sum(terms * (1 + ratio) if order else terms, -1)


def _k(x, order: int, scaled: bool):
    near = _near_k1 if order else _near_k0

    def small(x):
        return near(x) * jnp.exp(x) if scaled else near(x)

    def large(x):
        return _far_scaled_k(x, order) * (1 if scaled else jnp.exp(-x))

    return _positive_only(x, lambda x: _split(x, small, large, _NEAR), math.inf, 0.0)


@op(promote="float", namespaces=("special",))
@in_float32
def modified_bessel_k0(input: Array):
    """The modified Bessel function of the second kind, order 0; infinite at 0, NaN below."""
    return _k(input, 0, False)


@op(promote="float", namespaces=("special",))
@in_float32
def modified_bessel_k1(input: Array):
    """The modified Bessel function of the second kind, order 1; infinite at 0, NaN below."""
    return _k(input, 1, False)


@op(promote="float", namespaces=("special",))
@in_float32
def scaled_modified_bessel_k0(x: Array):
    """``exp(x)`` times the modified Bessel function of the second kind, order 0."""
    return _k(x, 0, True)


@op(promote="float", namespaces=("special",))
@in_float32
def scaled_modified_bessel_k1(x: Array):
    """``exp(x)`` times the modified Bessel function of the second kind, order 1."""
    return _k(x, 1, True)


# --- Ai --------------------------------------------------------------------------------------------------------------

_AI_ZERO, _AI_SLOPE = 0.355028053887817239, -0.258819403792806798  # Ai(0) and Ai'(0)


def _airy_series(x):
    """The power series (DLMF 9.4.1), in float64: it cancels where x is far below 0."""
    cube, even, odd = x**3, jnp.ones_like(x), x
    total_even, total_odd = even, odd
    for k in range(1, 45):
        even = even * cube / ((3 * k - 1) * (3 * k))
        odd = odd * cube / ((3 * k) * (3 * k + 1))
        total_even, total_odd = total_even + even, total_odd + odd
    return _AI_ZERO * total_even + _AI_SLOPE * total_odd


def _airy_above(x):
    """``sqrt(x/3)/pi K_{1/3}(z)`` with z = 2/3 x^(3/2), K by the quadrature above."""
    z = 2 / 3 * x * jnp.sqrt(x)
    ratio = jnp.asarray(_U * _U, x.dtype) / z[..., None]
    third = jnp.cosh(2 / 3 * jnp.arcsinh(jnp.sqrt(ratio / 2)))
    scaled = jnp.sqrt(2 / z) * jnp.sum(jnp.asarray(_GAUSS, x.dtype) * third / jnp.sqrt(1 + ratio / 2), -1)
    return jnp.sqrt(x / 3) / math.pi * scaled * jnp.exp(-z)


def _airy_below(x):
    """Ai(-x) for large x (DLMF 9.7.9)."""
    z = 2 / 3 * x * jnp.sqrt(x)
    u = [1.0]
    for k in range(1, 24):
        u.append(u[-1] * (6 * k - 5) * (6 * k - 3) * (6 * k - 1) / (216 * k * (2 * k - 1)))
    square = 1 / jnp.square(z)
    even = _powers(square, [(-1) ** k * u[2 * k] for k in range(12)])
    odd = _powers(square, [(-1) ** k * u[2 * k + 1] for k in range(12)]) / z
    angle = z - math.pi / 4
    return (jnp.cos(angle) * even + jnp.sin(angle) * odd) / (math.sqrt(math.pi) * x**0.25)


@op(promote="float", namespaces=("special",))
def airy_ai(x: Array):
    """The Airy function Ai; computed in float64."""
    dtype, x = x.dtype, x.astype(np.float64)
    value = jnp.where(x > 3, _airy_above(jnp.maximum(x, 3.0)), _airy_series(jnp.clip(x, -8.0, 3.0)))
    return jnp.where(x < -8, _airy_below(jnp.maximum(-x, 8.0)), value).astype(dtype)
