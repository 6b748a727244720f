"""``torch.ops.quantized_decomposed``: quantization with its grid as arguments, on ordinary tensors of integers.

Importing this registers the operations, as in PyTorch.
"""

from __future__ import annotations

import jtorch

#: The least and the greatest number of each dtype that quantized elements may have.
_BOUNDS = {
    d: (int(limits(d).min), int(limits(d).max))
    for limits, kinds in (
        (jtorch.iinfo, (jtorch.uint8, jtorch.int8, jtorch.uint16, jtorch.int16, jtorch.int32)),
        (jtorch.finfo, (jtorch.float8_e5m2, jtorch.float8_e4m3fn)),
    )
    for d in kinds
}


def _check_range(quant_min: int, quant_max: int, dtype) -> None:
    if dtype not in _BOUNDS:
        raise ValueError(f"Unsupported dtype: {dtype}, expected one of {list(_BOUNDS)}")
    low, high = _BOUNDS[dtype]
    if quant_min < low:
        raise AssertionError(f"quant_min out of bounds for {dtype}: {quant_min} is less than {low}")
    if quant_max > high:
        raise AssertionError(f"quant_max out of bounds for {dtype}: {quant_max} is greater than {high}")


def _along(numbers, input, axis: int):
    """One number for each index of dimension ``axis``, shaped to be broadcast with ``input``."""
    if axis >= input.dim():
        raise AssertionError(f"Expecting axis to be < {input.dim()}, got {axis}")
    return numbers.view([-1 if d == axis % input.dim() else 1 for d in range(input.dim())])


def _quantized(input, scale, zero_point, quant_min: int, quant_max: int, dtype):
    if input.dtype in (jtorch.float16, jtorch.bfloat16):
        input = input.to(jtorch.float32)
    if input.dtype is not jtorch.float32:
        raise AssertionError(f"Expecting input to have dtype torch.float32, but got dtype: {input.dtype}")
    _check_range(quant_min, quant_max, dtype)
    return jtorch.clamp(jtorch.round(input * (1.0 / scale)) + zero_point, quant_min, quant_max).to(dtype)


def _check_dtype(input, dtype) -> None:
    if input.dtype is not dtype:
        raise AssertionError(f"Expecting input to have dtype: {dtype}, but got dtype: {input.dtype}")


def quantize_per_tensor(input, scale, zero_point, quant_min: int, quant_max: int, dtype):
    """``clamp(round(input / scale) + zero_point, quant_min, quant_max)`` as ``dtype``; numbers or 0-d tensors.

    Raises:
        AssertionError: ``input`` is no float32, float16 or bfloat16, or the range is not within that of ``dtype``.
        ValueError: elements cannot be of ``dtype``.
    """
    return _quantized(input, scale, zero_point, quant_min, quant_max, dtype)


def dequantize_per_tensor(input, scale, zero_point, quant_min: int, quant_max: int, dtype, *, out_dtype=None):
    """``(input - zero_point) * scale`` in ``out_dtype`` (default: float32).

    Raises:
        AssertionError: ``input`` is not of ``dtype``.
        ValueError: elements cannot be of ``dtype``.
    """
    _check_dtype(input, dtype)
    if dtype not in _BOUNDS:
        raise ValueError(f"Unsupported dtype in dequantize_per_tensor: {dtype}, expected one of {list(_BOUNDS)}")
    return (input.to(out_dtype or jtorch.float32) - zero_point) * scale


def quantize_per_channel(input, scales, zero_points, axis: int, quant_min: int, quant_max: int, dtype):
    """:func:`quantize_per_tensor` with a scale and a zero point for each index of dimension ``axis``."""
    scales, zero_points = (_along(x, input, axis) for x in (scales, zero_points))
    return _quantized(input, scales, zero_points, quant_min, quant_max, dtype)


def dequantize_per_channel(
    input, scales, zero_points, axis: int, quant_min: int, quant_max: int, dtype, *, out_dtype=None
):
    """:func:`dequantize_per_tensor` with a scale and a zero point (None: 0) for each index of dimension ``axis``."""
    _check_dtype(input, dtype)
    _check_range(quant_min, quant_max, dtype)
    shifted = input if zero_points is None else input - _along(zero_points, input, axis)
    return (shifted * _along(scales, input, axis)).to(out_dtype or jtorch.float32)


_library = jtorch.library.Library("quantized_decomposed", "FRAGMENT")
for _function in (quantize_per_tensor, dequantize_per_tensor, quantize_per_channel, dequantize_per_channel):
    _library.impl(_function.__name__, _function)
