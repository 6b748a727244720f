"""Integer arithmetic, written as QuantizeLinear and DequantizeLinear around floating-point operators.

Runtimes fuse these patterns to integer kernels: onnxruntime makes ``QLinearConv`` of a Conv between pairs with 8-bit
weights per channel and a 32-bit bias.
"""

from __future__ import annotations

import numpy as np

import jtorch

from .builder import Value, short
from .table import axis_of, per_dim, refuse, translates

_RANGES = {(-128, 127): jtorch.int8, (0, 255): jtorch.uint8}


def _pair(g, scale, zero_point, dtype):
    """Scale and zero point as ONNX wants them: float32, and of the integers' type."""
    return g.const(_number(g, scale), jtorch.float32), g.const(_number(g, zero_point), dtype)


def _number(g, x):
    """A stored single number as a number; anything else as it is."""
    stored = g.initializers.get(x) if isinstance(x, Value) else None
    return stored.item() if stored is not None and stored.size == 1 else x


def _range_of(node, low: int, high: int):
    found = _RANGES.get((low, high))
    if found is None:
        refuse(node, f"a range of [{low}, {high}]: ONNX has [-128, 127] and [0, 255]")
    return found


# --- quantization that training simulates ----------------------------------------------------------------------------


@translates("fake_quantize_per_tensor_affine")
def _fake(g, node, input, scale, zero_point, quant_min, quant_max):
    scale, zero = _pair(g, scale, zero_point, _range_of(node, quant_min, quant_max))
    return g.DequantizeLinear(g.QuantizeLinear(input, scale, zero), scale, zero)


@translates("fake_quantize_per_channel_affine")
def _fake_channels(g, node, input, scale, zero_point, axis, quant_min, quant_max):
    scale, zero = _pair(g, scale, zero_point, _range_of(node, quant_min, quant_max))
    axis = axis_of(axis, input.ndim)
    return g.DequantizeLinear(g.QuantizeLinear(input, scale, zero, axis=axis), scale, zero, axis=axis)


# --- quantized models ------------------------------------------------------------------------------------------------


@translates("_quantize")
def _quantize(g, node, input, scale, zero_point, low, high, dtype, axis):
    scale, zero = _pair(g, scale, zero_point, dtype)
    if short(dtype) == "int32":
        refuse(node, "a tensor of qint32")
    axis = None if axis is None else axis_of(axis, input.ndim)
    if _RANGES.get((low, high)) is dtype:
        return g.QuantizeLinear(input, scale, zero, axis=axis)
    if axis is not None:
        refuse(node, f"channels with a range of [{low}, {high}]")
    bounds = (g.Mul(scale, g.const(float(b - zero_point), jtorch.float32)) for b in (low, high))
    return g.QuantizeLinear(g.Clip(input, *bounds), scale, zero)  # fewer bits: the values are clipped first


@translates("_dequantize")
def _dequantize(g, node, input, scale, zero_point, axis):
    scale, zero = _pair(g, scale, zero_point, input.dtype)
    return g.DequantizeLinear(input, scale, zero, axis=None if axis is None else axis_of(axis, input.ndim))


@translates("_quantized_relu")
def _quantized_relu(g, node, input, zero_point):
    return g.Max(input, g.const(zero_point, input.dtype))


def _stored(g, node, x, what: str) -> np.ndarray:
    if x not in g.initializers:
        refuse(node, f"{what} that is not a constant")
    return g.initializers[x]


def _weight(g, node, name, array, scales) -> str:
    """8-bit weights as DequantizeLinear gives them back, one scale a row."""
    zeros = g.const(np.zeros(array.shape[0], np.int8))
    return g.DequantizeLinear(name, g.const(scales.astype(np.float32).reshape(-1)), zeros, axis=0)


def _bias(g, node, bias, input_scale, scales):
    """The bias as 32-bit integers on the grid of the products, where runtimes look for it."""
    if bias is None:
        return None
    input_scale = _number(g, input_scale)
    if isinstance(input_scale, Value):
        refuse(node, "a scale that is computed by the model")
    grid = (np.float32(input_scale) * scales.astype(np.float32)).reshape(-1)
    steps = np.rint(_stored(g, node, bias, "a bias").astype(np.float64) / grid)
    whole = np.clip(steps, np.iinfo(np.int32).min, np.iinfo(np.int32).max).astype(np.int32)
    return g.DequantizeLinear(g.const(whole), g.const(grid), g.const(np.zeros(len(grid), np.int32)), axis=0)


def _spread(scales: np.ndarray, rows: int) -> np.ndarray:
    return np.broadcast_to(scales.reshape(-1), (rows,)) if scales.size == 1 else scales.reshape(-1)


@translates("_quantized_linear")
def _quantized_linear(
    g, node, input, input_scale, input_zero_point, weight, weight_sum, weight_scale, bias, scale, zero_point, relu
):  # fmt: skip
    array = _stored(g, node, weight, "a weight")
    scales = _spread(_stored(g, node, weight_scale, "a scale"), array.shape[0])
    x = g.DequantizeLinear(input, *_pair(g, input_scale, input_zero_point, input.dtype))
    w, b = _weight(g, node, weight, array, scales), _bias(g, node, bias, input_scale, scales)
    if input.ndim == 2:
        y = g.Gemm(x, w, b, transB=1)
    else:
        y = g.MatMul(x, g.transpose(w, [1, 0]))
        y = y if b is None else g.Add(y, b)
    y = g.Relu(y) if relu else y
    return g.QuantizeLinear(y, *_pair(g, scale, zero_point, input.dtype))


@translates("_quantized_conv")
def _quantized_conv(
    g, node, input, input_scale, input_zero_point, rows, row_sum, weight_scale, bias, scale, zero_point, kernel, stride,
    padding, dilation, groups, relu, transposed=False, output_padding=(),
):  # fmt: skip
    if transposed:
        refuse(node, "a quantized transposed convolution")
    array, n = _stored(g, node, rows, "a weight"), len(kernel)
    out = array.shape[0]
    array = np.ascontiguousarray(np.moveaxis(array.reshape(out, *kernel, -1), -1, 1))
    scales = _spread(_stored(g, node, weight_scale, "a scale"), out)
    if isinstance(padding, str):
        refuse(node, f"padding={padding!r}")
    x = g.DequantizeLinear(input, *_pair(g, input_scale, input_zero_point, input.dtype))
    batched = input.ndim == n + 2
    x = x if batched else g.unsqueeze(x, [0])
    w = _weight(g, node, g.initializer(f"{rows}.weight", array), array, scales)
    y = g.Conv(
        x, w, _bias(g, node, bias, input_scale, scales), kernel_shape=list(kernel), strides=per_dim(stride, n),
        pads=per_dim(padding, n) * 2, dilations=per_dim(dilation, n), group=groups,
    )  # fmt: skip
    y = g.Relu(y) if relu else y
    y = g.QuantizeLinear(y, *_pair(g, scale, zero_point, input.dtype))
    return y if batched else g.squeeze(Value(y), [0])


@translates("_quantized_linear_dynamic")
def _quantized_linear_dynamic(g, node, input, weight, weight_sum, weight_scale, bias, relu, reduce_range):
    """Without the rounding of the input where its range is reduced to 7 bits: ONNX's own takes all 8."""
    array = _stored(g, node, weight, "a weight")
    scales = _spread(_stored(g, node, weight_scale, "a scale"), array.shape[0])
    q, scale, zero = g.DynamicQuantizeLinear(input, _outputs=3)
    transposed = np.ascontiguousarray(array.T)
    acc = g.MatMulInteger(q, g.initializer(f"{weight}.transposed", transposed), zero)
    y = g.Mul(g.cast(Value(acc), jtorch.float32), g.Mul(scale, g.const(scales.astype(np.float32))))
    y = y if bias is None else g.Add(y, bias)
    return g.Relu(y) if relu else y
