"""Derivatives of gamma and Dirichlet variates in their concentrations (implicit reparameterization)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jax.scipy import special as jsp

from .elementwise import in_float32
from .loops import while_loop
from .registry import Array, op


@op(name="_standard_gamma_grad", promote="float", namespaces=(), differentiable=False)
@in_float32
def _standard_gamma_grad(input: Array, output: Array):
    """d output / d input for ``output`` drawn from a gamma distribution of concentration ``input`` and unit rate."""
    return lax.random_gamma_grad(input, output)


@op(name="_dirichlet_grad", promote="float", namespaces=(), differentiable=False)
def _dirichlet_grad(x: Array, alpha: Array, total: Array):
    """``-(dF/da) / (p(x) (1 - x))`` with F and p the distribution function and density of Beta(a, total - a)."""
    dtype = x.dtype
    x, a, total = (v.astype(jnp.float64) for v in (x, alpha, total))
    tiny = jnp.finfo(jnp.float64).tiny
    x, b = jnp.clip(x, tiny, 1 - jnp.finfo(jnp.float64).epsneg), total - a
    swap = x > (a + 1) / (a + b + 2)  # sum the series of the shorter tail: F(x; a, b) = 1 - F(1 - x; b, a)
    first, second = jnp.where(swap, b, a), jnp.where(swap, a, b)
    y = jnp.where(swap, 1 - x, x)
    tail, in_first, in_second = _beta_tail(y, first, second)
    # F / p and its derivatives: F = p(y) * tail, so dF/da / p = d log p / da * tail + d tail / da
    digamma_sum = jsp.digamma(a + b)
    lower = (jnp.log(x) + digamma_sum - jsp.digamma(a)) * tail
    slope = jnp.where(swap, -(lower + in_second), lower + in_first)
    return (-slope / (1 - x)).astype(dtype)


def _beta_tail(y, a, b):
    """``F(y; a, b) / p(y; a, b)`` and its derivatives in a and b, where p keeps its own.

    The series ``y (1 - y) / a * sum_n (a + b)_n / (a + 1)_n y^n`` has positive terms only.
    """
    one = jnp.ones_like(y)
    zero = jnp.zeros_like(y)
    start = (0.0, one, zero, zero, one, zero, zero)  # n; term and d log term; sums

    def unfinished(state):
        n, term, da, db, total, total_a, total_b = state
        small = term * (1 + jnp.abs(da) + jnp.abs(db)) < 1e-17 * total
        return jnp.logical_and(n < 100_000, jnp.logical_not(jnp.all(small | jnp.isnan(term))))

    def step(state):
        n, term, da, db, total, total_a, total_b = state
        term = term * y * (a + b + n) / (a + 1 + n)
        da = da + 1 / (a + b + n) - 1 / (a + 1 + n)
        db = db + 1 / (a + b + n)
        return n + 1, term, da, db, total + term, total_a + term * da, total_b + term * db

    _, _, _, _, total, total_a, total_b = while_loop(unfinished, step, start)
    scale = y * (1 - y) / a
    return scale * total, scale * (total_a - total / a), scale * total_b
