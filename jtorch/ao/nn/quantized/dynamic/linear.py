"""``Linear`` with int8 weights, between floats."""

from __future__ import annotations

import jtorch
from jtorch import nn
from jtorch.nn import functional as F

from .....tensor.dispatch import call
from .... import qtypes
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
        self, in_features: int, out_features: int, bias_: bool = True, dtype=qtypes.qint8, per_channel: bool = False,
        relu: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.in_features, self.out_features, self._relu = in_features, out_features, relu
        self.dtype = dtype
        if dtype is not jtorch.float16:
            self._allocate((out_features, in_features), bias_, per_channel)
            return
        self.register_buffer("half_weight", jtorch.zeros(out_features, in_features, dtype=dtype))
        self.register_buffer("float_bias", jtorch.zeros(out_features) if bias_ else None)

    def _derive(self) -> None:
        if self.dtype is not jtorch.float16:
            super()._derive()

    def set_weight_bias(self, w, b) -> None:
        """A quantized weight, or a float one for a layer of float16; and a float bias or None."""
        if self.dtype is not jtorch.float16:
            return super().set_weight_bias(w, b)
        most = jtorch.finfo(self.dtype).max
        self.half_weight = w.detach().clamp(-most, most).to(self.dtype)
        self.float_bias = None if b is None else b.detach().to(jtorch.float32)

    def weight(self):
        """The weight, quantized, or of float16 as float32."""
        return super().weight() if self.dtype is not jtorch.float16 else self.half_weight.to(jtorch.float32)

    def forward(self, x):
        if self.dtype is jtorch.float16:
            y = F.linear(x, self.weight(), self.float_bias)
            return F.relu(y) if self._relu else y
        return call(
            "_quantized_linear_dynamic", x, self._rows, self._row_sum, self.weight_scale, self.float_bias,
            relu=self._relu, reduce_range=True,
        )  # fmt: skip

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False):
        """What an ``nn.Linear`` (or fused ``LinearReLU``) with a dynamic ``qconfig`` becomes."""
        linear, relu = (mod[0], True) if isinstance(mod, LinearReLU) else (mod, False)
        if linear.weight.dtype is not jtorch.float32:
            raise RuntimeError(f"quantize_dynamic: expected a float32 weight, got {linear.weight.dtype}")
        observer = mod.qconfig.weight()
        half = observer.dtype is jtorch.float16
        dtype = jtorch.float16 if half else qtypes.qint8
        new = cls(linear.in_features, linear.out_features, linear.bias is not None, dtype, relu=relu)
        new.set_weight_bias(linear.weight if half else quantize_weight(linear.weight, observer), linear.bias)
        return new

    def _get_name(self) -> str:
        return "DynamicQuantizedLinearReLU" if self._relu else "DynamicQuantizedLinear"

    def extra_repr(self) -> str:
        text = f"in_features={self.in_features}, out_features={self.out_features}, dtype={self.dtype}"
        return text if self.dtype is jtorch.float16 else f"{text}, qscheme={self.weight().qscheme()}"
