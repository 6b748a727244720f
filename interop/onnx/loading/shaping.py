"""Shapes, slices, indices, and tensors made from nothing."""

from __future__ import annotations

import math

import numpy as np

import jtorch
from jtorch.nn import functional as F

from ..errors import OnnxLoadError
from .registry import axes_of, dtype_of, handles, host, ints, is_text, tensor, to_numpy

# --- constants and shapes --------------------------------------------------------------------------------------------


@handles("Constant", host="all")
def constant(n):
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints", "value_string", "value_strings"):
        value = n.get(name)
        if value is None:
            continue
        if name == "value":
            return value
        if "string" in name:
            decoded = [
                v.decode() if isinstance(v, bytes) else v for v in (value if isinstance(value, list) else [value])
            ]
            return np.array(decoded, object).reshape(() if name == "value_string" else -1)
        return np.array(value, np.float32 if "float" in name else np.int64)
    if n.get("sparse_value") is not None:
        s = n.get("sparse_value")
        dims, values, at = list(s.dims), to_numpy(s.values), to_numpy(s.indices)
        dense = np.zeros(dims, values.dtype)
        dense[tuple(at.T) if at.ndim == 2 else np.unravel_index(at, dims)] = values
        return dense
    raise OnnxLoadError("a Constant without a value")


@handles("Identity", host="all")
def identity(n, x):
    return x


@handles("Shape", host="all")
def shape(n, x):
    return np.array(tuple(x.shape)[n.get("start", 0) : n.get("end")], np.int64)


@handles("Size", host="all")
def size(n, x):
    return np.array(math.prod(x.shape), np.int64)


@handles("ConstantOfShape", host=(0,))
def constant_of_shape(n, wanted):
    value = n.get("value")
    if value is None:
        value = np.zeros(1, np.float32)
    # stored, not broadcast: XLA's algebraic simplifier (jaxlib 0.10.2) gets some networks of convolutions with
    # broadcast numbers as weights wrong
    return tensor(np.full(ints(wanted), value.reshape(-1)[0], value.dtype), n.interpreter.device)


@handles("EyeLike", host="all")
def eye_like(n, x):
    kind = dtype_of(n.get("dtype")) if n.get("dtype") else tensor(x).dtype
    rows, columns = x.shape
    return tensor(np.eye(rows, columns, n.get("k", 0)), n.interpreter.device).to(kind)


@handles("Range", host=(0, 1, 2))
def range_(n, start, limit, delta):
    start, limit, delta = (np.asarray(v).reshape(-1)[0] for v in (start, limit, delta))
    count = max(math.ceil((float(limit) - float(start)) / float(delta)), 0)
    return tensor(
        (np.float64(start) + np.arange(count) * np.float64(delta)).astype(start.dtype)
        if start.dtype.kind not in "iu"
        else start + np.arange(count, dtype=start.dtype) * delta,
        n.interpreter.device,
    )


@handles("Reshape", host=(1,))
def reshape(n, x, target=None):
    target = ints(target) if target is not None else list(n.get("shape"))
    if not n.get("allowzero", 0):
        target = [x.shape[i] if s == 0 else s for i, s in enumerate(target)]
    return x.reshape(target)


@handles("Reshape", since=5, host="all")
def reshape_text(n, x, target):
    if not is_text(x):
        return reshape(n, tensor(x, n.interpreter.device), host(target))
    target = [x.shape[i] if s == 0 and not n.get("allowzero", 0) else s for i, s in enumerate(ints(target))]
    return x.reshape(target)


@handles("Flatten")
def flatten(n, x):
    axis = n.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@handles("Squeeze", host=(1,))
def squeeze(n, x, axes=None):
    axes = axes_of(n, axes, x.dim())
    if axes is None:
        return x.squeeze()
    if any(x.shape[a] != 1 for a in axes):
        raise OnnxLoadError(f"Squeeze of axes {axes} of a tensor of shape {tuple(x.shape)}: their sizes must be 1")
    return x.reshape([s for d, s in enumerate(x.shape) if d not in axes])


@handles("Unsqueeze", host=(1,))
def unsqueeze(n, x, axes=None):
    axes = ints(axes) if axes is not None else n.get("axes")
    for a in sorted(a % (x.dim() + len(axes)) for a in axes):
        x = x.unsqueeze(a)
    return x


@handles("Expand", host=(1,))
def expand(n, x, target):
    return jtorch.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), tuple(ints(target))))


@handles("Transpose")
def transpose(n, x):
    return x.permute(n.get("perm", list(range(x.dim()))[::-1]))


@handles("Tile", host=(1, 2))
def tile(n, x, repeats, axis=None):
    if n.opset < 6:
        counts = [1] * x.dim()
        counts[int(axis)] = int(repeats)
        return x.repeat(counts)
    return x.repeat(ints(repeats)) if x.dim() else x


@handles("Concat")
def concat(n, *xs):
    return jtorch.cat(xs, n.get("axis", 1))


@handles("Split", host=(1,))
def split(n, x, sizes=None):
    axis = n.get("axis", 0)
    sizes = ints(sizes) if sizes is not None else n.get("split")
    if sizes is None:
        parts = n.get("num_outputs") or len(n.outputs)
        each = -(-x.shape[axis] // parts)
        sizes = [min(each, x.shape[axis] - i * each) for i in range(parts)]
    return tuple(jtorch.split(x, list(sizes), axis))


@handles("Slice", host=(1, 2, 3, 4))
def slice_(n, x, starts=None, ends=None, axes=None, steps=None):
    starts = n.get("starts") if starts is None else ints(starts)
    ends = n.get("ends") if ends is None else ints(ends)
    axes = (n.get("axes") if axes is None else ints(axes)) or list(range(len(starts)))
    steps = [1] * len(starts) if steps is None else ints(steps)
    for s, e, a, k in zip(starts, ends, axes, steps, strict=True):
        a %= x.dim()
        span = range(x.shape[a])[slice(s, e, k)]
        if k > 0:
            x = x[(slice(None),) * a + (slice(span.start, span.stop, k),)]
        elif len(span) == 0:
            x = x[(slice(None),) * a + (slice(0, 0),)]
        else:
            x = x[(slice(None),) * a + (slice(span[-1], span[0] + 1, -k),)].flip(a)
    return x


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@handles("Pad", host=(1, 2, 3))
def pad(n, x, pads=None, value=None, axes=None):
    pads = ints(pads) if pads is not None else n.get("pads", n.get("paddings"))
    value = n.get("value", 0.0) if value is None else np.asarray(value).item()
    axes = list(range(x.dim())) if axes is None else [a % x.dim() for a in ints(axes)]
    low, high = [0] * x.dim(), [0] * x.dim()
    for i, a in enumerate(axes):
        low[a], high[a] = pads[i], pads[i + len(axes)]
    mode = n.get("mode", "constant")
    if mode == "constant":
        return F.pad(x, [p for d in reversed(range(x.dim())) for p in (low[d], high[d])], value=value)
    for d in range(x.dim()):
        if low[d] < 0 or high[d] < 0:
            x = x.narrow(d, max(-low[d], 0), x.shape[d] + min(low[d], 0) + min(high[d], 0))
        if low[d] > 0 or high[d] > 0:
            at = np.pad(np.arange(x.shape[d]), (max(low[d], 0), max(high[d], 0)), mode)
            x = x.index_select(d, tensor(at, x.device))
    return x


# --- by index --------------------------------------------------------------------------------------------------------


def _wrapped(index, size: int):
    return jtorch.where(index < 0, index + size, index)


@handles("Gather", host="all")
def gather(n, x, index):
    axis = n.get("axis", 0)
    if is_text(x):
        return np.take(x, host(index), axis)
    x = tensor(x, n.interpreter.device)
    axis %= x.dim()
    if isinstance(index, np.ndarray) and index.ndim == 0:
        return x.select(axis, int(index))
    index = _wrapped(tensor(index, x.device).to(jtorch.int64), x.shape[axis])
    out = x.index_select(axis, index.reshape(-1))
    return out.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


@handles("GatherElements")
def gather_elements(n, x, index):
    axis = n.get("axis", 0) % x.dim()
    return jtorch.gather(x, axis, _wrapped(index.to(jtorch.int64), x.shape[axis]))


@handles("GatherND")
def gather_nd(n, x, index):
    b, k = n.get("batch_dims", 0), index.shape[-1]
    index = index.to(jtorch.int64)
    lead = []
    for d in range(b):
        shape = [1] * (index.dim() - 1)
        shape[d] = -1
        lead.append(jtorch.arange(x.shape[d], device=x.device).reshape(shape))
    return x[(*lead, *(index[..., i] for i in range(k)))]


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@handles("ScatterElements", "Scatter")
def scatter_elements(n, x, index, updates):
    axis = n.get("axis", 0) % x.dim()
    index = _wrapped(index.to(jtorch.int64), x.shape[axis])
    kind = n.get("reduction", "none")
    if kind == "none":
        return x.scatter(axis, index, updates)
    return x.scatter_reduce(axis, index, updates, _REDUCE[kind], include_self=True)


@handles("ScatterND")
def scatter_nd(n, x, index, updates):
    k, kind = index.shape[-1], n.get("reduction", "none")
    index = index.to(jtorch.int64)
    rows = index.reshape(-1, k)
    strides = [math.prod(x.shape[i + 1 : k]) for i in range(k)]
    at = jtorch.zeros(rows.shape[0], dtype=jtorch.int64, device=x.device)
    for i in range(k):
        at = at + _wrapped(rows[:, i], x.shape[i]) * strides[i]
    inner = math.prod(x.shape[k:])
    flat = x.reshape(math.prod(x.shape[:k]), inner)
    at = at.unsqueeze(1).expand(-1, inner)
    updates = updates.reshape(rows.shape[0], inner)
    if kind == "none":
        out = flat.scatter(0, at, updates)
    else:
        out = flat.scatter_reduce(0, at, updates, _REDUCE[kind], include_self=True)
    return out.reshape(x.shape)


@handles("TensorScatter", host=(2,))
def tensor_scatter(n, cache, update, write=None):
    axis = n.get("axis", -2) % cache.dim()
    length, batch = update.shape[axis], cache.shape[0]
    write = np.zeros(batch, np.int64) if write is None else write
    at = write.reshape(-1, 1) + np.arange(length)
    if n.get("mode", "linear") == "circular":
        at = at % cache.shape[axis]
    shape = [batch if d == 0 else length if d == axis else 1 for d in range(cache.dim())]
    return cache.scatter(axis, tensor(at.reshape(shape), cache.device).expand(update.shape), update)


@handles("OneHot", host=(1,))
def one_hot(n, index, depth, values):
    depth = int(np.asarray(depth).reshape(-1)[0])
    axis = n.get("axis", -1)
    axis = axis % (index.dim() + 1)
    index = index.to(jtorch.int64)
    at = jtorch.where(index < 0, index + depth, index).unsqueeze(axis)
    shape = [1] * (index.dim() + 1)
    shape[axis] = depth
    hit = at == jtorch.arange(depth, device=index.device).reshape(shape)
    return jtorch.where(hit, values[1], values[0])


@handles("Compress", host=(1,))
def compress(n, x, condition):
    keep = np.nonzero(condition)[0]
    if n.get("axis") is None:
        return x.reshape(-1)[tensor(keep, x.device)]
    return x.index_select(n.get("axis"), tensor(keep, x.device))


@handles("NonZero", host=(0,))
def non_zero(n, x):
    return np.array(np.nonzero(x), np.int64)


@handles("Unique", host=(0,))
def unique(n, x):
    axis = n.get("axis")
    values, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.reshape(-1)
    if not n.get("sorted", 1):
        order = np.argsort(first)
        rank = np.argsort(order)
        values = np.take(values, order, axis=0 if axis is None else axis)
        first, counts, inverse = first[order], counts[order], rank[inverse]
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)


@handles("Trilu", host=(1,))
def trilu(n, x, k=None):
    k = 0 if k is None else int(k)
    return jtorch.triu(x, k) if n.get("upper", 1) else jtorch.tril(x, k)


@handles("TopK", host=(1,))
def top_k(n, x, k=None):
    k = n.get("k") if k is None else int(np.asarray(k).reshape(-1)[0])
    axis = n.get("axis", -1)
    # stable: of equal elements the one with the lower index comes first
    values, indices = jtorch.sort(x, dim=axis, descending=bool(n.get("largest", 1)), stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)


@handles("DepthToSpace")
def depth_to_space(n, x):
    b, (N, C, H, W) = n.get("blocksize"), x.shape
    if n.get("mode", "DCR") == "DCR":
        x = x.reshape(N, b, b, C // (b * b), H, W).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(N, C // (b * b), b, b, H, W).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(N, C // (b * b), H * b, W * b)


@handles("SpaceToDepth")
def space_to_depth(n, x):
    b, (N, C, H, W) = n.get("blocksize"), x.shape
    if n.get("mode", "DCR") == "CRD":
        return x.reshape(N, C, H // b, b, W // b, b).permute(0, 1, 3, 5, 2, 4).reshape(N, C * b * b, H // b, W // b)
    return x.reshape(N, C, H // b, b, W // b, b).permute(0, 3, 5, 1, 2, 4).reshape(N, C * b * b, H // b, W // b)


@handles("ReverseSequence", host=(1,))
def reverse_sequence(n, x, lengths):
    batch, time = n.get("batch_axis", 1), n.get("time_axis", 0)
    steps = np.arange(x.shape[time])
    at = np.stack([np.where(steps < k, k - 1 - steps, steps) for k in ints(lengths)])  # (batch, time)
    if batch > time:
        at = at.T
    shape = [x.shape[d] if d in (batch, time) else 1 for d in range(x.dim())]
    return jtorch.gather(x, time, tensor(at.reshape(shape).astype(np.int64), x.device).expand(x.shape))


@handles("CenterCropPad", host=(1,))
def center_crop_pad(n, x, target):
    axes = [a % x.dim() for a in n.get("axes", list(range(x.dim())))]
    for a, size_ in zip(axes, ints(target), strict=True):
        extra = size_ - x.shape[a]
        if extra < 0:
            x = x.narrow(a, (-extra) // 2, size_)
        elif extra:
            low = extra // 2
            pads = [0, 0] * (x.dim() - 1 - a) + [low, extra - low]
            x = F.pad(x, pads)
    return x


@handles("CumSum", "CumProd", host=(1,))
def cumulative(n, x, axis):
    axis = int(np.asarray(axis).reshape(-1)[0])
    product = n.op_type == "CumProd"
    run = jtorch.cumprod if product else jtorch.cumsum
    if n.get("reverse", 0):
        x = x.flip(axis)
    if n.get("exclusive", 0):
        first = jtorch.full_like(x.narrow(axis, 0, 1), 1 if product else 0)
        x = jtorch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    out = run(x, axis, dtype=x.dtype)
    return out.flip(axis) if n.get("reverse", 0) else out
