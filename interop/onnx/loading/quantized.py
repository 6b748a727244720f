"""Integer arithmetic: quantization, and products of 8-bit tensors, computed exactly."""

from __future__ import annotations

from onnx import helper

import jtorch

from .layers import conv
from .pointwise import convert, narrowed
from .registry import DTYPES, dtype_of, handles, host, is_narrow, tensor


def _along(v, x, axis: int, block: int):
    """A scale or zero point shaped to broadcast against ``x``: one number, one per ``axis``, or one per block."""
    if v is None or v.numel() == 1 and v.dim() <= 1:
        return v if v is None else v.reshape(())
    axis %= x.dim()
    if v.dim() == 1 and not block:
        return v.reshape([-1 if d == axis else 1 for d in range(x.dim())])
    block = block or -(-x.shape[axis] // v.shape[axis])
    return v.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])


@handles("QuantizeLinear", host="all")
def quantize(n, x, scale, zero=None):
    axis, block, device = n.get("axis", 1), n.get("block_size", 0), n.interpreter.device
    x, scale = tensor(x, device), tensor(scale, device)
    if is_narrow(zero) or zero is None and n.get("output_dtype") and n.get("output_dtype") not in DTYPES:
        return _quantize_narrow(n, x, scale, zero, axis, block)
    zero = tensor(zero, device)
    target = zero.dtype if zero is not None else dtype_of(n.get("output_dtype") or 2)
    s, z = _along(scale, x, axis, block), _along(zero, x, axis, block)
    y = x / s if x.is_floating_point() else x.to(s.dtype) / s
    if "float8" in str(target):
        return convert(n, y if z is None else y + z.to(y.dtype), _number(target), bool(n.get("saturate", 1)))
    y = jtorch.round(y.to(jtorch.float64))
    y = y if z is None else y + z.to(jtorch.float64)
    info = jtorch.iinfo(target)
    return jtorch.clamp(y, info.min, info.max).to(target)


def _quantize_narrow(n, x, scale, zero, axis, block):
    """To a type narrower than a byte: the result stays on the host."""
    number = n.get("output_dtype") or helper.np_dtype_to_tensor_dtype(zero.dtype)
    y = (x / _along(scale, x, axis, block)).double()
    if "int" in str(helper.tensor_dtype_to_np_dtype(number)):
        name = str(helper.tensor_dtype_to_np_dtype(number))
        bits = int(name[-1])
        low, high = (0, 2**bits - 1) if name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        y = jtorch.round(y)
        y = y if zero is None else y + _along(tensor(zero), x, axis, block).double()
        return narrowed(host(jtorch.clamp(y, low, high)), number)
    return narrowed(host(y.float()), number)


def _number(dtype) -> int:
    return next(k for k, v in DTYPES.items() if v is dtype)


@handles("DequantizeLinear")
def dequantize(n, x, scale, zero=None):
    axis, block = n.get("axis", 1), n.get("block_size", 0)
    s, z = _along(scale, x, axis, block), _along(zero, x, axis, block)
    if x.is_floating_point():
        return x.to(s.dtype) * s
    wide = x.to(jtorch.int64)
    return ((wide if z is None else wide - z.to(jtorch.int64)).to(s.dtype) * s).to(s.dtype)


@handles("DynamicQuantizeLinear")
def dynamic_quantize(n, x):
    low, high = jtorch.clamp(x.amin(), max=0), jtorch.clamp(x.amax(), min=0)
    scale = (high - low) / 255
    zero = jtorch.round(jtorch.clamp(-low / scale, 0, 255))
    y = jtorch.clamp(jtorch.round(x / scale) + zero, 0, 255)
    return y.to(jtorch.uint8), scale, zero.to(jtorch.uint8)


def _centred(x, zero, axis: int | None):
    wide = x.to(jtorch.int32)
    if zero is None:
        return wide
    zero = zero.to(jtorch.int32)
    if zero.numel() > 1 and zero.dim() == 1 and axis is not None:
        zero = zero.reshape([-1 if d == axis % x.dim() else 1 for d in range(x.dim())])
    return wide - (zero.reshape(()) if zero.numel() == 1 else zero)


@handles("MatMulInteger")
def matmul_integer(n, a, b, za=None, zb=None):
    return jtorch.matmul(_centred(a, za, -2), _centred(b, zb, -1))


@handles("QLinearMatMul")
def qlinear_matmul(n, a, sa, za, b, sb, zb, sy, zy):
    product = jtorch.matmul(_centred(a, za, -2), _centred(b, zb, -1))
    return _requantized(product, sa.double() * sb.double() / sy.double(), zy)


def _requantized(y, scale, zero):
    info = jtorch.iinfo(zero.dtype)
    out = jtorch.round(y.double() * scale) + zero.double()
    return jtorch.clamp(out, info.min, info.max).to(zero.dtype)


@handles("ConvInteger")
def conv_integer(n, x, w, zx=None, zw=None):
    out = conv(n, _centred(x, zx, None).double(), _centred(w, zw, 0).double())
    return jtorch.round(out).to(jtorch.int32)


@handles("QLinearConv")
def qlinear_conv(n, x, sx, zx, w, sw, zw, sy, zy, b=None):
    out = conv(n, _centred(x, zx, None).double(), _centred(w, zw, 0).double(), None if b is None else b.double())
    scale = sx.double() * sw.double() / sy.double()
    scale = scale.reshape([-1 if d == 1 else 1 for d in range(out.dim())]) if scale.numel() > 1 else scale.reshape(())
    return _requantized(out, scale, zy)
