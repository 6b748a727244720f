"""Float modules that keep the grid of what they are given: quantized in, quantized out; float in, float out."""

from __future__ import annotations

import copy

from jtorch import nn
from jtorch.nn import functional as F

from ....qtensor import QuantizedTensor
from .. import functional as qF


def _from_float(cls, mod, use_precomputed_fake_quant=False):
    """``mod`` as this class: same attributes, and a ``forward`` that takes quantized tensors too."""
    new = copy.copy(mod)
    new.__dict__ = {
        name: copy.copy(value) if isinstance(value, dict) else value for name, value in mod.__dict__.items()
    }
    new._forward_hooks.clear()
    new._forward_pre_hooks.clear()
    new.__class__ = cls
    return new


class ReLU(nn.ReLU):
    """``max(x, 0)``."""

    from_float = classmethod(_from_float)

    def forward(self, input):
        return qF.relu(input) if isinstance(input, QuantizedTensor) else super().forward(input)


class ReLU6(nn.ReLU):
    """``min(max(x, 0), 6)``."""

    def forward(self, input):
        return F.relu6(input)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant: bool = False):
        """What an ``nn.ReLU6`` becomes."""
        return cls(mod.inplace)

    def _get_name(self) -> str:
        return "QuantizedReLU6"


class MaxPool2d(nn.MaxPool2d):
    """The maximum of each window."""

    from_float = classmethod(_from_float)

    def forward(self, input):
        if not isinstance(input, QuantizedTensor):
            return super().forward(input)
        return qF.max_pool2d(input, *self._options())


class AvgPool2d(nn.AvgPool2d):
    """The mean of each window, rounded to the grid."""

    from_float = classmethod(_from_float)

    def forward(self, input):
        if not isinstance(input, QuantizedTensor):
            return super().forward(input)
        return input._through_float(super().forward)


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """The mean of windows that make an output of a given size, rounded to the grid."""

    from_float = classmethod(_from_float)

    def forward(self, input):
        if not isinstance(input, QuantizedTensor):
            return super().forward(input)
        return input._through_float(super().forward)


class Dropout(nn.Dropout):
    """The identity: quantized models are for inference."""

    from_float = classmethod(_from_float)

    def forward(self, input):
        return input

    def _get_name(self) -> str:
        return "QuantizedDropout"
