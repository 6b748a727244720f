"""Sorting, searching in sorted values, and counting.

NaN is greater than every number, as in PyTorch, and sorts are stable. Values are read through the indices, so that a
gradient goes to the element that was picked.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import dtypes
from .elementwise import is_half
from .index import IN_RANGE, outside, take_along
from .lowering_table import CPU
from .outputs import same_dtype
from .registry import Array, Number, op
from .shapes import canonical_dim, known
from .view import type_name

# --- sorting -------------------------------------------------------------------------------------------------------


def _one_nan(x):
    """All NaNs made the same positive one, and -0 made 0, so that equal keys are equal bits."""
    x = jnp.where(x == 0, jnp.zeros((), x.dtype), x)
    return jnp.where(jnp.isnan(x), jnp.full((), np.nan, x.dtype), x)


def _key32(x):
    """Integers within 32 bits, held as int64, in the order of ``x``; None when ``x`` is wider than that."""
    if x.dtype.itemsize > 4:
        return None
    if jnp.issubdtype(x.dtype, jnp.floating):
        bits = lax.bitcast_convert_type(_one_nan(x.astype(np.float32)), np.int32)
        return jnp.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    wide = x.astype(np.int64)
    return wide - 2**31 if x.dtype == np.uint32 else wide


def sorted_indices(x, dim: int, descending: bool):
    """The int64 indices that sort ``x`` along ``dim``, stably.

    Up to 32 bits, key and index are packed into one integer: XLA sorts single integers about five times faster on CPU
    than pairs with a comparison of floats.
    """
    place = lax.broadcasted_iota(np.int64, x.shape, dim)
    key = _key32(x)
    if key is not None:
        key = ~key if descending else key
        packed = lax.sort((key << 32) | place, dimension=dim, is_stable=False)
        return packed & 0xFFFFFFFF
    key = _one_nan(x) if jnp.issubdtype(x.dtype, jnp.floating) else x
    if descending:
        # Sorted backwards and read backwards, equal elements keep their order.
        key, place = lax.rev(key, (dim,)), lax.rev(place, (dim,))
    found = lax.sort((key, place), dimension=dim, num_keys=1, is_stable=True)[1]
    return lax.rev(found, (dim,)) if descending else found


def _refuse_complex(name: str, x) -> None:
    if jnp.iscomplexobj(x):
        raise RuntimeError(f"{name} does not support complex dtypes")


@op(returns=("values", "indices"), out=same_dtype)
def sort(input: Array, dim: int = -1, descending: bool = False, *, stable: bool = False):
    """The elements in order along ``dim``, and the int64 indices they come from. Always stable.

    Raises:
        RuntimeError: the type is complex.
    """
    _refuse_complex("Sort", input)
    dim = canonical_dim(dim, input.ndim)
    if input.ndim == 0:
        return input, jnp.zeros((), np.int64)
    indices = sorted_indices(lax.stop_gradient(input), dim, descending)
    return take_along(input, dim, indices), indices


@op(differentiable=False)
def argsort(input: Array, dim: int = -1, descending: bool = False, *, stable: bool = False):
    """The int64 indices that sort the tensor along ``dim``."""
    _refuse_complex("Sort", input)
    dim = canonical_dim(dim, input.ndim)
    return sorted_indices(input, dim, descending) if input.ndim else jnp.zeros((), np.int64)


@op(out=same_dtype)
def msort(input: Array):
    """The elements in order along the first dimension."""
    return sort(input, 0)[0]


def _exact_in_float32(dtype) -> bool:
    return dtype == np.float32 or dtype.itemsize < 4


def _top_indices(x, k: int, largest: bool):
    """The indices of the ``k`` greatest (or least) along the last dimension, in order."""
    n = x.shape[-1]
    # XLA has a selection for float32 on CPU; every other type, and a large k, is faster sorted.
    if not (_exact_in_float32(x.dtype) and known(n) and 0 < k * CPU["topk_share"] <= n):
        return lax.slice_in_dim(sorted_indices(x, x.ndim - 1, largest), 0, k, axis=x.ndim - 1)
    keys = _one_nan(x.astype(np.float32))
    if not largest:
        keys = -keys + 0.0  # which puts NaN, now negative, last
    found = lax.top_k(keys.reshape(-1, n), k)[1]
    return found.reshape((*x.shape[:-1], k)).astype(np.int64)


@op(returns=("values", "indices"), out=same_dtype)
def topk(input: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True):
    """The ``k`` greatest (or least) elements along ``dim``, in order, and their int64 indices.

    Raises:
        RuntimeError: ``k`` is negative or larger than the dimension, or the type is complex or bool.
    """
    _refuse_complex("topk", input)
    if input.dtype == np.bool_:
        raise RuntimeError("topk does not support bool dtypes")
    dim = canonical_dim(dim, input.ndim)
    if not 0 <= k <= (input.shape[dim] if input.ndim else 1):
        raise RuntimeError("selected index k out of range")
    if input.ndim == 0:
        return input, jnp.zeros((), np.int64)
    moved = jnp.moveaxis(lax.stop_gradient(input), dim, -1)
    indices = jnp.moveaxis(_top_indices(moved, k, largest), -1, dim)
    return take_along(input, dim, indices), indices


# --- searching -----------------------------------------------------------------------------------------------------


def _search(boundaries, values, right: bool):
    """Insertion points of ``values`` in the sorted vector ``boundaries``."""
    method = "compare_all" if boundaries.shape[0] <= 16 else "scan_unrolled"
    return jnp.searchsorted(boundaries, values, side="right" if right else "left", method=method)


def _points(name: str, boundaries, values, right: bool, out_int32: bool):
    for x in (boundaries, values):
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            raise NotImplementedError(f"\"{name}_out_cpu\" not implemented for '{type_name(x.dtype)}'")
    if boundaries.dtype != values.dtype:
        common = dtypes.promote_types(dtypes.of_numpy(boundaries.dtype), dtypes.of_numpy(values.dtype)).np
        if not values.ndim:
            common = jnp.promote_types(boundaries.dtype, values.dtype)  # a number: compared as it is
        boundaries, values = boundaries.astype(common), values.astype(common)
    if boundaries.ndim == 1:
        found = _search(boundaries, values, right)
    else:
        if boundaries.ndim != values.ndim or boundaries.shape[:-1] != values.shape[:-1]:
            raise RuntimeError(
                f"torch.{name}(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
                f"tensor and input value tensor must match, but we got boundaries tensor {list(boundaries.shape)} and "
                f"input value tensor {list(values.shape)}"
            )
        search = partial(_search, right=right)
        for _ in boundaries.shape[:-1]:
            search = jax.vmap(search)
        found = search(boundaries, values)
    return found.astype(np.int32 if out_int32 else np.int64)


@op(promote="keep", method=False, inplace=False, elementwise=False, differentiable=False)
def bucketize(input: Array | Number, boundaries: Array, *, out_int32: bool = False, right: bool = False):
    """The index ``i`` of the bucket ``boundaries[i-1] < x <= boundaries[i]`` of every element; ``right`` closes the
    buckets on the left instead.

    Raises:
        RuntimeError: the boundaries are not a vector.
    """
    if boundaries.ndim != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return _points("bucketize", boundaries, input, right, out_int32)


@op(promote="keep", method=False, inplace=False, elementwise=False, differentiable=False)
def searchsorted(
    sorted_sequence: Array, input: Array | Number, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Array | None = None,
):  # fmt: skip
    """Where to insert every element of ``input`` so that the last dimension of ``sorted_sequence`` stays sorted: before
    equal elements, or after them with ``right`` or ``side="right"``.

    Raises:
        RuntimeError: the leading dimensions differ, or ``side`` contradicts ``right``.
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    if sorter is not None:
        if sorter.shape != sorted_sequence.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
                f"{list(sorted_sequence.shape)}and got sorter tensor {list(sorter.shape)}"
            )
        sorted_sequence = take_along(sorted_sequence, sorted_sequence.ndim - 1, sorter)
    return _points("searchsorted", sorted_sequence, input, right or side == "right", out_int32)


# --- counting ------------------------------------------------------------------------------------------------------


def _rounded(x):
    """``x``, rounded to its dtype: XLA would keep the step of a chain of half-precision ones in float32."""
    if not is_half(x):
        return x
    limits = jnp.finfo(x.dtype)
    return lax.reduce_precision(x, limits.nexp, limits.nmant)


@op(differentiable=False)
def histc(input: Array, bins: int = 100, min: float = 0, max: float = 0):
    """How many elements lie in each of ``bins`` equal intervals of [``min``, ``max``] (of the data's range when both
    are equal), in ``input``'s type; others are not counted.

    Raises:
        RuntimeError: ``bins`` is not positive, or ``max`` is less than ``min``.
        NotImplementedError: the type is not a floating one.
    """
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{type_name(input.dtype)}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if max < min:
        raise RuntimeError("torch.histc: max must be larger than min")
    x = input.reshape(-1)
    if not x.size:
        return jnp.zeros((bins,), x.dtype)
    low, high = jnp.asarray(min, x.dtype), jnp.asarray(max, x.dtype)
    if min == max:
        low, high = jnp.min(x), jnp.max(x)
        low, high = jnp.where(low == high, low - 1, low), jnp.where(low == high, high + 1, high)
    inside = (x >= low) & (x <= high)
    # which bin an element near an edge is counted in depends on the roundings: those of PyTorch
    scaled = _rounded(_rounded(jnp.where(inside, x, low) - low) * bins)
    at = jnp.clip(_rounded(scaled / _rounded(high - low)).astype(np.int64), 0, bins - 1)
    return jnp.zeros((bins,), x.dtype).at[at].add(inside.astype(x.dtype), **IN_RANGE)


def _check_bincount(input, weights=None, *, size):
    return outside(input, size), f"bincount(): values must be in [0, {size})"


@op(name="bincount", namespaces=(), differentiable=False, check=_check_bincount)
def bincount(input: Array, weights: Array | None = None, *, size: int):
    """How often each of 0 ... ``size`` - 1 occurs, int64; with ``weights`` their sums, float64 unless they are float32.

    Raises:
        RuntimeError: ``input`` is not a vector of integers, or ``weights`` has another length.
    """
    if input.ndim != 1 or not jnp.issubdtype(input.dtype, jnp.integer):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        weights = jnp.ones(input.shape, np.int64)
    elif weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    elif weights.dtype != np.float32:
        weights = weights.astype(np.float64)
    return jnp.zeros((size,), weights.dtype).at[input].add(weights, **IN_RANGE)
