"""Convolutions in integers, in one to three dimensions, plain and transposed."""

from __future__ import annotations

from jtorch import nn
from jtorch.nn import functional as F
from jtorch.nn.modules.utils import _ntuple, _reverse_repeat_tuple

from .....tensor.dispatch import call
from ....qtensor import QuantizedTensor
from .boundary import need_quantized
from .weighted import WeightedQuantizedModule, float_parts


class _ConvNd(WeightedQuantizedModule):
    """What all of them share; dynamic ones too.

    Raises:
        ValueError: numbers of channels that do not fit, or a padding mode other than ``"zeros"`` and ``"reflect"``.
    """

    _n: int
    _relu = _transposed = False
    _float: type

    def _build(
        self, in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
        padding_mode, per_channel,
    ) -> None:  # fmt: skip
        spread = _ntuple(self._n)
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        modes = ("zeros",) if self._transposed or self._n == 3 else ("zeros", "reflect")
        if padding_mode not in modes:
            raise ValueError(f"'padding_mode' {padding_mode} is not supported by quantized convolution")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = spread(kernel_size), spread(stride), spread(dilation)
        self.padding = padding if isinstance(padding, str) else spread(padding)
        self.output_padding, self.transposed, self.padding_mode = spread(output_padding), self._transposed, padding_mode
        shape = (in_channels, out_channels // groups) if self._transposed else (out_channels, in_channels // groups)
        self._allocate((*shape, *self.kernel_size), bias, per_channel and not self._transposed, out_channels)

    def _matrix(self, weight):
        n, groups = self._n, self.groups
        if self._transposed:  # (I, O / groups, *K), turned, as a convolution's (O, I / groups, *K)
            weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flip(*range(2, n + 2))
        return weight.permute(0, *range(2, n + 2), 1).reshape(weight.size(0), -1).contiguous()

    def set_weight_bias(self, w: QuantizedTensor, b) -> None:
        if self._transposed and getattr(w, "_axis", None) is not None:
            raise AssertionError("Per channel weight observer is not supported yet for ConvTranspose{n}d.")
        super().set_weight_bias(w, b)

    def _weights(self) -> tuple:
        return self._rows, self._row_sum, self.weight_scale, self.float_bias

    def _options(self) -> dict:
        padding = self.padding if self.padding_mode == "zeros" else (0,) * self._n
        return dict(
            kernel=self.kernel_size, stride=self.stride, padding=padding, dilation=self.dilation,
            groups=self.groups, transposed=self._transposed, output_padding=self.output_padding,
        )  # fmt: skip

    def _reflected(self, input):
        if self.padding_mode == "zeros":
            return input
        return F.pad(input, _reverse_repeat_tuple(self.padding, 2), mode=self.padding_mode)

    def forward(self, input) -> QuantizedTensor:
        x = self._reflected(need_quantized(input, self))
        ints = call(
            "_quantized_conv", x._ints, x._scale, x._zero_point, *self._weights(), self.scale, self.zero_point,
            relu=self._relu, **self._options(),
        )  # fmt: skip
        return QuantizedTensor(ints, self.scale, self.zero_point, x.dtype)

    @classmethod
    def _like(cls, conv, has_bias: bool):
        """An instance with the sizes and options of a float layer."""
        tail = (conv.output_padding, conv.groups, has_bias, conv.dilation, conv.padding_mode)
        if not cls._transposed:
            tail = (conv.dilation, conv.groups, has_bias, conv.padding_mode)
        return cls(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, *tail)

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False):
        """What a calibrated convolution (fused or not) becomes."""
        if cls._transposed and getattr(mod.qconfig.weight(), "ch_axis", None) is not None:
            raise AssertionError("Per channel weight observer is not supported yet for ConvTranspose{n}d.")
        conv, weight, bias = float_parts(mod)
        new = cls._like(conv, bias is not None)
        new.set_weight_bias(weight, bias)
        new._observed_grid(mod.activation_post_process)
        return new

    @classmethod
    def from_reference(cls, ref_qconv, output_scale, output_zero_point):
        """What a reference layer becomes whose output has this grid."""
        new = cls._like(ref_qconv, ref_qconv.bias is not None)
        new.set_weight_bias(ref_qconv.get_quantized_weight(), ref_qconv.bias)
        new._set_grid(float(output_scale), int(output_zero_point))
        return new

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"{self._grid_repr()}"
        )
        nothing = (0,) * self._n
        if self.padding not in (nothing, "valid"):
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self._n:
            text += f", dilation={self.dilation}"
        if self.output_padding != nothing:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.float_bias is not None else text + ", bias=False"


class _Conv(_ConvNd):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, dilation=1, groups: int = 1,
        bias: bool = True, padding_mode: str = "zeros", device=None, dtype=None, per_channel: bool = True,
    ):  # fmt: skip
        super().__init__()
        self._build(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode,
            per_channel,
        )  # fmt: skip
        self._set_grid()


class _ConvTranspose(_ConvNd):
    _transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, output_padding=0, groups: int = 1,
        bias: bool = True, dilation=1, padding_mode: str = "zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        self._build(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
            padding_mode, False,
        )  # fmt: skip
        self._set_grid()


def _layer(base: type, n: int) -> type:
    name = f"{base.__name__[1:]}{n}d"
    doc = (
        f"``nn.{name}`` from 8-bit integers to 8-bit integers, as an int8 product with patches.\n\n"
        f"The arguments are those of ``nn.{name}``; the weight has a scale, or (not transposed) one for each output."
    )
    return type(name, (base,), {"_n": n, "_float": getattr(nn, name), "__doc__": doc, "__module__": __name__})


def _with_relu(conv: type) -> type:
    name = conv.__name__.replace("Conv", "ConvReLU")
    doc = f"``max({conv.__name__}(x), 0)``; the maximum costs nothing."
    return type(name, (conv,), {"_relu": True, "__doc__": doc, "__module__": __name__})


Conv1d, Conv2d, Conv3d = (_layer(_Conv, n) for n in (1, 2, 3))
ConvTranspose1d, ConvTranspose2d, ConvTranspose3d = (_layer(_ConvTranspose, n) for n in (1, 2, 3))
ConvReLU1d, ConvReLU2d, ConvReLU3d = map(_with_relu, (Conv1d, Conv2d, Conv3d))
