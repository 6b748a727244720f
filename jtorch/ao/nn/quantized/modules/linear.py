"""``Linear`` in integers."""

from __future__ import annotations

import jtorch
from jtorch import nn

from .....tensor.dispatch import call
from .... import qtypes
from ....qtensor import QuantizedTensor, quantize_per_tensor
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

    def __init__(
        self, in_features: int, out_features: int, bias_: bool = True, dtype=qtypes.qint8, per_channel: bool = True
    ):
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
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False):
        """What a calibrated ``nn.Linear`` (or fused ``LinearReLU``) becomes."""
        linear, weight, bias = float_parts(mod)
        new = cls._like(mod, linear, bias is not None)
        new.set_weight_bias(weight, bias)
        new._observed_grid(mod.activation_post_process)
        return new

    @classmethod
    def _like(cls, mod: nn.Module, linear, has_bias: bool):
        return cls(linear.in_features, linear.out_features, has_bias)

    @classmethod
    def from_reference(cls, ref_qlinear, output_scale, output_zero_point):
        """What a reference layer becomes whose output has this grid."""
        linear = ref_qlinear[0] if isinstance(ref_qlinear, nn.Sequential) else ref_qlinear
        new = cls._like(ref_qlinear, linear, linear.bias is not None)
        new.set_weight_bias(linear.get_quantized_weight(), linear.bias)
        new._set_grid(float(output_scale), int(output_zero_point))
        return new

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, {self._grid_repr()}, "
            f"qscheme={self.weight().qscheme()}"
        )


class LinearReLU(Linear):
    """``max(x Aᵀ + b, 0)``; the maximum costs nothing."""

    _relu = True


class _Activated(Linear):
    """A linear layer and an activation of its float results, rounded once."""

    def forward(self, x) -> QuantizedTensor:
        x = need_quantized(x, self)
        a, scale = x.int_repr().to(jtorch.int32) - x.q_zero_point(), x.q_scale() * self.weight_scale
        real = jtorch.nn.functional.linear(a.to(jtorch.float64), self.int_weight.to(jtorch.float64)) * scale
        real = real if self.float_bias is None else real + self.float_bias
        return quantize_per_tensor(self._activation(real.to(jtorch.float32)), self.scale, self.zero_point, x.dtype)


class LinearLeakyReLU(_Activated):
    """``x Aᵀ + b``, times ``negative_slope`` below 0."""

    def __init__(self, in_features: int, out_features: int, negative_slope, bias: bool = True, dtype=qtypes.qint8):
        super().__init__(in_features, out_features, bias, dtype)
        self.negative_slope = negative_slope

    def _activation(self, x):
        return jtorch.nn.functional.leaky_relu(x, self.negative_slope)

    @classmethod
    def _like(cls, mod, linear, has_bias: bool):
        return cls(linear.in_features, linear.out_features, mod[1].negative_slope, has_bias)


class LinearTanh(_Activated):
    """``tanh(x Aᵀ + b)``."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype=qtypes.qint8):
        super().__init__(in_features, out_features, bias, dtype)

    def _activation(self, x):
        return jtorch.tanh(x)
