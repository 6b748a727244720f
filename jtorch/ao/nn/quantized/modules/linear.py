"""``Linear`` in integers."""

from __future__ import annotations

from jtorch import nn

from .....tensor.dispatch import call
from ....qtensor import QuantizedTensor
from .boundary import need_quantized
from .weighted import WeightedQuantizedModule, float_parts


class Linear(WeightedQuantizedModule):
    """``y = x Aᵀ + b``, from 8-bit integers to 8-bit integers; the sums are exact, in int32.

    Args:
        in_features, out_features: sizes of the last dimension.
        bias_: whether there is a bias (it stays in floating point).
        per_channel: whether the weight has a scale for each output.
    """

    _relu = False

    def __init__(self, in_features: int, out_features: int, bias_: bool = True, per_channel: bool = True):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._allocate((out_features, in_features), bias_, per_channel)
        self._set_grid()

    def forward(self, x) -> QuantizedTensor:
        x = need_quantized(x, self)
        ints = call(
            "_quantized_linear", x._ints, x._scale, x._zero_point, self._rows, self._row_sum, self.weight_scale,
            self.float_bias, self.scale, self.zero_point, relu=self._relu,
        )  # fmt: skip
        return QuantizedTensor(ints, self.scale, self.zero_point, x.dtype)

    @classmethod
    def from_float(cls, mod: nn.Module):
        """What a calibrated ``nn.Linear`` (or fused ``LinearReLU``) becomes."""
        linear, weight, bias = float_parts(mod)
        new = cls(linear.in_features, linear.out_features, bias is not None)
        new.set_weight_bias(weight, bias)
        new._observed_grid(mod.activation_post_process)
        return new

    def _get_name(self) -> str:
        return "QuantizedLinear"

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, {self._grid_repr()}, "
            f"qscheme={self.weight().qscheme()}"
        )


class LinearReLU(Linear):
    """``max(x Aᵀ + b, 0)``; the maximum costs nothing."""

    _relu = True

    def _get_name(self) -> str:
        return "QuantizedLinearReLU"
