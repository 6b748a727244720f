"""Functions of quantized tensors that stay on the input's grid."""

from __future__ import annotations

from jtorch.nn import functional as F

from ...qtensor import QuantizedTensor


def _need(x, what: str) -> QuantizedTensor:
    if not isinstance(x, QuantizedTensor):
        raise ValueError(f"Input to '{what}' must be quantized, got {type(x).__name__}; quantize it first")
    return x


def relu(input: QuantizedTensor, inplace: bool = False) -> QuantizedTensor:
    """``max(x, 0)``. ``inplace`` is accepted and changes nothing: the result is returned."""
    return _need(input, "quantized.relu").relu()


def max_pool2d(
    input: QuantizedTensor, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
) -> QuantizedTensor:
    """The maximum of each window, of the integers.

    Raises:
        NotImplementedError: ``return_indices``.
    """
    if return_indices:
        raise NotImplementedError("return_indices is not yet implemented for quantized max_pool2d; dequantize() first")
    x = _need(input, "quantized.max_pool2d")
    return x._move(lambda q: F.max_pool2d(q, kernel_size, stride, padding, dilation, ceil_mode))


def avg_pool2d(
    input: QuantizedTensor, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
    divisor_override=None,
) -> QuantizedTensor:  # fmt: skip
    """The mean of each window, rounded to the input's grid."""
    x = _need(input, "quantized.avg_pool2d")
    return x._through_float(
        lambda v: F.avg_pool2d(v, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    )


def adaptive_avg_pool2d(input: QuantizedTensor, output_size) -> QuantizedTensor:
    """The mean of windows that make an output of ``output_size``, rounded to the input's grid."""
    return _need(input, "quantized.adaptive_avg_pool2d")._through_float(lambda v: F.adaptive_avg_pool2d(v, output_size))
