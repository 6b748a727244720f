"""Running sums, products and extremes along one dim, and differences."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..dtypes import dtype as Dtype
from .elementwise import in_float32, is_bool, is_complex, is_integral, refuse
from .loops import scan
from .lowering_table import CPU
from .outputs import same_dtype
from .pointwise_binary import complex_logaddexp
from .reduction import accumulated, take_at
from .registry import Array, op
from .shapes import canonical_dim, known


def _along(fn, x, dim: int):
    """``fn(x, dim)``, also for 0-d tensors."""
    dim = canonical_dim(dim, x.ndim)
    return fn(x, dim) if x.ndim else fn(x.reshape(1), 0).reshape(())


@in_float32
def _cumsum(x, dim: int):
    # XLA's CPU prefix sum is a tree of strided slices; over a leading dim, row after row is 10 times faster
    # (1.9 ms against 20 for 4096 x 1024 float32) and adds in the order PyTorch does.
    wide = known(*x.shape) and math.prod(x.shape[1:]) >= CPU["cumsum_scan_width"]
    if dim == 0 and wide and x.shape[0] > 1 and jax.default_backend() == "cpu":
        return scan(lambda total, row: (total + row,) * 2, jnp.zeros_like(x[0]), x)[1]
    return lax.cumsum(x, dim)


@op(inplace=True)
def cumsum(input: Array, dim: int, *, dtype: Dtype | None = None):
    """The running sum along ``dim``; of integers and bools, int64."""
    x = accumulated(input, dtype)
    refuse("cumsum_out_cpu", x, when=is_bool(x))
    return _along(_cumsum, x, dim)


@op(inplace=True)
def cumprod(input: Array, dim: int, *, dtype: Dtype | None = None):
    """The running product along ``dim``; of integers and bools, int64."""
    x = accumulated(input, dtype)
    refuse("cumprod_out_cpu", x, when=is_bool(x))
    return _along(in_float32(lax.cumprod), x, dim)


@op(out=same_dtype)
@in_float32
def logcumsumexp(input: Array, dim: int):
    """``log(cumsum(exp(x)))`` along ``dim``, without overflow."""
    refuse("logcumsumexp_out_cpu", input, when=is_integral(input))
    return _along(_complex_logcumsumexp if is_complex(input) else lax.cumlogsumexp, input, dim)


def _complex_logcumsumexp(x, dim: int):
    # one after the other, as PyTorch does: the imaginary part grows beyond pi, so the order counts
    if x.shape[dim] == 0:
        return x
    rows = jnp.moveaxis(x, dim, 0)
    _, rest = scan(lambda total, row: (complex_logaddexp(row, total),) * 2, rows[0], rows[1:])
    return jnp.moveaxis(jnp.concatenate([rows[:1], rest]), 0, dim)


def _running(x, dim: int, beats):
    """``(values, indices)`` of the running extreme: the last of equals, a NaN for good once met."""

    def later(a, b):
        (u, i), (v, j) = a, b
        take = beats(v, u) | (v != v)
        return jnp.where(take, v, u), jnp.where(take, j, i)

    index = lax.broadcasted_iota(np.int64, x.shape, dim)
    _, index = lax.associative_scan(later, (lax.stop_gradient(x), index), axis=dim)
    return take_at(x, index, dim), index


def _cumulative_extreme(name: str, input, dim: int, beats):
    if is_complex(input):
        raise NotImplementedError(f"{name}(): not implemented for complex tensors, which have no order")
    dim = canonical_dim(dim, input.ndim)
    if input.ndim == 0:
        return input, jnp.zeros((), np.int64)
    return _running(input, dim, beats)


@op(returns=("values", "indices"), out=same_dtype)
def cummax(input: Array, dim: int):
    """The running maximum along ``dim`` and where it was last met."""
    return _cumulative_extreme("cummax", input, dim, lambda new, old: new >= old)


@op(returns=("values", "indices"), out=same_dtype)
def cummin(input: Array, dim: int):
    """The running minimum along ``dim`` and where it was last met."""
    return _cumulative_extreme("cummin", input, dim, lambda new, old: new <= old)


@op(promote="default", inplace=False, elementwise=False)
def diff(input: Array, n: int = 1, dim: int = -1, prepend: Array | None = None, append: Array | None = None):
    """The ``n``-th difference along ``dim``, after joining ``prepend`` and ``append``; of bools, exclusive or.

    Raises:
        RuntimeError: a 0-d tensor, a negative ``n``, or parts to join of another number of dimensions.
    """
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = canonical_dim(dim, input.ndim)
    if n == 0:
        return input
    parts = [p for p in (prepend, input, append) if p is not None]
    if any(p.ndim != input.ndim for p in parts):
        raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    x = jnp.concatenate(parts, dim) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[dim])):
        size = x.shape[dim]
        before = lax.slice_in_dim(x, 0, max(size - 1, 0), axis=dim)
        after = lax.slice_in_dim(x, min(1, size), size, axis=dim)
        x = after ^ before if is_bool(x) else after - before
    return x
