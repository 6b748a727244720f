"""Reading and writing by index, sorting, and making tensors from nothing."""

from __future__ import annotations

import numpy as np

import jtorch

from .builder import Value, element_type, short
from .dims import Varying
from .table import axis_of, refuse, static, translates


@translates("gather")
def _gather(g, node, input, index, dim, sparse_grad):
    if not input.ndim or not index.ndim:
        return g.expand(g.Reshape(input, g.ints([])), index.shape)
    return g.GatherElements(input, index, axis=axis_of(dim, input.ndim))


@translates("take_along_dim")
def _take_along_dim(g, node, input, indices, dim):
    if dim is None:
        flat = g.ints([-1])
        return g.GatherElements(g.Reshape(input, flat), g.Reshape(indices, flat), axis=0)
    axis = axis_of(dim, input.ndim)
    out = list(node.outputs[0].shape)
    source = [input.shape[d] if d == axis else n for d, n in enumerate(out)]
    return g.GatherElements(g.expand(input, source), g.expand(indices, out), axis=axis)


@translates("take")
def _take(g, node, input, index):
    return g.Gather(g.Reshape(input, g.ints([-1])), index, axis=0)


@translates("index_select")
def _index_select(g, node, input, index, dim):
    return g.Gather(input, index, axis=axis_of(dim, input.ndim))


@translates("_embedding")
def _embedding(g, node, input, weight, padding_idx, scale_grad_by_freq):
    return g.Gather(weight, input, axis=0)


@translates("_embedding_bag")
def _embedding_bag(
    g, node, input, weight, offsets, per_sample_weights, mode, scale_grad_by_freq, include_last_offset, padding_idx
):
    if offsets is not None:
        refuse(node, "bags of different sizes, given by offsets; give a matrix of indices, a row for each bag")
    if padding_idx is not None:
        refuse(node, "padding_idx changes how many rows a bag has; use Embedding and a mask")
    rows = g.Gather(weight, input, axis=0)
    if per_sample_weights is not None:
        rows = g.Mul(rows, g.unsqueeze(per_sample_weights, [-1]))
    return g.reduce(mode.capitalize(), Value(rows, weight.dtype, (*input.shape, weight.shape[1])), [1], False)


@translates("one_hot")
def _one_hot(g, node, input, num_classes):
    depth = g.const(np.array([node.outputs[0].shape[-1]], np.int64))
    return g.OneHot(input, depth, g.const(np.array([0, 1], np.int64)), axis=-1)


def _joined_indices(g, indices, spec, shape):
    """The broadcast indices as ``(*, number of indexed dims)`` for GatherND, and their common rank."""
    at = [d for d, s in enumerate(spec) if s == "t"]
    rank = max(i.ndim for i in indices)
    parts = []
    for i in indices:
        if short(i.dtype) == "bool":
            return at, None, rank
        x = g.cast(i, jtorch.int64)
        parts.append(x)
    common = None
    if len(parts) > 1:
        total = parts[0]
        for p in parts[1:]:
            total = g.Add(g.Mul(total, g.const(np.array(0, np.int64))), p)
        common = g.Shape(total)
        parts = [g.Expand(p, common) for p in parts]
    parts = [g.Unsqueeze(p, g.const(np.array([-1], np.int64))) for p in parts]
    return at, parts[0] if len(parts) == 1 else g.node("Concat", parts, axis=-1), rank


def _moved(spec, ndim: int, at) -> list[int]:
    return at + [d for d in range(ndim) if d not in at]


@translates("index")
def _index(g, node, input, indices, spec):
    at = [d for d, s in enumerate(spec) if s == "t"]
    if len(at) == 1:
        index = indices[0]
        if short(index.dtype) == "bool":
            refuse(node, "a boolean mask as an index gives a size that depends on the data; use where()")
        return g.Gather(input, index, axis=at[0])
    at, joined, rank = _joined_indices(g, indices, spec, input.shape)
    if joined is None:
        refuse(node, "a boolean mask as an index gives a size that depends on the data; use where()")
    result = g.GatherND(g.transpose(input, _moved(spec, input.ndim, at)), joined)
    if at == list(range(at[0], at[0] + len(at))) and at[0] > 0:  # neighbours: their dimensions stay where they were
        order = [*range(rank, rank + at[0]), *range(rank), *range(rank + at[0], rank + input.ndim - len(at))]
        return g.transpose(result, order)
    return result


@translates("index_put")
def _index_put(g, node, input, values, indices, spec, accumulate):
    at, joined, rank = _joined_indices(g, indices, spec, input.shape)
    if joined is None:
        refuse(node, "a boolean mask as an index; use where() or masked_fill()")
    order = _moved(spec, input.ndim, at)
    if at != list(range(at[0], at[0] + len(at))) and order != list(range(input.ndim)):
        refuse(node, "indices of dimensions that are no neighbours")
    base = g.transpose(input, order)
    count = g.Shape(joined, start=0, end=-1)
    rest = g.Shape(base, start=len(at))
    if at[0]:  # values come with the indexed dimensions in place: bring theirs to the front as well
        lead = at[0]
        shape = g.Concat(g.Shape(base, start=len(at), end=len(at) + lead), count,
                         g.Shape(base, start=len(at) + lead), axis=0)  # fmt: skip
        values = g.Expand(values, shape)
        values = g.transpose(
            values, [*range(lead, lead + rank), *range(lead), *range(lead + rank, rank + input.ndim - len(at))]
        )
    else:
        values = g.Expand(values, g.Concat(count, rest, axis=0))
    result = g.ScatterND(base, joined, values, reduction="add" if accumulate else "none")
    return g.transpose(result, [int(i) for i in np.argsort(order)])


_REDUCTION = {None: "none", "add": "add", "sum": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min"}


def _cut_to(g, src, index):
    """``src`` without what lies beyond ``index``'s sizes."""
    if not isinstance(src, Value) or src.shape == index.shape:
        return src
    axes = [d for d in range(index.ndim) if src.shape[d] != index.shape[d]]
    return g.slice(src, [0] * len(axes), [index.shape[d] for d in axes], axes)


@translates("scatter")
def _scatter(g, node, input, index, src, value, dim, reduce):
    given = src if src is not None else value
    if not input.ndim:
        refuse(node, "a 0-d tensor")
    if isinstance(given, Value) and given.ndim:
        src = _cut_to(g, given, index)
    else:
        src = g.expand(g.const(given, input.dtype), index.shape)
    return g.ScatterElements(input, index, src, axis=axis_of(dim, input.ndim), reduction=_REDUCTION[reduce])


@translates("scatter_add")
def _scatter_add(g, node, input, index, src, dim):
    return g.ScatterElements(input, index, _cut_to(g, src, index), axis=axis_of(dim, input.ndim), reduction="add")


@translates("scatter_reduce")
def _scatter_reduce(g, node, input, index, src, dim, reduce, include_self):
    if not include_self or reduce not in _REDUCTION:
        refuse(node, f"reduce={reduce!r} with include_self={include_self} has no ONNX form")
    return g.ScatterElements(
        input, index, _cut_to(g, src, index), axis=axis_of(dim, input.ndim), reduction=_REDUCTION[reduce]
    )


def _along(g, index, axis: int, like):
    """An index vector broadcast over the other dimensions of a tensor."""
    shape = [1] * len(like)
    shape[axis] = -1
    return g.Expand(g.Reshape(index, g.ints(shape)), g.ints(like))


@translates("index_add", "index_copy")
def _index_add(g, node, input, index, source, dim, alpha=None):
    axis = axis_of(dim, input.ndim)
    source = source if alpha in (None, 1) else g.Mul(source, g.const(alpha, input.dtype))
    shape = [index.shape[0] if d == axis else n for d, n in enumerate(input.shape)]
    reduction = "add" if node.name == "index_add" else "none"
    return g.ScatterElements(input, _along(g, index, axis, shape), source, axis=axis, reduction=reduction)


@translates("index_fill")
def _index_fill(g, node, input, index, value, dim):
    axis = axis_of(dim, input.ndim)
    shape = [index.shape[0] if d == axis else n for d, n in enumerate(input.shape)]
    return g.ScatterElements(
        input, _along(g, index, axis, shape), g.expand(g.const(value, input.dtype), shape), axis=axis
    )


# --- order -----------------------------------------------------------------------------------------------------------


def _top(g, x, k, axis: int, largest: bool):
    k = g.ints([k])
    return g.TopK(x, k, _outputs=2, axis=axis, largest=int(largest), sorted=1)


@translates("topk")
def _topk(g, node, input, k, dim, largest, sorted):
    if not input.ndim:
        refuse(node, "a 0-d tensor")
    return _top(g, input, k, axis_of(dim, input.ndim), largest)


@translates("sort", "argsort", "msort")
def _sort(g, node, input, dim=0, descending=False, stable=False):
    axis = axis_of(dim, input.ndim)
    values, indices = _top(g, input, input.shape[axis], axis, descending)
    return {"sort": (values, indices), "argsort": indices, "msort": values}[node.name]


@translates("kthvalue")
def _kthvalue(g, node, input, k, dim, keepdim):
    axis = axis_of(dim, input.ndim)
    last = g.const(np.array([k - 1] if keepdim else k - 1, np.int64))
    return tuple(g.Gather(x, last, axis=axis) for x in _top(g, input, k, axis, False))


@translates("bucketize", "searchsorted")
def _bucketize(
    g, node, input=None, boundaries=None, sorted_sequence=None, out_int32=False, right=False, side=None, sorter=None
):
    bounds = boundaries if boundaries is not None else sorted_sequence
    if bounds.ndim != 1 or sorter is not None:
        refuse(node, "boundaries of several dimensions, or with a sorter")
    if not isinstance(input, Value):
        refuse(node, "a Python number to be placed")
    common = jtorch.promote_types(input.dtype, bounds.dtype)
    x, b = g.Unsqueeze(g.cast(input, common), g.const(np.array([-1]))), g.cast(bounds, common)
    below = g.LessOrEqual(b, x) if right or side == "right" else g.Less(b, x)
    kind = jtorch.int32 if out_int32 else jtorch.int64
    return g.reduce("Sum", g.cast(below, kind), [-1], False)


# --- from nothing ----------------------------------------------------------------------------------------------------


@translates("full")
def _full(g, node, value, size, dtype):
    if isinstance(value, Varying):
        return g.Expand(g.const(value, dtype), g.ints(size))
    if not any(isinstance(n, Varying) for n in size) and int(np.prod(size)) <= 1024:
        return g.const(np.full(size, value), dtype)
    filled = np.asarray(value != 0 if short(dtype) == "bool" else value).astype(dtype.np).reshape(1)
    if short(dtype) == "bfloat16":
        return g.Expand(g.const(filled.reshape(())), g.ints(size))
    from onnx import numpy_helper

    return g.ConstantOfShape(g.ints(size), value=numpy_helper.from_array(filled))


@translates("_ones")
def _ones(g, node, input):
    return g.Expand(g.scalar(1, input), g.ints(input.shape))


@translates("arange")
def _arange(g, node, start, step, length, dtype):
    kind = jtorch.int64 if np.dtype(dtype.np).kind in "iub" else jtorch.float64
    if isinstance(length, Varying):
        count = g.number(length, jtorch.int64)
        place = g.Range(g.const(np.array(0, np.int64)), count, g.const(np.array(1, np.int64)))
    else:
        place = g.const(np.arange(length, dtype=np.int64))
    plain = start == 0 and step == 1
    if plain and kind is jtorch.int64:
        return g.cast(Value(place, jtorch.int64), dtype)
    place = g.cast(Value(place, jtorch.int64), kind)
    place = g.Add(g.const(start, kind), g.Mul(place, g.const(step, kind)))
    return g.cast(Value(place, kind), dtype)


@translates("linspace")
def _linspace(g, node, start, end, steps, dtype):
    static(node, start=start, end=end, steps=steps)
    return g.const(np.linspace(start, end, steps), dtype)


@translates("eye")
def _eye(g, node, n, m, dtype):
    if not isinstance(n, Varying) and not isinstance(m, Varying):
        return g.const(np.eye(n, m), dtype)
    zeros = g.Expand(g.const(np.zeros((1, 1), np.float32)), g.ints([n, m]))
    return g.EyeLike(zeros, dtype=element_type(dtype))


@translates("tril_indices", "triu_indices")
def _triangle_indices(g, node, row, col, offset, dtype):
    static(node, row=row, col=col)
    keep = np.tri(row, col, offset, bool) if node.name == "tril_indices" else ~np.tri(row, col, offset - 1, bool)
    return g.const(np.stack(np.nonzero(keep)), dtype)
