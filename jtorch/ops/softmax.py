"""``softmax``, ``log_softmax`` and ``softmin``. float16 and bfloat16 are computed in float32 and rounded at the end."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from ..dtypes import dtype as DType
from .registry import Array, op
from .shapes import canonical_dim


def widened(x):
    """float16 and bfloat16 as float32, the type PyTorch computes them in; anything else as it is."""
    return x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def softmax_along(x, dim: int):
    """Own gradient: needs only the output, ``dx = y (g - Σ g y)``, where the derived one keeps three arrays."""
    return jax.nn.softmax(widened(x), axis=dim).astype(x.dtype)


def _softmax_fwd(x, dim):
    y = softmax_along(x, dim)
    return y, y


def _softmax_bwd(dim, y, g):
    y32, g32 = widened(y), widened(g)
    return (((g32 - (g32 * y32).sum(dim, keepdims=True)) * y32).astype(g.dtype),)


softmax_along.defvjp(_softmax_fwd, _softmax_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def log_softmax_along(x, dim: int):
    """Own gradient: needs only the output, ``dx = g - exp(y) Σ g``."""
    return jax.nn.log_softmax(widened(x), axis=dim).astype(x.dtype)


def _log_softmax_fwd(x, dim):
    y = log_softmax_along(x, dim)
    return y, y


def _log_softmax_bwd(dim, y, g):
    g32 = widened(g)
    return ((g32 - jnp.exp(widened(y)) * g32.sum(dim, keepdims=True)).astype(g.dtype),)


log_softmax_along.defvjp(_log_softmax_fwd, _log_softmax_bwd)


def _prepared(name: str, input, dim: int, dtype: DType | None):
    if dtype is not None:
        input = input.astype(dtype.np)
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise RuntimeError(f"\"{name}\" not implemented for '{input.dtype}'; pass dtype= to convert the input first")
    return input, canonical_dim(dim, input.ndim)


@op(namespaces=(), grad_name="SoftmaxBackward0")
def _softmax(input: Array, *, dim: int, dtype: DType | None = None):
    """``exp(x_i) / Σ_j exp(x_j)`` along ``dim``; ``dtype`` converts the input first."""
    x, dim = _prepared("softmax", input, dim, dtype)
    return softmax_along(x, dim) if x.ndim else jnp.exp(x - x)


@op(namespaces=(), grad_name="LogSoftmaxBackward0")
def _log_softmax(input: Array, *, dim: int, dtype: DType | None = None):
    """``x_i - log Σ_j exp(x_j)`` along ``dim``; ``dtype`` converts the input first."""
    x, dim = _prepared("log_softmax", input, dim, dtype)
    return log_softmax_along(x, dim) if x.ndim else x - x


@op(namespaces=(), grad_name="SoftmaxBackward0")
def _softmin(input: Array, *, dim: int, dtype: DType | None = None):
    """``softmax(-x)`` along ``dim``; unsigned integers wrap around before ``dtype`` converts them."""
    x, dim = _prepared("softmin", -input, dim, dtype)
    return softmax_along(x, dim) if x.ndim else jnp.exp(x - x)
