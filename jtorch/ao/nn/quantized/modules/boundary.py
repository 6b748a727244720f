"""Entering and leaving the integers."""

from __future__ import annotations

import jtorch
from jtorch import nn

from ....qtensor import QuantizedTensor, dequantize, quantize_per_tensor


class Quantize(nn.Module):
    """Floats to integers with a fixed scale and zero point."""

    def __init__(self, scale: float, zero_point: int, dtype):
        super().__init__()
        self.register_buffer("scale", jtorch.tensor([scale], dtype=jtorch.float32))
        self.register_buffer("zero_point", jtorch.tensor([zero_point], dtype=jtorch.int64))
        self.dtype = dtype

    def forward(self, X):  # noqa: N803 (PyTorch's name)
        return quantize_per_tensor(X, self.scale, self.zero_point, self.dtype)

    @classmethod
    def from_float(cls, mod) -> Quantize:
        """What a calibrated ``QuantStub`` becomes."""
        scale, zero_point = mod.activation_post_process.calculate_qparams()
        return cls(scale.item(), zero_point.item(), mod.activation_post_process.dtype)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, zero_point={self.zero_point}, dtype={self.dtype}"


class DeQuantize(nn.Module):
    """Integers to floats."""

    def forward(self, Xq):  # noqa: N803 (PyTorch's name)
        return dequantize(Xq)

    @classmethod
    def from_float(cls, mod) -> DeQuantize:
        """What a ``DeQuantStub`` becomes."""
        return cls()


def need_quantized(x, module) -> QuantizedTensor:
    """``x`` if it is quantized as ``module`` expects.

    Raises:
        RuntimeError: it is not, or in another dtype; the message says how to get there.
    """
    if not isinstance(x, QuantizedTensor):
        raise RuntimeError(
            f"{type(module).__name__}: expected a quantized input, but got {getattr(x, 'dtype', type(x).__name__)}; "
            "put a QuantStub before this layer (and prepare and convert the model again), or keep the layer in "
            "floating point by setting its qconfig to None before prepare()"
        )
    x._per_tensor(f"the input of {type(module).__name__}")
    if x.dtype is not module.dtype:
        raise RuntimeError(
            f"{type(module).__name__} was calibrated for activations of {module.dtype}, but its input is {x.dtype}; "
            "use the same activation dtype in every qconfig"
        )
    return x
