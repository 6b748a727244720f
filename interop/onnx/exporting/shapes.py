"""Views and rearrangements: the same elements under another shape, order, or number."""

from __future__ import annotations

import math

import numpy as np

import jtorch

from .builder import Value
from .dims import Varying
from .table import TABLE, axes_of, axis_of, refuse, static, translates


@translates(
    "view", "reshape", "flatten", "ravel", "unflatten", "_atleast", "squeeze", "unsqueeze", "view.put", "reshape.put",
    "flatten.put", "ravel.put", "unflatten.put", "_atleast.put", "squeeze.put", "unsqueeze.put",
)  # fmt: skip
def _regroup(g, node, input, new=None, **_):
    """The result's shape is known, so all of these are one Reshape, or a clearer node where there is one."""
    shape = node.outputs[0].shape
    if new is None:
        if node.name == "flatten" and len(shape) == 2 and input.ndim >= 2 and input.shape[0] == shape[0]:
            return g.Flatten(input, axis=1)
        kept = [i for i, n in enumerate(input.shape) if n != 1]
        if node.name == "squeeze" and [input.shape[i] for i in kept] == list(shape):
            return g.squeeze(input, [i for i, n in enumerate(input.shape) if n == 1])
        if node.name == "unsqueeze":
            return g.unsqueeze(input, [axis_of(node.statics["dim"], len(shape))])
    return g.reshape(input if new is None else new, shape)


@translates("alias.put", "detach.put")
def _put_whole(g, node, input, new):
    return new


def _permutation(name: str, statics: dict, ndim: int) -> list[int]:
    order = list(range(ndim))
    if name == "permute":
        return [axis_of(d, ndim) for d in statics["dims"]]
    if name == "t":
        return order[::-1]
    if name == "transpose":
        a, b = axis_of(statics["dim0"], ndim), axis_of(statics["dim1"], ndim)
        if ndim:
            order[a], order[b] = order[b], order[a]
        return order
    source, destination = (axes_of(statics[k], ndim) for k in ("source", "destination"))
    order = [d for d in order if d not in source]
    for place, d in sorted(zip(destination, source, strict=True)):
        order.insert(place, d)
    return order


@translates("permute", "transpose", "t", "movedim")
def _permute(g, node, input, **statics):
    return g.transpose(input, _permutation(node.name, statics, input.ndim))


@translates("permute.put", "transpose.put", "t.put", "movedim.put")
def _put_permuted(g, node, input, new, **statics):
    order = _permutation(node.name.removesuffix(".put"), statics, input.ndim)
    return g.transpose(new, [int(i) for i in np.argsort(order)])


@translates("expand", "broadcast_to")
def _expand(g, node, input, size):
    return g.expand(input, node.outputs[0].shape)


# --- slices ----------------------------------------------------------------------------------------------------------


def _end(start, length, step: int):
    """Where a slice of ``length`` elements ends."""
    parts = [start, length]
    if not any(isinstance(p, Varying) for p in parts):
        return start + (length - 1) * step + 1 if length else start
    count = max(len(p.values) for p in parts if isinstance(p, Varying))
    starts, lengths = (p.values if isinstance(p, Varying) else (p,) * count for p in parts)
    ends = [s + (n - 1) * step + 1 if n else s for s, n in zip(starts, lengths, strict=True)]
    return ends[0] if len(set(ends)) == 1 else Varying(ends)


def _slices(g, node, x, dims, starts, lengths, steps):
    dims = [axis_of(d, x.ndim) for d in dims]
    # a start counted from the end is the same in all recordings, and is made to count from the front
    starts = [_from_front(s, x.shape[d]) for s, d in zip(starts, dims, strict=True)]
    ends = [_end(*sls) for sls in zip(starts, lengths, steps, strict=True)]
    whole = [s == 0 and e == x.shape[d] and step == 1 for s, e, step, d in zip(starts, ends, steps, dims, strict=True)]
    rest = [i for i, w in enumerate(whole) if not w]
    if not rest:
        return x
    starts, ends, steps, dims = ([v[i] for i in rest] for v in (starts, ends, steps, dims))
    return g.slice(x, starts, ends, dims, None if set(steps) == {1} else steps)


def _from_front(start, size):
    if isinstance(start, Varying) or start >= 0:
        return start
    if isinstance(size, Varying):
        return Varying([start + n for n in size.values])
    return start + size


@translates("slices")
def _slices_(g, node, input, starts, dims, lengths, steps):
    return _slices(g, node, input, dims, starts, lengths, steps)


@translates("slice")
def _slice(g, node, input, start, dim, length, step):
    return _slices(g, node, input, [dim], [start], [length], [step])


@translates("narrow")
def _narrow(g, node, input, start, dim, length):
    return _slices(g, node, input, [dim], [start], [length], [1])


@translates("select")
def _select(g, node, input, index, dim):
    axis = axis_of(dim, input.ndim)
    index = _from_front(index, input.shape[axis])
    if isinstance(index, Varying):
        index = g.number(index, jtorch.int64)
    else:
        index = g.const(np.array(index, np.int64))
    return g.Gather(input, index, axis=axis)


@translates("select.tensor")
def _select_tensor(g, node, input, index, dim):
    return g.Gather(input, index, axis=axis_of(dim, input.ndim))


@translates("diagonal")
def _diagonal(g, node, input, offset, dim1, dim2):
    """Element ``k (columns + 1)`` of the flattened matrix, from the diagonal's start on."""
    a, b = axis_of(dim1, input.ndim), axis_of(dim2, input.ndim)
    rows, columns = input.shape[a], input.shape[b]
    static(node, rows=rows, columns=columns)
    order = [d for d in range(input.ndim) if d not in (a, b)] + [a, b]
    flat = g.reshape(Value(g.transpose(input, order)), (*(input.shape[d] for d in order[:-2]), rows * columns))
    length = node.outputs[0].shape[-1]
    start = offset if offset >= 0 else -offset * columns
    at = start + np.arange(length, dtype=np.int64) * (columns + 1)
    return g.Gather(flat, g.const(at), axis=input.ndim - 2)


@translates("unfold_view")
def _unfold_view(g, node, input, dimension, size, step):
    """Windows along a dimension: the positions of each, gathered, and the place within the window moved last."""
    axis, out = axis_of(dimension, input.ndim), node.outputs[0].shape
    static(node, windows=out[axis])
    at = np.arange(out[axis], dtype=np.int64)[:, None] * step + np.arange(size, dtype=np.int64)
    order = [d for d in range(input.ndim + 1) if d != axis + 1] + [axis + 1]
    return g.transpose(g.Gather(input, g.const(at), axis=axis), order)


def _positions(g, x: Value) -> Value:
    """The position of each element of ``x`` in its flattened form, in ``x``'s shape."""
    shape = g.Shape(x)
    count = g.ReduceProd(shape, keepdims=0)
    line = g.Range(g.const(np.array(0, np.int64)), count, g.const(np.array(1, np.int64)))
    return Value(g.Reshape(line, shape), jtorch.int64, x.shape)


def _put(name: str) -> None:
    """Writing through a view: the positions the view shows, and the new elements scattered to them."""

    def translate(g, node, input, new, **others):
        at = TABLE[name](g, node, input=_positions(g, input), **others)
        flat = g.const(np.array([-1], np.int64))
        result = g.ScatterElements(g.Reshape(input, flat), g.Reshape(at, flat), g.Reshape(new, flat), axis=0)
        return g.reshape(Value(result), input.shape)

    translates(f"{name}.put")(translate)


for _name in ("slices", "slice", "narrow", "select", "diagonal"):
    _put(_name)


def _scatter_view(name: str, into: str) -> None:
    """``select_scatter`` and its like: a put whose operands are in another order."""

    def translate(g, node, input, src, **others):
        return TABLE[f"{into}.put"](g, node, input=input, new=src, **others)

    translates(name)(translate)


_scatter_view("select_scatter", "select")


@translates("slice_scatter")
def _slice_scatter(g, node, input, src, dim, start, end, step):
    axis = axis_of(dim, input.ndim)
    if start not in (None, 0) and start < 0:
        refuse(node, "a negative start; count it from the front")
    return TABLE["slice.put"](
        g, node, input=input, new=src, start=start or 0, dim=axis, length=src.shape[axis], step=step
    )


# --- joining and repeating -------------------------------------------------------------------------------------------


@translates("cat")
def _cat(g, node, tensors, dim):
    kept = [x for x in tensors if x.shape != (0,)]
    return g.node("Concat", kept, axis=axis_of(dim, kept[0].ndim)) if len(kept) > 1 else kept[0]


@translates("stack")
def _stack(g, node, tensors, dim):
    axis = axis_of(dim, tensors[0].ndim + 1)
    return g.node("Concat", [g.unsqueeze(x, [axis]) for x in tensors], axis=axis)


def _joined(ndim: int, axis):
    def translate(g, node, tensors):
        parts = []
        for x in tensors:
            shape = x.shape
            if len(shape) < ndim:
                shape = {0: (1,) * ndim, 1: (1, *shape) + (1,) * (ndim - 2), 2: (*shape, 1)}[len(shape)]
            parts.append(g.reshape(x, shape))
        return g.node("Concat", parts, axis=axis if axis is not None else (0 if tensors[0].ndim < 2 else 1))

    return translate


translates("hstack")(_joined(1, None))
translates("vstack")(_joined(2, 0))
translates("dstack")(_joined(3, 2))


@translates("column_stack")
def _column_stack(g, node, tensors):
    return g.node(
        "Concat", [x if x.ndim > 1 else g.reshape(x, (x.shape[0] if x.ndim else 1, 1)) for x in tensors], axis=1
    )


@translates("repeat", "tile")
def _repeat(g, node, input, repeats=None, dims=None):
    counts = list(repeats if repeats is not None else dims)
    counts = [1] * (input.ndim - len(counts)) + counts
    x = input
    if len(counts) > input.ndim:
        x = g.unsqueeze(x, list(range(len(counts) - input.ndim)))
    return g.Tile(x, g.ints(counts))


@translates("repeat_interleave")
def _repeat_interleave(g, node, input, repeats, dim, output_size):
    static(node, repeats=repeats)
    shape = node.outputs[0].shape
    if dim is None:
        x = g.Reshape(input, g.ints([-1, 1]))
        return g.reshape(Value(g.Tile(x, g.ints([1, repeats]))), shape)
    axis = axis_of(dim, len(shape))
    x = g.unsqueeze(input, [axis + 1])
    return g.reshape(Value(g.Tile(x, g.ints([repeats if d == axis + 1 else 1 for d in range(len(shape) + 1)]))), shape)


@translates("flip", "fliplr", "flipud")
def _flip(g, node, input, dims=None):
    axes = {"fliplr": [1], "flipud": [0]}.get(node.name) or [axis_of(d, input.ndim) for d in dims]
    if not axes:
        return input
    low = np.iinfo(np.int64).min
    return g.slice(input, [-1] * len(axes), [low] * len(axes), axes, [-1] * len(axes))


@translates("roll")
def _roll(g, node, input, shifts, dims):
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    dims = [] if dims is None else [dims] if isinstance(dims, int) else list(dims)
    x = input
    if not dims:
        x, dims, back = g.Reshape(input, g.ints([-1])), [0], True
    else:
        back = False
    end = np.iinfo(np.int64).max
    for shift, dim in zip(shifts, dims, strict=True):
        axis = axis_of(dim, input.ndim)
        if not back and not isinstance(input.shape[axis], Varying) and input.shape[axis]:
            shift %= input.shape[axis]
        if shift:
            x = g.Concat(g.slice(x, [-shift], [end], [axis]), g.slice(x, [0], [-shift], [axis]), axis=axis)
    return g.reshape(Value(x), input.shape) if back else x


@translates("tril", "triu")
def _triangle(g, node, input, diagonal):
    return g.Trilu(input, g.const(np.array(diagonal, np.int64)), upper=int(node.name == "triu"))


@translates("_meshgrid")
def _meshgrid(g, node, tensors, indexing):
    results = []
    for i, x in enumerate(tensors):
        place = (1 - i) if indexing == "xy" and i < 2 and len(tensors) > 1 else i
        shape = [1] * len(tensors)
        shape[place] = -1
        results.append(g.expand(Value(g.Reshape(x, g.ints(shape))), node.outputs[i].shape))
    return tuple(results)


@translates("pixel_shuffle")
def _pixel_shuffle(g, node, input, upscale_factor):
    if input.ndim != 4:
        refuse(node, f"ONNX needs a batch of images, 4 dimensions, got {input.ndim}")
    return g.DepthToSpace(input, blocksize=upscale_factor, mode="CRD")


@translates("pixel_unshuffle")
def _pixel_unshuffle(g, node, input, downscale_factor):
    r = downscale_factor
    if input.ndim != 4:
        refuse(node, f"ONNX needs a batch of images, 4 dimensions, got {input.ndim}")
    c = input.shape[1]
    static(node, channels=c)
    out = node.outputs[0].shape
    # ONNX orders the new channels (block row, block column, channel); PyTorch (channel, row, column)
    x = g.reshape(Value(g.SpaceToDepth(input, blocksize=r)), (out[0], r * r, c, out[2], out[3]))
    return g.reshape(Value(g.transpose(x, [0, 2, 1, 3, 4])), out)


@translates("channel_shuffle")
def _channel_shuffle(g, node, input, groups):
    n, c, *rest = input.shape
    static(node, channels=c)
    x = g.reshape(input, (n, groups, c // groups, *rest))
    order = [0, 2, 1, *range(3, input.ndim + 1)]
    return g.reshape(Value(g.transpose(x, order)), input.shape)


@translates("pad")
def _pad(g, node, input, pad, mode, value):
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    low, high = [0] * input.ndim, [0] * input.ndim
    for i in range(len(pad) // 2):
        low[input.ndim - 1 - i], high[input.ndim - 1 - i] = pad[2 * i], pad[2 * i + 1]
    fill = None if mode != "constant" or not value else g.scalar(value, input)
    return g.Pad(input, g.ints([*low, *high]), fill, mode=mode)


@translates("as_strided")
def _as_strided(g, node, input, size, stride, storage_offset):
    """The positions of the result's elements in the tensor's memory, gathered."""
    static(node, size=size, shape=input.shape)
    at = np.full(size, storage_offset or 0, np.int64)
    for d, (n, s) in enumerate(zip(size, stride, strict=True)):
        at = at + (np.arange(n) * s).reshape([-1 if k == d else 1 for k in range(len(size))])
    return g.Gather(g.Reshape(input, g.ints([-1])), g.const(at.astype(np.int64)), axis=0)


@translates("rot90")
def _rot90(g, node, input, k, dims):
    first, second = axis_of(dims[0], input.ndim), axis_of(dims[1], input.ndim)
    order = list(range(input.ndim))
    order[first], order[second] = second, first

    def flipped(x, *axes):
        low = np.iinfo(np.int64).min
        return g.slice(x, [-1] * len(axes), [low] * len(axes), list(axes), [-1] * len(axes))

    k %= 4
    if k == 0:
        return input
    if k == 2:
        return flipped(input, first, second)
    return flipped(g.transpose(input, order), first) if k == 1 else flipped(g.transpose(input, order), second)


@translates("diag_embed", "diag", "diagflat")
def _diag_embed(g, node, input, diagonal=0, offset=None, dim1=-2, dim2=-1):
    """Zeros, with the elements scattered to the diagonal's positions of the flattened matrix."""
    offset = diagonal if offset is None else offset
    if node.name == "diag" and input.ndim == 2:
        return _diagonal(g, node, input, offset, 0, 1)
    x = input if node.name != "diagflat" else g.reshape(input, (math.prod(input.shape),))
    shape = input.shape if node.name != "diagflat" else (math.prod(input.shape),)
    static(node, length=shape[-1])
    n, side = shape[-1], shape[-1] + abs(offset)
    rows = np.arange(n) + max(-offset, 0)
    at = (rows * side + np.arange(n) + max(offset, 0)).astype(np.int64)
    lead = shape[:-1]
    spread = np.zeros((n, side * side), bool)
    spread[np.arange(n), at] = True
    picked = g.Where(g.const(spread), g.unsqueeze(x, [len(lead) + 1]), g.const(0, input.dtype))
    flat = g.reduce("Sum", picked, [len(lead)], False)
    out = g.reshape(Value(flat), (*lead, side, side))
    a, b = axis_of(dim1, len(lead) + 2), axis_of(dim2, len(lead) + 2)
    rest = iter(range(len(lead)))
    order = [len(lead) if d == a else len(lead) + 1 if d == b else next(rest) for d in range(len(lead) + 2)]
    return g.transpose(out, order)


@translates("diff")
def _diff(g, node, input, n, dim, prepend, append):
    axis = axis_of(dim, input.ndim)
    parts = [x for x in (prepend, input, append) if x is not None]
    x = g.node("Concat", parts, axis=axis) if len(parts) > 1 else input
    for _ in range(n):
        x = g.Sub(g.slice(x, [1], [np.iinfo(np.int64).max], [axis]), g.slice(x, [0], [-1], [axis]))
    return x
