"""What sparse tensors need of dense arrays: scattering, gathering, products and sums over stored elements.

A sparse array is ``indices (k, n)``, the coordinates of n stored elements in the first k dims, and ``values (n, ...)``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from .elementwise import is_bool
from .registry import Array, Scalar, op


def _places(indices):
    return tuple(indices[i] for i in range(indices.shape[0]))


@op(name="_sparse_to_dense", namespaces=(), grad_name="ToDenseBackward0")
def to_dense(values: Array, indices: Array, *, size: tuple[int, ...]):
    """Zeros of ``size`` with the values added at their places."""
    zeros = jnp.zeros(size, values.dtype)
    if not indices.shape[0]:
        return zeros + jnp.sum(values, 0) if values.shape[0] else zeros
    at = zeros.at[_places(indices)]
    return at.max(values) if is_bool(values) else at.add(values)


@op(name="_sparse_gather", namespaces=(), grad_name="SparseMaskBackward0")
def gather(dense: Array, indices: Array):
    """The elements of a dense array at the places."""
    return dense[_places(indices)] if indices.shape[0] else jnp.broadcast_to(dense, (indices.shape[1], *dense.shape))


@op(name="_sparse_add", namespaces=(), grad_name="AddBackward0")
def add(dense: Array, indices: Array, values: Array, alpha: Scalar):
    """``dense`` with ``alpha`` times the values added at their places."""
    return dense.at[_places(indices)].add((values * alpha.astype(values.dtype)).astype(dense.dtype))


@op(name="_sparse_sum", namespaces=(), grad_name="SparseSumBackward0")
def segment_sum(values: Array, segment: Array, *, count: int):
    """The sums of the values of each of ``count`` segments."""
    if is_bool(values):
        return jnp.zeros((count, *values.shape[1:]), bool).at[segment].max(values)
    return jax.ops.segment_sum(values, segment, count)


def _extreme(values, segment, count: int, largest: bool):
    """The largest (smallest) value of each segment, tied ones sharing the gradient; 0 for an empty segment."""
    reduce = jax.ops.segment_max if largest else jax.ops.segment_min
    found = reduce(lax.stop_gradient(values), segment, count)
    hit = lax.stop_gradient(values) == found[segment]
    ties = jax.ops.segment_sum(hit.astype(values.dtype), segment, count)
    return jax.ops.segment_sum(jnp.where(hit, values, 0), segment, count) / jnp.maximum(ties, 1)


@op(name="_spmm", namespaces=(), grad_name="SparseAddmmBackward0")
def spmm(values: Array, rows: Array, cols: Array, dense: Array, *, count: int, reduce: str = "sum"):
    """The product of a sparse matrix of ``count`` rows and a dense matrix (or vector): a sum over stored elements.

    ``reduce`` replaces the sum by ``"mean"``, ``"amax"`` or ``"amin"`` over the stored elements of a row.
    """
    taken = dense[cols]
    terms = values.reshape(-1, *(1,) * (taken.ndim - 1)) * taken
    if reduce in ("sum", "mean"):
        total = jax.ops.segment_sum(terms, rows, count)
        if reduce == "sum":
            return total
        number = jax.ops.segment_sum(jnp.ones_like(rows, terms.dtype), rows, count)
        return total / jnp.maximum(number, 1).reshape(-1, *(1,) * (terms.ndim - 1))
    return _extreme(terms, rows, count, reduce == "amax")


@op(name="_sparse_softmax", namespaces=(), grad_name="SparseSoftmaxBackward0")
def softmax(values: Array, segment: Array, *, count: int, log: bool):
    """Softmax (or its logarithm) over the stored elements of each segment."""
    highest = jax.ops.segment_max(lax.stop_gradient(values), segment, count)
    shifted = values - highest[segment]
    total = jax.ops.segment_sum(jnp.exp(shifted), segment, count)[segment]
    return shifted - jnp.log(total) if log else jnp.exp(shifted) / total


@op(name="_sampled_product", namespaces=(), grad_name="SparseSampledAddmmBackward0")
def sampled_product(a: Array, b: Array, rows: Array, cols: Array):
    """The elements of ``a @ b`` at ``(rows, cols)`` alone."""
    return jnp.sum(a[rows] * jnp.swapaxes(b, -1, -2)[cols], -1)
