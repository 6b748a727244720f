"""``Linear`` with int8 weights, between floats."""

from __future__ import annotations

import jtorch
from jtorch import nn

from .....tensor.dispatch import call
from ...intrinsic import LinearReLU
from ..modules.weighted import WeightedQuantizedModule, quantize_weight


class Linear(WeightedQuantizedModule):
    """``y = x Aᵀ + b`` with the input rounded to 7 bits over its range at each call, and the sums in int32.

    Args:
        in_features, out_features: sizes of the last dimension.
        bias_: whether there is a bias.
        per_channel: whether the weight has a scale for each output.
        relu: take ``max(y, 0)`` as well.
    """

    def __init__(
        self, in_features: int, out_features: int, bias_: bool = True, per_channel: bool = False, relu: bool = False
    ):
        super().__init__()
        self.in_features, self.out_features, self._relu = in_features, out_features, relu
        self._allocate((out_features, in_features), bias_, per_channel)

    def forward(self, x):
        return call(
            "_quantized_linear_dynamic", x, self._rows, self._row_sum, self.weight_scale, self.float_bias,
            relu=self._relu, reduce_range=True,
        )  # fmt: skip

    @classmethod
    def from_float(cls, mod: nn.Module):
        """What an ``nn.Linear`` (or fused ``LinearReLU``) with a dynamic ``qconfig`` becomes."""
        linear, relu = (mod[0], True) if isinstance(mod, LinearReLU) else (mod, False)
        if linear.weight.dtype is not jtorch.float32:
            raise RuntimeError(f"quantize_dynamic: expected a float32 weight, got {linear.weight.dtype}")
        new = cls(linear.in_features, linear.out_features, linear.bias is not None, relu=relu)
        new.set_weight_bias(quantize_weight(linear.weight, mod.qconfig.weight()), linear.bias)
        return new

    def _get_name(self) -> str:
        return "DynamicQuantizedLinearReLU" if self._relu else "DynamicQuantizedLinear"

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, dtype=torch.qint8, "
            f"qscheme={self.weight().qscheme()}"
        )
