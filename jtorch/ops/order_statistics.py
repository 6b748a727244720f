"""Medians, modes, quantiles: reductions that look at the sorted values."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from .elementwise import is_complex, is_integral, refuse
from .outputs import picked, same_dtype
from .reduction import one_dim, pick, shared, take_at
from .registry import Array, Number, op
from .shapes import canonical_dim


def _order(x, dim: int):
    """The indices that sort ``x`` along ``dim``, NaNs last."""
    return jnp.argsort(lax.stop_gradient(x), axis=dim, stable=True).astype(np.int64)


def _sortable(name: str, x, dim: int):
    if is_complex(x):
        raise NotImplementedError(f"{name}(): not implemented for complex tensors, which have no order")
    if x.shape[dim] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")


def _nans(x):
    return lax.stop_gradient(x != x)


@op(returns=("values", "indices"), out=picked)
def kthvalue(input: Array, k: int, dim: int = -1, keepdim: bool = False):
    """The ``k``-th smallest element along ``dim`` (from 1) and its index.

    Raises:
        RuntimeError: ``k`` is not in ``[1, size]``.
    """
    x, dim, keepdim = one_dim(input, dim, keepdim)
    _sortable("kthvalue", x, dim)
    if not 1 <= k <= x.shape[dim]:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    return pick(x, lax.slice_in_dim(_order(x, dim), k - 1, k, axis=dim), dim, keepdim)


def _median_index(x, dim: int, ignore_nan: bool):
    order, nans = _order(x, dim), _nans(x)
    if ignore_nan:
        valid = x.shape[dim] - jnp.sum(nans, dim, keepdims=True, dtype=np.int64)
        return take_at(order, jnp.maximum(valid - 1, 0) // 2, dim)
    middle = lax.slice_in_dim(order, (x.shape[dim] - 1) // 2, (x.shape[dim] - 1) // 2 + 1, axis=dim)
    first_nan = jnp.argmax(nans, dim, keepdims=True).astype(np.int64)
    return jnp.where(jnp.any(nans, dim, keepdims=True), first_nan, middle)


def _median(name: str, input, dim: int, keepdim: bool, ignore_nan: bool):
    x, dim, keepdim = one_dim(input, dim, keepdim)
    _sortable(name, x, dim)
    return pick(x, _median_index(x, dim, ignore_nan), dim, keepdim)


def _median_of_all(input, ignore_nan: bool):
    refuse("median_cpu", input, when=is_complex(input))
    x = input.reshape(-1)
    if x.size == 0:
        return jnp.full((), jnp.nan if not is_integral(x) else np.iinfo(x.dtype).min, x.dtype)
    middle = lax.stop_gradient(take_at(x, _median_index(x, 0, ignore_nan), 0))
    return middle.reshape(()) if is_integral(x) else shared(x, middle.reshape(()))


@op(name="median.dim", returns=("values", "indices"), grad_name="MedianBackward1")
def median_dim(input: Array, dim: int, keepdim: bool = False):
    """The median along ``dim`` (the lower of two middles) and its index; NaN if there is one."""
    return _median("median", input, dim, keepdim, False)


@op(name="median.all", grad_name="MedianBackward0")
def median_all(input: Array):
    """The median of all elements (the lower of two middles); NaN if there is one, or nothing at all."""
    return _median_of_all(input, False)


@op(name="nanmedian.dim", returns=("values", "indices"))
def nanmedian_dim(input: Array, dim: int, keepdim: bool = False):
    """The median along ``dim`` of what is not NaN, and its index."""
    return _median("nanmedian", input, dim, keepdim, True)


@op(name="nanmedian.all", grad_name="NanmedianBackward0")
def nanmedian_all(input: Array):
    """The median of all elements that are not NaN."""
    return _median_of_all(input, True)


@op(returns=("values", "indices"), out=same_dtype)
def mode(input: Array, dim: int = -1, keepdim: bool = False):
    """The most frequent element along ``dim`` (the smallest of several) and its last index."""
    x, dim, keepdim = one_dim(input, dim, keepdim)
    _sortable("mode", x, dim)
    order = _order(x, dim)
    ordered = take_at(lax.stop_gradient(x), order, dim)
    n = x.shape[dim]
    place = lax.broadcasted_iota(np.int64, x.shape, dim)
    before = lax.slice_in_dim(ordered, 0, n - 1, axis=dim)
    starts = lax.slice_in_dim(ordered, 1, n, axis=dim) != before
    first = jnp.ones((*x.shape[:dim], 1, *x.shape[dim + 1 :]), bool)
    starts = jnp.concatenate([first, starts], dim)
    # the place in its run of equals; the first place of the greatest depth ends the run we want
    depth = place - lax.cummax(jnp.where(starts, place, 0), axis=dim)
    end = jnp.argmax(depth, dim, keepdims=True)
    return pick(x, take_at(order, end, dim), dim, keepdim)


# --- quantiles -------------------------------------------------------------------------------------------------------


def _quantile(name: str, input, q, dim, keepdim: bool, interpolation: str, ignore_nan: bool):
    if input.dtype not in (np.float32, np.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if input.size == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if interpolation not in ("linear", "lower", "higher", "nearest", "midpoint"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    whole, scalar = dim is None, q.ndim == 0
    axis = 0 if whole else canonical_dim(dim, input.ndim)
    x = input.reshape(-1) if whole or not input.ndim else input
    x = jnp.sort(jnp.moveaxis(x, axis, -1), axis=-1)  # (..., n), NaNs last
    q = q.reshape(-1).astype(x.dtype)
    nans = jnp.sum(_nans(x), -1, keepdims=True)
    last = (x.shape[-1] - nans if ignore_nan else jnp.full_like(nans, x.shape[-1])) - 1
    place = q * jnp.maximum(last, 0).astype(x.dtype)  # (..., m)
    if interpolation == "lower":
        place = jnp.floor(place)
    elif interpolation == "higher":
        place = jnp.ceil(place)
    elif interpolation == "nearest":
        place = jnp.round(place)
    below = jnp.floor(place)
    weight = jnp.full_like(place, 0.5) if interpolation == "midpoint" else place - below
    low = take_at(x, lax.stop_gradient(below).astype(np.int64), -1)
    high = take_at(x, lax.stop_gradient(jnp.ceil(place)).astype(np.int64), -1)
    out = jnp.where(weight < 0.5, low + weight * (high - low), high - (1 - weight) * (high - low))
    if not ignore_nan:
        out = jnp.where(nans > 0, x[..., -1:], out)  # a NaN, which has the gradient
    out = jnp.moveaxis(out, -1, 0)  # (m, ...)
    if keepdim:
        ones = (1,) * input.ndim
        out = out.reshape(out.shape[0], *ones) if whole else jnp.expand_dims(out, axis + 1) if input.ndim else out
    return out[0] if scalar else out


@op(name="_quantile", namespaces=(), promote="keep", elementwise=False, grad_name="QuantileBackward0")
def quantile(
    input: Array, q: Array | Number, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
):
    """The ``q``-quantiles (``q`` in [0, 1]: a number, or a 1-d tensor that leads the result's dims) along ``dim``.

    Raises:
        RuntimeError: the input is neither float32 nor float64, or empty.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@op(name="_nanquantile", namespaces=(), promote="keep", elementwise=False, grad_name="NanquantileBackward0")
def nanquantile(
    input: Array, q: Array | Number, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
):
    """:func:`quantile` of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)
