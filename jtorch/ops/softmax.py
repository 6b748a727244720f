"""``softmax``, ``log_softmax`` and ``softmin``. float16 and bfloat16 are computed in float32 and rounded at the end."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from ..dtypes import dtype as DType
from .elementwise import type_name
from .registry import Array, op
from .shapes import canonical_dim


def widened(x):
    """float16 and bfloat16 as float32, the type PyTorch computes them in; anything else as it is."""
    return x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x


def _with_gradient(forward, backward):
    """``f(x, dim)`` whose own gradient needs only the output y, where the derived one keeps three arrays."""

    @partial(jax.custom_vjp, nondiff_argnums=(1,))
    def along(x, dim: int):
        return forward(widened(x), axis=dim).astype(x.dtype)

    def keep(x, dim):
        y = along(x, dim)
        return y, y

    def derive(dim, y, g):
        return (backward(widened(y), widened(g), partial(jnp.sum, axis=dim, keepdims=True)).astype(g.dtype),)

    along.defvjp(keep, derive)
    return along


softmax_along = _with_gradient(jax.nn.softmax, lambda y, g, total: (g - total(g * y)) * y)
log_softmax_along = _with_gradient(jax.nn.log_softmax, lambda y, g, total: g - jnp.exp(y) * total(g))


def _prepared(name: str, input, dim: int, dtype: DType | None):
    if dtype is not None:
        input = input.astype(dtype.np)
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise NotImplementedError(
            f"\"{name}_lastdim_kernel_impl\" not implemented for '{type_name(input)}'; pass dtype= to convert it first"
        )
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
