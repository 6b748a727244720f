"""Matrix products, convolutions, pooling and attention."""

from __future__ import annotations

import math

import numpy as np

import jtorch

from .builder import Value, short
from .dims import Varying
from .table import axes_of, axis_of, per_dim, refuse, static, translates

# --- matrices --------------------------------------------------------------------------------------------------------


@translates("matmul", "mm", "bmm", "mv", "dot")
def _matmul(g, node, input, other=None, mat2=None, vec=None, tensor=None):
    return g.MatMul(input, next(x for x in (other, mat2, vec, tensor) if x is not None))


@translates("outer")
def _outer(g, node, input, vec2):
    return g.Mul(g.unsqueeze(input, [1]), g.unsqueeze(vec2, [0]))


def _plus(g, base, product, beta, alpha, dtype):
    """``beta base + alpha product``."""
    if alpha not in (None, 1):
        product = g.Mul(product, g.const(alpha, dtype))
    if beta == 0:
        return product
    return g.Add(base if beta in (None, 1) else g.Mul(base, g.const(beta, dtype)), product)


@translates("addmm", "addmv", "baddbmm", "addbmm")
def _addmm(g, node, input, beta, alpha, **factors):
    a, b = factors.values()
    product = g.MatMul(a, b)
    if node.name == "addbmm":
        product = g.reduce("Sum", product, [0], False)
    return _plus(g, input, product, beta, alpha, input.dtype)


@translates("_einsum")
def _einsum(g, node, operands, equation):
    return g.node("Einsum", operands, equation=equation.replace(" ", ""))


@translates("tensordot")
def _tensordot(g, node, a, b, dims):
    letters = "abcdefghijklmnopqrstuvwxyz"
    if isinstance(dims, int):
        dims = (tuple(range(a.ndim - dims, a.ndim)), tuple(range(dims)))
    left = list(letters[: a.ndim])
    right = list(letters[a.ndim : a.ndim + b.ndim])
    for i, j in zip(axes_of(dims[0], a.ndim), axes_of(dims[1], b.ndim), strict=True):
        right[j] = left[i]
    gone = {left[i] for i in axes_of(dims[0], a.ndim)}
    out = [c for c in (*left, *right) if c not in gone]
    return g.node("Einsum", [a, b], equation=f"{''.join(left)},{''.join(right)}->{''.join(out)}")


@translates("linear")
def _linear(g, node, input, weight, bias):
    if input.ndim == 2 and weight.ndim == 2 and (bias is None or bias.ndim == 1):
        return g.Gemm(input, weight, bias, transB=1)
    out = g.MatMul(input, g.transpose(weight, [1, 0]) if weight.ndim == 2 else weight)
    return out if bias is None else g.Add(out, bias)


@translates("bilinear")
def _bilinear(g, node, input1, input2, weight, bias):
    lead = "abcdefgh"[: input1.ndim - 1]
    out = g.node("Einsum", [input1, weight, input2], equation=f"{lead}i,oij,{lead}j->{lead}o")
    return out if bias is None else g.Add(out, bias)


@translates("inner")
def _inner(g, node, input, other):
    if not input.ndim or not other.ndim:
        return g.Mul(input, other)
    left, right = "abcdefgh"[: input.ndim - 1], "ijklmnop"[: other.ndim - 1]
    return g.node("Einsum", [input, other], equation=f"{left}z,{right}z->{left}{right}")


@translates("addr")
def _addr(g, node, input, vec1, vec2, beta, alpha):
    return _plus(g, input, g.Mul(g.unsqueeze(vec1, [1]), g.unsqueeze(vec2, [0])), beta, alpha, input.dtype)


@translates("vecdot")
def _vecdot(g, node, x, y, dim):
    return g.reduce("Sum", g.Mul(x, y), [axis_of(dim, len(node.outputs[0].shape) + 1)], False)


@translates("multi_dot")
def _multi_dot(g, node, tensors):
    out = tensors[0]
    for x in tensors[1:]:
        out = g.MatMul(out, x)
    return out


@translates("trace")
def _trace(g, node, input):
    static(node, shape=input.shape)
    rows, columns = input.shape
    at = np.arange(min(rows, columns), dtype=np.int64) * (columns + 1)
    diagonal = g.Gather(g.Reshape(input, g.ints([-1])), g.const(at), axis=0)
    total = g.reduce("Sum", diagonal, [0], False)
    return g.cast(Value(total, input.dtype, ()), node.outputs[0].dtype)


@translates("det")
def _det(g, node, A):
    return g.Det(A)


@translates("cross", "linalg_cross")
def _cross(g, node, input, other, dim):
    shape = node.outputs[0].shape
    axis = next(d for d, n in enumerate(shape) if n == 3) if dim is None else axis_of(dim, len(shape))
    a, b = (g.expand(x, shape) for x in (input, other))

    def rolled(x, first):
        return g.Gather(x, g.const(np.array([first, (first + 1) % 3, (first + 2) % 3], np.int64)), axis=axis)

    return g.Sub(g.Mul(rolled(a, 1), rolled(b, 2)), g.Mul(rolled(a, 2), rolled(b, 1)))


# --- convolutions ----------------------------------------------------------------------------------------------------


def _batched(g, input, n: int):
    """The input with a batch dimension, and whether one was added."""
    return (g.unsqueeze(input, [0]), True) if input.ndim == n + 1 else (input, False)


def _unbatched(g, out, added: bool):
    return g.squeeze(out, [0]) if added else out


def _convolution(n: int):
    @translates(f"conv{n}d")
    def conv(g, node, input, weight, bias, stride, padding, dilation, groups):
        x, added = _batched(g, input, n)
        kernel, dilations = list(weight.shape[2:]), per_dim(dilation, n)
        if isinstance(padding, str):
            total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilations, kernel, strict=True)]
            pads = [t // 2 for t in total] + [t - t // 2 for t in total]
        else:
            pads = per_dim(padding, n) * 2
        out = g.Conv(x, weight, bias, kernel_shape=kernel, strides=per_dim(stride, n), pads=pads,
                     dilations=dilations, group=groups)  # fmt: skip
        return _unbatched(g, out, added)

    @translates(f"conv_transpose{n}d")
    def conv_transpose(g, node, input, weight, bias, stride, padding, output_padding, groups, dilation):
        x, added = _batched(g, input, n)
        out = g.ConvTranspose(
            x, weight, bias, kernel_shape=list(weight.shape[2:]), strides=per_dim(stride, n),
            pads=per_dim(padding, n) * 2, output_padding=per_dim(output_padding, n), dilations=per_dim(dilation, n),
            group=groups,
        )  # fmt: skip
        return _unbatched(g, out, added)


# --- pooling ---------------------------------------------------------------------------------------------------------


def _pooling(n: int):
    @translates(f"max_pool{n}d")
    def max_pool(g, node, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
        kernel = per_dim(kernel_size, n)
        x, added = _batched(g, input, n)
        attributes = dict(
            kernel_shape=kernel, strides=per_dim(kernel if stride in (None, ()) else stride, n),
            pads=per_dim(padding, n) * 2, dilations=per_dim(dilation, n), ceil_mode=int(ceil_mode),
        )  # fmt: skip
        if not return_indices:
            return _unbatched(g, g.MaxPool(x, **attributes), added)
        # ONNX counts positions through the whole tensor, PyTorch within a channel
        values, at = g.MaxPool(x, _outputs=2, **attributes)
        plane = input.shape[-n:]
        if any(isinstance(s, Varying) for s in plane):
            refuse(node, "return_indices=True over a dynamic size")
        at = g.Mod(at, g.const(np.array(math.prod(plane), np.int64)))
        return _unbatched(g, values, added), _unbatched(g, at, added)

    @translates(f"avg_pool{n}d")
    def avg_pool(g, node, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None):
        kernel = per_dim(kernel_size, n)
        x, added = _batched(g, input, n)
        out = g.AveragePool(
            x, kernel_shape=kernel, strides=per_dim(kernel if stride in (None, ()) else stride, n),
            pads=per_dim(padding, n) * 2, ceil_mode=int(ceil_mode),
            count_include_pad=int(count_include_pad or divisor_override is not None),
        )  # fmt: skip
        if divisor_override is not None:
            if ceil_mode:
                refuse(node, "divisor_override with ceil_mode")
            out = g.Mul(out, g.scalar(math.prod(kernel) / divisor_override, input))
        return _unbatched(g, out, added)

    @translates(f"adaptive_avg_pool{n}d", f"adaptive_max_pool{n}d")
    def adaptive(g, node, input, output_size, return_indices=False):
        if return_indices:
            refuse(node, "return_indices=True")
        mean = "avg" in node.name
        sizes, wanted = input.shape[-n:], node.outputs[0].shape[-n:]
        if all(w == 1 for w in wanted):
            x, added = _batched(g, input, n)
            return _unbatched(g, g.GlobalAveragePool(x) if mean else g.GlobalMaxPool(x), added)
        if sizes == wanted:
            return g.Identity(input)
        static(node, sizes=sizes, output_size=wanted)
        if any(s % w for s, w in zip(sizes, wanted, strict=True)):
            refuse(node, f"an output of {list(wanted)} does not divide the input's {list(sizes)}, and ONNX's pooling "
                         "windows are all of one size")  # fmt: skip
        kernel = [s // w for s, w in zip(sizes, wanted, strict=True)]
        x, added = _batched(g, input, n)
        out = g.node("AveragePool" if mean else "MaxPool", [x], kernel_shape=kernel, strides=kernel)
        return _unbatched(g, out, added)

    @translates(f"lp_pool{n}d")
    def lp_pool(g, node, input, norm_type, kernel_size, stride, ceil_mode):
        if norm_type not in (1, 2):
            refuse(node, "a norm other than 1 and 2")
        kernel = per_dim(kernel_size, n)
        x, added = _batched(g, input, n)
        out = g.LpPool(x, kernel_shape=kernel, p=int(norm_type), ceil_mode=int(ceil_mode),
                       strides=per_dim(kernel if stride in (None, ()) else stride, n))  # fmt: skip
        return _unbatched(g, out, added)


for _n in (1, 2, 3):
    _convolution(_n)
    _pooling(_n)


@translates("interpolate")
def _interpolate(g, node, input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias):
    shape = node.outputs[0].shape
    if mode not in ("nearest", "nearest-exact") and not short(input.dtype).startswith(("float", "bfloat")):
        refuse(node, f"mode={mode!r} of a tensor of {input.dtype}")
    if mode == "area":
        refuse(node, "mode='area'; use adaptive_avg_pool2d")
    kind = {"nearest": "nearest", "nearest-exact": "nearest", "bicubic": "cubic"}.get(mode, "linear")
    if kind == "nearest":
        where, rounding = ("half_pixel", "round_prefer_ceil") if mode == "nearest-exact" else ("asymmetric", "floor")
    else:
        where, rounding = ("align_corners" if align_corners else "pytorch_half_pixel"), None
        where = where if align_corners or kind == "linear" else "half_pixel"
    scales = sizes = None
    if scale_factor is not None and not recompute_scale_factor:
        factors = [
            float(s) for s in (scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * (input.ndim - 2))
        ]
        scales = g.const(np.array([1.0, 1.0, *factors], np.float32))
    else:
        sizes = g.ints(shape)
    return g.Resize(
        input, None, scales, sizes, mode=kind, coordinate_transformation_mode=where, nearest_mode=rounding,
        cubic_coeff_a=(-0.5 if antialias else -0.75) if kind == "cubic" else None, 
        antialias=1 if antialias else None, exclude_outside=1 if antialias else None,
    )  # fmt: skip


@translates("affine_grid")
def _affine_grid(g, node, theta, size, align_corners):
    if align_corners and 1 in size[2:]:
        refuse(node, "align_corners=True with a size of 1, which ONNX places elsewhere")
    return g.AffineGrid(theta, g.ints(size), align_corners=int(bool(align_corners)))


@translates("fold")
def _fold(g, node, input, output_size, kernel_size, dilation, padding, stride):
    x, added = (input, False) if input.ndim == 3 else (g.unsqueeze(input, [0]), True)
    out = g.Col2Im(
        x, g.ints(per_dim(output_size, 2)), g.ints(per_dim(kernel_size, 2)), dilations=per_dim(dilation, 2),
        pads=per_dim(padding, 2) * 2, strides=per_dim(stride, 2),
    )  # fmt: skip
    return _unbatched(g, out, added)


@translates("unfold")
def _unfold(g, node, input, kernel_size, dilation, padding, stride):
    """Patches as a convolution with a filter for each tap and channel: nothing is known but sizes that may vary."""
    if short(input.dtype) not in ("float32", "float64", "float16"):
        refuse(node, f"a tensor of {input.dtype}")
    x, added = _batched(g, input, 2)
    channels, (kh, kw) = input.shape[-3], per_dim(kernel_size, 2)
    static(node, channels=channels)
    taps = np.tile(np.eye(kh * kw).reshape(kh * kw, 1, kh, kw), (channels, 1, 1, 1))
    y = g.Conv(
        x, g.const(taps, input.dtype), kernel_shape=[kh, kw], strides=per_dim(stride, 2), pads=per_dim(padding, 2) * 2,
        dilations=per_dim(dilation, 2), group=channels,
    )  # fmt: skip
    y = g.Reshape(y, g.const(np.array([0, channels * kh * kw, -1], np.int64)))
    return _unbatched(g, y, added)


@translates("grid_sample")
def _grid_sample(g, node, input, grid, mode, padding_mode, align_corners):
    kind = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode) if g.opset >= 20 else mode
    return g.GridSample(input, grid, mode=kind, padding_mode=padding_mode, align_corners=int(bool(align_corners)))


# --- attention -------------------------------------------------------------------------------------------------------


@translates("_sdpa")
def _sdpa(g, node, query, key, value, attn_mask, dropout_mask, dropout_scale, is_causal, scale, enable_gqa):
    if dropout_mask is not None:
        refuse(node, "the model is in training mode and drops attention; call model.eval() first")
    dtype = query.dtype
    width = query.shape[-1]
    static(node, width=width)
    scale = 1 / math.sqrt(width) if scale is None else scale
    masked = attn_mask is not None and short(attn_mask.dtype) == "bool"
    if g.opset >= 23 and query.ndim == 4 and key.ndim == 4 and not masked:
        return g.Attention(query, key, value, attn_mask, is_causal=int(is_causal), scale=float(scale))
    if enable_gqa:
        key, value = (_repeated_heads(g, node, x, query.shape[-3]) for x in (key, value))
    order = [*range(key.ndim - 2), key.ndim - 1, key.ndim - 2]
    scores = g.MatMul(g.Mul(query, g.const(scale, dtype)), g.transpose(key, order))
    low = g.const(-np.inf, dtype)
    keep = None
    if is_causal:
        one = g.const(np.ones((1, 1), np.int64))
        keep = g.cast(g.Trilu(g.Expand(one, g.ints([query.shape[-2], key.shape[-2]])), upper=0), jtorch.bool)
    elif masked:
        keep = attn_mask
    elif attn_mask is not None:
        scores = g.Add(scores, attn_mask)
    if keep is not None:
        scores = g.Where(keep, scores, low)
    weights = g.Softmax(scores, axis=-1)
    if masked:  # a row that is masked out wholly gives 0, not NaN
        weights = g.Where(keep, weights, g.const(0, dtype))
    return g.MatMul(weights, value)


def _repeated_heads(g, node, x, heads):
    shared = x.shape[-3]
    static(node, heads=heads, shared=shared)
    if shared == heads:
        return x
    axis = x.ndim - 3
    repeated = g.Tile(
        g.unsqueeze(x, [axis + 1]), g.ints([heads // shared if d == axis + 1 else 1 for d in range(x.ndim + 1)])
    )
    shape = (*x.shape[:-3], heads, *x.shape[-2:])
    return Value(g.reshape(Value(repeated), shape), x.dtype, shape)
