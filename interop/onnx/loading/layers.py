"""Products, convolutions, pooling and normalisation."""

from __future__ import annotations

import itertools
import math

import jtorch
from jtorch.nn import functional as F

from .pointwise import aligned
from .registry import handles


@handles("MatMul")
def matmul(n, a, b):
    return jtorch.matmul(a, b)


@handles("Gemm")
def gemm(n, a, b, c=None):
    a = a.t() if n.get("transA", 0) else a
    b = b.t() if n.get("transB", 0) else b
    out = jtorch.matmul(a, b)
    alpha, beta = n.get("alpha", 1.0), n.get("beta", 1.0)
    if alpha != 1:
        out = (out * alpha).to(out.dtype)
    if c is None or beta == 0:
        return out
    c = aligned(n, out, c)
    return out + (c if beta == 1 else (c * beta).to(out.dtype))


@handles("Einsum")
def einsum(n, *xs):
    return jtorch.einsum(n.get("equation").replace(" ", ""), *xs)


# --- windows ---------------------------------------------------------------------------------------------------------


def _geometry(n, x, kernel):
    """``(strides, dilations, low pads, high pads)`` of a windowed operator."""
    d = len(kernel)
    strides, dilations = n.get("strides") or [1] * d, n.get("dilations") or [1] * d
    low, high = [0] * d, [0] * d
    auto = n.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for i in range(d):
            size = x.shape[2 + i]
            total = max((-(-size // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - size, 0)
            low[i], high[i] = (
                (total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2)
            )
    elif auto in ("NOTSET", ""):
        pads = n.get("pads") or [0] * (2 * d)
        low, high = list(pads[:d]), list(pads[d:])
    return list(strides), list(dilations), low, high


def _padded(x, low, high, value=0.0):
    if not any(low) and not any(high):
        return x
    return F.pad(x, [p for lo, hi in zip(reversed(low), reversed(high), strict=True) for p in (lo, hi)], value=value)


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@handles("Conv")
def conv(n, x, w, b=None):
    d = w.dim() - 2
    if d not in _CONV:
        raise n.unsupported(f"a convolution over {d} dimensions")
    strides, dilations, low, high = _geometry(n, x, list(w.shape[2:]))
    padding = 0
    if low == high and min(low, default=0) >= 0:
        padding = low
    else:
        x = _padded(x, low, high)
    return _CONV[d](x, w, b, stride=strides, padding=padding, dilation=dilations, groups=n.get("group", 1))


@handles("ConvTranspose")
def conv_transpose(n, x, w, b=None):
    """The full transposed convolution, of which the padding is cut off: ONNX's may differ at the two ends."""
    d = w.dim() - 2
    if d not in _CONV_TRANSPOSE:
        raise n.unsupported(f"a transposed convolution over {d} dimensions")
    kernel = n.get("kernel_shape") or list(w.shape[2:])
    strides, dilations = n.get("strides") or [1] * d, n.get("dilations") or [1] * d
    extra, pads = n.get("output_padding") or [0] * d, n.get("pads") or [0] * (2 * d)
    wanted, auto = n.get("output_shape"), n.get("auto_pad", "NOTSET")
    full = _CONV_TRANSPOSE[d](x, w, None, stride=strides, dilation=dilations, groups=n.get("group", 1))
    for i in range(d):
        span = strides[i] * (x.shape[2 + i] - 1) + dilations[i] * (kernel[i] - 1) + 1
        if wanted is not None or auto.startswith("SAME"):
            size = wanted[i] if wanted is not None else x.shape[2 + i] * strides[i]
            total = span + extra[i] - size
            low = max(total, 0) // 2 if auto != "SAME_LOWER" else max(total, 0) - max(total, 0) // 2
        else:
            low, size = pads[i], span + extra[i] - pads[i] - pads[i + d]
        beyond = max(low + size - span, 0)
        if beyond or low < 0:
            widths = [0, 0] * (d - 1 - i) + [max(-low, 0), beyond]
            full, low = F.pad(full, widths), max(low, 0)
        full = full.narrow(2 + i, low, size)
    return full if b is None else full + b.reshape((-1, *((1,) * d)))


def _outputs(n, x, kernel, strides, dilations, low, high):
    """Sizes of a pooled result, and the high pads that its windows need."""
    sizes, needed = [], []
    for i, k in enumerate(kernel):
        reach, size = dilations[i] * (k - 1) + 1, x.shape[2 + i]
        span = size + low[i] + high[i] - reach
        out = (-(-span // strides[i]) if n.get("ceil_mode", 0) else span // strides[i]) + 1
        if n.get("ceil_mode", 0) and (out - 1) * strides[i] >= size + low[i]:
            out -= 1
        sizes.append(out)
        needed.append(max((out - 1) * strides[i] + reach - size - low[i], 0))
    return sizes, needed


def _taps(x, kernel, strides, dilations, sizes):
    """``(tap, the elements of the padded x that this tap of every window sees)``."""
    for tap in itertools.product(*(range(k) for k in kernel)):
        index = [slice(None), slice(None)]
        for t, s, d, o in zip(tap, strides, dilations, sizes, strict=True):
            index.append(slice(t * d, t * d + (o - 1) * s + 1, s))
        yield tap, x[tuple(index)]


@handles("MaxPool")
def max_pool(n, x):
    kernel = n.get("kernel_shape")
    d = len(kernel)
    strides, dilations, low, high = _geometry(n, x, kernel)
    simple = low == high and all(2 * p <= k for p, k in zip(low, kernel, strict=True)) and d in (1, 2, 3)
    if simple and not n.wants(1):
        pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[d]
        return pool(x, kernel, strides, low, dilations, ceil_mode=bool(n.get("ceil_mode", 0)))
    sizes, needed = _outputs(n, x, kernel, strides, dilations, low, high)
    lowest = -math.inf if x.is_floating_point() else jtorch.iinfo(x.dtype).min
    values = _padded(x, low, needed, lowest)
    stacked = jtorch.stack([piece for _, piece in _taps(values, kernel, strides, dilations, sizes)])
    if not n.wants(1):
        return stacked.amax(0)
    at = jtorch.arange(x.numel(), device=x.device).reshape(x.shape)
    if n.get("storage_order", 0):
        planes = math.prod(x.shape[2:])
        order = jtorch.arange(planes, device=x.device).reshape(x.shape[2:][::-1]).permute(*range(d)[::-1])
        at = jtorch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(*x.shape[:2], *((1,) * d)) * planes + order
    at = _padded(at, low, needed, 0)
    places = jtorch.stack([piece for _, piece in _taps(at, kernel, strides, dilations, sizes)])
    winner = stacked.argmax(0, keepdim=True)
    return jtorch.gather(stacked, 0, winner)[0], jtorch.gather(places, 0, winner)[0]


def _window_sums(n, x, count_padding: bool):
    kernel = n.get("kernel_shape")
    strides, dilations, low, high = _geometry(n, x, kernel)
    sizes, needed = _outputs(n, x, kernel, strides, dilations, low, high)
    total = None
    for _, piece in _taps(_padded(x, low, needed), kernel, strides, dilations, sizes):
        total = piece if total is None else total + piece
    ones = jtorch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    inside = [max(h, 0) for h in high]
    if count_padding:
        ones = _padded(ones, low, inside, 1.0)
        ones = _padded(ones, [0] * len(low), [m - h if m > h else 0 for m, h in zip(needed, inside, strict=True)])
    else:
        ones = _padded(ones, low, needed)
    count = None
    for _, piece in _taps(ones, kernel, strides, dilations, sizes):
        count = piece if count is None else count + piece
    return total, count


@handles("AveragePool")
def average_pool(n, x):
    kernel = n.get("kernel_shape")
    strides, dilations, low, high = _geometry(n, x, kernel)
    d = len(kernel)
    if (
        low == high
        and d in (1, 2, 3)
        and set(dilations) == {1}
        and all(2 * p <= k for p, k in zip(low, kernel, strict=True))
    ):
        pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[d]
        counted = bool(n.get("count_include_pad", 0))
        return pool(x, kernel, strides, low, bool(n.get("ceil_mode", 0)), counted)
    total, count = _window_sums(n, x, bool(n.get("count_include_pad", 0)))
    return total / count


@handles("LpPool")
def lp_pool(n, x):
    p = n.get("p", 2)
    total, _ = _window_sums(n, x.abs() ** p, True)
    return total ** (1 / p)


@handles("GlobalAveragePool")
def global_average_pool(n, x):
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@handles("GlobalMaxPool")
def global_max_pool(n, x):
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


@handles("GlobalLpPool")
def global_lp_pool(n, x):
    p = n.get("p", 2)
    return (x.abs() ** p).sum(tuple(range(2, x.dim())), keepdim=True) ** (1 / p)


@handles("MaxUnpool", host=(2,))
def max_unpool(n, x, at, shape=None):
    kernel = n.get("kernel_shape")
    strides, pads = n.get("strides") or [1] * len(kernel), n.get("pads") or [0] * (2 * len(kernel))
    natural = [(s - 1) * strides[i] + kernel[i] - pads[i] - pads[i + len(kernel)] for i, s in enumerate(x.shape[2:])]
    natural = [*x.shape[:2], *natural]
    flat = jtorch.zeros(math.prod(natural), dtype=x.dtype, device=x.device)
    flat = flat.scatter(0, at.reshape(-1), x.reshape(-1)).reshape(natural)
    if shape is None:
        return flat
    return F.pad(
        flat, [p for a, b in zip(reversed([int(s) for s in shape]), reversed(natural), strict=True) for p in (0, a - b)]
    )


# --- normalisation ---------------------------------------------------------------------------------------------------


def _column(v, ndim: int):
    return v.reshape((-1, *((1,) * (ndim - 2))))


@handles("BatchNormalization")
def batch_norm(n, x, scale, shift, mean, var):
    eps, momentum = n.get("epsilon", 1e-5), n.get("momentum", 0.9)
    training = bool(n.get("training_mode", 0))
    if not training:
        if x.dtype is scale.dtype is shift.dtype is mean.dtype is var.dtype:
            return F.batch_norm(x, mean, var, scale, shift, False, 0.0, eps)
        rstd = jtorch.rsqrt(var + eps) * scale
        out = (x - _column(mean, x.dim())) * _column(rstd, x.dim()) + _column(shift, x.dim())
        return out.to(x.dtype)
    axes = [d for d in range(x.dim()) if d != 1]
    now, spread = x.mean(axes), x.var(axes, unbiased=False)
    out = (x - _column(now, x.dim())) * _column(jtorch.rsqrt(spread + eps) * scale, x.dim()) + _column(shift, x.dim())
    return out, mean * momentum + now * (1 - momentum), var * momentum + spread * (1 - momentum)


@handles("InstanceNormalization")
def instance_norm(n, x, scale, shift):
    return F.group_norm(x, x.shape[1], scale, shift, n.get("epsilon", 1e-5))


@handles("GroupNormalization", since=21)
def group_norm(n, x, scale, shift):
    return F.group_norm(x, n.get("num_groups"), scale, shift, n.get("epsilon", 1e-5))


@handles("LayerNormalization")
def layer_norm(n, x, scale, shift=None):
    axis = n.get("axis", -1) % x.dim()
    shape, eps = list(x.shape[axis:]), n.get("epsilon", 1e-5)
    if (
        not n.wants(1)
        and not n.wants(2)
        and list(scale.shape) == shape
        and (shift is None or list(shift.shape) == shape)
    ):
        return F.layer_norm(x, shape, scale, shift, eps)
    axes = list(range(axis, x.dim()))
    wide = x.float() if x.dtype in (jtorch.float16, jtorch.bfloat16) else x
    mean = wide.mean(axes, keepdim=True)
    rstd = jtorch.rsqrt(wide.var(axes, unbiased=False, keepdim=True) + eps)
    out = ((wide - mean) * rstd).to(x.dtype) * scale
    return out if shift is None else out + shift, mean, rstd


@handles("RMSNormalization")
def rms_norm(n, x, scale):
    axis = n.get("axis", -1) % x.dim()
    axes = list(range(axis, x.dim()))
    wide = x.float() if x.dtype in (jtorch.float16, jtorch.bfloat16) else x
    out = wide * jtorch.rsqrt((wide * wide).mean(axes, keepdim=True) + n.get("epsilon", 1e-5))
    return out.to(x.dtype) * scale


@handles("MeanVarianceNormalization")
def mean_variance_norm(n, x):
    axes = n.get("axes", [0, 2, 3])
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / (jtorch.sqrt(((x - mean) ** 2).mean(axes, keepdim=True)) + 1e-9)


@handles("LRN")
def lrn(n, x):
    size = n.get("size")
    low = (size - 1) // 2
    square = F.pad(x * x, [0, 0] * (x.dim() - 2) + [low, size - 1 - low])
    total = sum(square.narrow(1, i, x.shape[1]) for i in range(size))
    return x / (n.get("bias", 1.0) + n.get("alpha", 1e-4) / size * total) ** n.get("beta", 0.75)


@handles("Col2Im", host=(1, 2))
def col2im(n, x, image, block):
    image, block = [int(i) for i in image], [int(i) for i in block]
    d = len(block)
    strides, dilations = n.get("strides") or [1] * d, n.get("dilations") or [1] * d
    pads = n.get("pads") or [0] * (2 * d)
    padded = [s + pads[i] + pads[i + d] for i, s in enumerate(image)]
    counts = [(p - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i, p in enumerate(padded)]
    channels = x.shape[1] // math.prod(block)
    columns = x.reshape(x.shape[0], channels, *block, *counts)
    at = jtorch.arange(math.prod(padded), device=x.device).reshape(1, 1, *padded)
    places = jtorch.stack([p for _, p in _taps(at, block, strides, dilations, counts)]).reshape(-1)
    flat = jtorch.zeros(x.shape[0] * channels, math.prod(padded), dtype=x.dtype, device=x.device)
    values = columns.reshape(x.shape[0] * channels, -1)
    out = flat.scatter_add(1, places.expand(values.shape), values).reshape(x.shape[0], channels, *padded)
    for i in range(d):
        out = out.narrow(2 + i, pads[i], image[i])
    return out


@handles("DeformConv")
def deform_conv(n, x, w, offset, b=None, mask=None):
    """Each tap read at its place plus an offset, bilinearly, zero outside; then a product with the weights."""
    if w.dim() != 4:
        raise n.unsupported("a deformable convolution that is not two-dimensional")
    kernel, groups, shared = list(w.shape[2:]), n.get("group", 1), n.get("offset_group", 1)
    strides, dilations, low, high = _geometry(n, x, kernel)
    N, C, H, W = x.shape
    oh, ow = offset.shape[2:]
    taps = kernel[0] * kernel[1]
    shift = offset.reshape(N, shared, taps, 2, oh, ow)
    scale = (
        jtorch.ones(N, shared, taps, oh, ow, dtype=x.dtype) if mask is None else mask.reshape(N, shared, taps, oh, ow)
    )
    ky, kx = (jtorch.arange(k) for k in kernel)
    base_y = (jtorch.arange(oh) * strides[0] - low[0]).reshape(1, oh, 1) + (ky * dilations[0]).repeat_interleave(
        kernel[1]
    ).reshape(-1, 1, 1)
    base_x = (jtorch.arange(ow) * strides[1] - low[1]).reshape(1, 1, ow) + (kx * dilations[1]).repeat(
        kernel[0]
    ).reshape(-1, 1, 1)
    y, z = shift[:, :, :, 0] + base_y.to(x.dtype), shift[:, :, :, 1] + base_x.to(x.dtype)
    planes = x.reshape(N, shared, C // shared, H * W)

    def corner(row, column):
        inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
        at = (row.clamp(0, H - 1) * W + column.clamp(0, W - 1)).to(jtorch.int64).reshape(N, shared, 1, -1)
        read = jtorch.gather(planes, 3, at.expand(-1, -1, C // shared, -1))
        return read.reshape(N, shared, C // shared, taps, oh, ow) * inside.to(x.dtype).unsqueeze(2)

    top, left = jtorch.floor(y), jtorch.floor(z)
    fy, fx = (y - top).unsqueeze(2), (z - left).unsqueeze(2)
    read = (corner(top, left) * (1 - fy) * (1 - fx) + corner(top, left + 1) * (1 - fy) * fx
            + corner(top + 1, left) * fy * (1 - fx) + corner(top + 1, left + 1) * fy * fx)  # fmt: skip
    read = (read * scale.unsqueeze(2)).reshape(N, groups, C // groups * taps, oh * ow)
    out = jtorch.matmul(w.reshape(groups, w.shape[0] // groups, -1), read).reshape(N, w.shape[0], oh, ow)
    return out if b is None else out + b.reshape(-1, 1, 1)
