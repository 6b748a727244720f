"""``Conv2d`` in integers."""

from __future__ import annotations

from jtorch import nn
from jtorch.nn.modules.utils import _pair

from .....tensor.dispatch import call
from ....qtensor import QuantizedTensor
from .boundary import need_quantized
from .weighted import WeightedQuantizedModule, float_parts


class Conv2d(WeightedQuantizedModule):
    """``conv2d`` from 8-bit integers to 8-bit integers, as an int8 product with patches.

    The arguments are those of ``nn.Conv2d``, and ``per_channel``: whether the weight has a scale for each output
    channel.

    Raises:
        NotImplementedError: a ``padding_mode`` other than ``"zeros"``.
    """

    _relu = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, dilation=1, groups: int = 1,
        bias: bool = True, padding_mode: str = "zeros", per_channel: bool = True,
    ):  # fmt: skip
        super().__init__()
        if padding_mode != "zeros":
            raise NotImplementedError(f"quantized Conv2d supports padding_mode='zeros', got '{padding_mode}'")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = _pair(kernel_size), _pair(stride), _pair(dilation)
        self.padding = padding if isinstance(padding, str) else _pair(padding)
        self.padding_mode = padding_mode
        self._allocate((out_channels, in_channels // groups, *self.kernel_size), bias, per_channel)
        self._set_grid()

    def _matrix(self, weight):
        return weight.permute(0, 2, 3, 1).reshape(weight.size(0), -1).contiguous()

    def forward(self, input) -> QuantizedTensor:
        x = need_quantized(input, self)
        ints = call(
            "_quantized_conv2d", x._ints, x._scale, x._zero_point, self._rows, self._row_sum, self.weight_scale,
            self.float_bias, self.scale, self.zero_point, kernel=self.kernel_size, stride=self.stride,
            padding=self.padding, dilation=self.dilation, groups=self.groups, relu=self._relu,
        )  # fmt: skip
        return QuantizedTensor(ints, self.scale, self.zero_point, x.dtype)

    @classmethod
    def from_float(cls, mod: nn.Module):
        """What a calibrated ``nn.Conv2d`` (or fused ``ConvReLU2d``) becomes."""
        conv, weight, bias = float_parts(mod)
        new = cls(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
            conv.groups, bias is not None, conv.padding_mode,
        )  # fmt: skip
        new.set_weight_bias(weight, bias)
        new._observed_grid(mod.activation_post_process)
        return new

    def _get_name(self) -> str:
        return "QuantizedConv2d"

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"{self._grid_repr()}"
        )
        if self.padding not in ((0, 0), "valid"):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.float_bias is not None else text + ", bias=False"


class ConvReLU2d(Conv2d):
    """``max(conv2d(x), 0)``; the maximum costs nothing."""

    _relu = True

    def _get_name(self) -> str:
        return "QuantizedConvReLU2d"
