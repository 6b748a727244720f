"""Gathering, scattering, convolutions and pooling in NumPy: what goes by indices and windows.

Rules as in :mod:`.primitives`.
"""

from __future__ import annotations

import math

import numpy as np

from .primitives import RULES, WORK, Unsupported, highest, lowest, passes, rule, work

# --- indices -------------------------------------------------------------------------------------------------------


def _windows(shape, starts, start_map, batching, window_dims, collapsed, sizes, rank: int, clip: bool):
    """Indices into an array of ``shape`` for each element of a result, and which of them lie inside.

    Args:
        starts: ``(*batch, len(start_map))``, where windows begin in the dims of ``start_map``.
        batching: pairs of a dim of the array and one of the batch that go along with each other.
        window_dims: the dims of the result that run through a window; ``rank``: how many it has.
        collapsed: the dims that windows do not have; ``sizes``: theirs, per dim of the array.
        clip: move windows that lie partly outside.
    """
    batch_dims = [d for d in range(rank) if d not in window_dims]
    along = [d for d in range(len(shape)) if d not in collapsed and d not in dict(batching)]
    where, inside = [], np.ones((1,) * rank, np.bool_)
    for d, n in enumerate(shape):
        index = np.zeros((1,) * rank, np.int64)
        if d in start_map:
            start = starts[..., start_map.index(d)].astype(np.int64)
            if clip:
                start = np.clip(start, 0, n - sizes[d])
            spread = [1] * rank
            for b, size in zip(batch_dims, start.shape, strict=True):
                spread[b] = size
            start = start.reshape(spread)
            if not clip:
                inside = inside & (start >= 0) & (start <= n - sizes[d])
            index = index + start
        if d in dict(batching):
            b = batch_dims[dict(batching)[d]]
            index = index + np.arange(n).reshape([n if k == b else 1 for k in range(rank)])
        if d in along:
            w = window_dims[along.index(d)]
            index = index + np.arange(sizes[d]).reshape([sizes[d] if k == w else 1 for k in range(rank)])
        where.append(index)
    return where, inside


@rule("gather")
def _gather(params, inputs, outputs):
    numbers, mode = params["dimension_numbers"], params["mode"].name
    fill, shape, dtype = params["fill_value"], outputs[0].shape, outputs[0].dtype
    batching = list(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True))
    if mode == "FILL_OR_DROP" and fill is None:
        if dtype.kind in "iu":
            fill = np.iinfo(dtype).min if dtype.kind == "i" else np.iinfo(dtype).max
        else:
            fill = True if dtype.kind == "b" else np.nan
    clip = mode != "FILL_OR_DROP"

    def function(x, starts):
        where, inside = _windows(
            x.shape, starts, list(numbers.start_index_map), batching, list(numbers.offset_dims),
            numbers.collapsed_slice_dims, params["slice_sizes"], len(shape), clip,
        )  # fmt: skip
        if inside.all():
            return np.broadcast_to(x[tuple(where)], shape)
        if not x.size:
            return np.full(shape, fill, dtype)
        taken = x[tuple([np.clip(w, 0, n - 1) for w, n in zip(where, x.shape, strict=True)])]
        return np.where(np.broadcast_to(inside, shape), taken, dtype.type(fill))

    return function


def _scattering(write):
    def make(params, inputs, outputs):
        numbers, mode = params["dimension_numbers"], params["mode"].name
        rank, shape = len(inputs[2].shape), inputs[0].shape
        inserted, batching_dims = numbers.inserted_window_dims, numbers.operand_batching_dims
        batching = list(zip(batching_dims, numbers.scatter_indices_batching_dims, strict=True))
        if inputs[0].dtype != inputs[2].dtype or write is not None and inputs[0].dtype.kind == "b":
            raise Unsupported
        sizes, it = [], iter(numbers.update_window_dims)
        for d in range(len(shape)):
            sizes.append(1 if d in inserted or d in batching_dims else inputs[2].shape[next(it)])

        def function(x, starts, updates):
            where, inside = _windows(
                shape, starts, list(numbers.scatter_dims_to_operand_dims), batching, list(numbers.update_window_dims),
                inserted, sizes, rank, mode == "CLIP",
            )  # fmt: skip
            result = x.copy()
            where = np.broadcast_arrays(*where, np.empty(updates.shape, np.bool_))[:-1]
            if not inside.all():
                inside = np.broadcast_to(inside, updates.shape)
                where, updates = [w[inside] for w in where], updates[inside]
            if write is None:
                result[tuple(where)] = updates
            else:
                write.at(result, tuple(where), updates)
            return result

        return function

    return make


RULES["scatter"], RULES["scatter-add"] = _scattering(None), _scattering(np.add)
RULES["scatter-sub"], RULES["scatter-mul"] = _scattering(np.subtract), _scattering(np.multiply)
RULES["scatter-min"], RULES["scatter-max"] = _scattering(np.minimum), _scattering(np.maximum)
WORK["scatter-add"] = passes(5)


# --- windows -------------------------------------------------------------------------------------------------------


def _padded(x, padding, value):
    """``x`` with ``(low, high)`` entries of ``value`` along each dimension; negative ones are cut off."""
    cut = tuple([slice(max(0, -low), n - max(0, -high)) for n, (low, high) in zip(x.shape, padding, strict=True)])
    return np.pad(x[cut], [(max(0, low), max(0, high)) for low, high in padding], constant_values=value)


def _dilated(x, dilation):
    """``x`` with zeros between its entries, ``d`` apart along each of the last dimensions."""
    if all(d == 1 for d in dilation):
        return x
    first = x.ndim - len(dilation)
    sizes = [n if not n else (n - 1) * d + 1 for n, d in zip(x.shape[first:], dilation, strict=True)]
    result = np.zeros((*x.shape[:first], *sizes), x.dtype)
    result[(..., *[slice(None, None, d) for d in dilation])] = x
    return result


def _windows_of(x, sizes, strides, dilation):
    """Windows over the last dimensions: ``(*others, *places, *sizes)``."""
    axes = tuple(range(x.ndim - len(sizes), x.ndim))
    spans = [(n - 1) * d + 1 for n, d in zip(sizes, dilation, strict=True)]
    found = np.lib.stride_tricks.sliding_window_view(x, spans, axes)
    return found[(..., *[slice(None, None, s) for s in strides], *[slice(None, None, d) for d in dilation])]


@rule("conv_general_dilated")
def _convolution(params, inputs, outputs):
    numbers, shape, dtype = params["dimension_numbers"], outputs[0].shape, outputs[0].dtype
    strides, gaps = params["window_strides"], params["rhs_dilation"]
    groups, batches = params["feature_group_count"], params["batch_group_count"]
    n, order = len(strides), np.argsort(numbers.out_spec)
    if dtype.kind not in "fc" or 0 in inputs[0].shape or 0 in inputs[1].shape or 0 in shape:
        raise Unsupported

    def function(x, kernel):
        x = _dilated(x.astype(dtype).transpose(numbers.lhs_spec), params["lhs_dilation"])
        x = _padded(x, [(0, 0), (0, 0), *params["padding"]], 0)
        kernel = kernel.astype(dtype).transpose(numbers.rhs_spec)
        parts = max(groups, batches)
        # (part, batch, channels in, *places, *kernel sizes)
        x = np.stack(np.split(x, parts, 1 if groups > 1 else 0))
        kernel = np.stack(np.split(kernel, parts, 0))
        found = _windows_of(x, kernel.shape[3:], strides, gaps)
        places = found.shape[3 : 3 + n]
        found = found.transpose(0, 1, *range(3, 3 + n), 2, *range(3 + n, 3 + 2 * n))
        found = found.reshape(parts, found.shape[1] * math.prod(places), -1)
        made = found @ kernel.reshape(parts, kernel.shape[1], -1).swapaxes(1, 2)
        made = made.reshape(parts, -1, *places, kernel.shape[1]).transpose(1, 0, n + 2, *range(2, n + 2))
        return made.reshape(made.shape[0], -1, *places).transpose(order)

    return function


@work("conv_general_dilated")
def _convolution_work(params, inputs, outputs):
    products = math.prod(inputs[1].shape[d] for d in params["dimension_numbers"].rhs_spec[1:])  # for one result
    return math.prod(outputs[0].shape) * products


def _window_reduction(function, start):
    def make(params, inputs, outputs):
        dtype, sizes = outputs[0].dtype, tuple(params["window_dimensions"])
        if any(d != 1 for d in params["base_dilation"]) or dtype.kind not in "fi" or 0 in outputs[0].shape:
            raise Unsupported
        value = start(dtype)

        def reduced(x):
            windows = _windows_of(
                _padded(x, params["padding"], value), sizes, params["window_strides"], params["window_dilation"]
            )
            return function(windows, tuple(range(x.ndim, 2 * x.ndim)), dtype=dtype)

        return reduced

    return make


RULES["reduce_window_sum"] = _window_reduction(np.add.reduce, lambda dtype: dtype.type(0))
RULES["reduce_window_max"] = _window_reduction(np.maximum.reduce, lowest)
RULES["reduce_window_min"] = _window_reduction(np.minimum.reduce, highest)


@work("reduce_window_sum", "reduce_window_max", "reduce_window_min")
def _window_reduction_work(params, inputs, outputs):
    return math.prod(outputs[0].shape) * math.prod(params["window_dimensions"])
