"""Convolutions and transposed convolutions in one to three dimensions."""

from __future__ import annotations

import math

import jtorch

from .. import functional as F
from .. import init
from ..parameter import Parameter
from .module import Module
from .utils import _ntuple


class _ConvNd(Module):
    """What all convolutions share.

    Attributes:
        weight: ``(out, in / groups, *kernel)``, transposed ``(in, out / groups, *kernel)``; uniform on ±1/√fan_in.
        bias: ``(out,)``, likewise, or None.
    """

    __constants__ = [
        "stride", "padding", "dilation", "groups", "padding_mode", "output_padding", "in_channels", "out_channels",
        "kernel_size",
    ]  # fmt: skip
    _n: int
    _transposed = False

    def _build(
        self, in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
        padding_mode, device, dtype,
    ) -> None:  # fmt: skip
        spread = _ntuple(self._n)
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError(f"in_channels ({in_channels}) must be divisible by groups ({groups})")
        if out_channels % groups:
            raise ValueError(f"out_channels ({out_channels}) must be divisible by groups ({groups})")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = spread(kernel_size), spread(stride)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
            self.padding = padding
        else:
            self.padding = spread(padding)
        self.dilation = spread(dilation)
        self.transposed = self._transposed
        self.output_padding = spread(output_padding)
        self.groups = groups
        modes = ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in modes:
            raise ValueError(f"padding_mode must be one of {set(modes)}, but got padding_mode={padding_mode!r}")
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._pad_list()
        shape = (in_channels, out_channels // groups) if self._transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(jtorch.empty((*shape, *self.kernel_size), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(jtorch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _pad_list(self) -> list[int]:
        """The padding as ``F.pad`` wants it: the last dimension first, both ends."""
        if not isinstance(self.padding, str):
            return [p for p in reversed(self.padding) for _ in (0, 1)]
        pads = []
        for dilation, size in zip(reversed(self.dilation), reversed(self.kernel_size), strict=True):
            total = dilation * (size - 1) if self.padding == "same" else 0
            pads += [total // 2, total - total // 2]
        return pads

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._fans(self.weight)
            if fan_in:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        n = self._n
        s = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * n:
            s += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            s += f", dilation={self.dilation}"
        if self.output_padding != (0,) * n:
            s += f", output_padding={self.output_padding}"
        if self.groups != 1:
            s += f", groups={self.groups}"
        if self.bias is None:
            s += ", bias=False"
        if self.padding_mode != "zeros":
            s += f", padding_mode={self.padding_mode}"
        return s

    def __setstate__(self, state) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("padding_mode", "zeros")


class _Conv(_ConvNd):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, dilation=1, groups: int = 1,
        bias: bool = True, padding_mode: str = "zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        self._build(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip

    def _conv_forward(self, input, weight, bias):
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        return self._function(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input):
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Cross-correlation over ``(N, C, L)`` or ``(C, L)``.

    Args:
        padding: a number, one per dimension, ``"same"`` or ``"valid"``.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Raises:
        ValueError: channels not divisible by ``groups``, or an unknown padding.
    """

    _n = 1

    def _function(self, *args):
        return F.conv1d(*args)


class Conv2d(_Conv):
    """Cross-correlation over ``(N, C, H, W)`` or ``(C, H, W)``; see :class:`Conv1d`."""

    _n = 2

    def _function(self, *args):
        return F.conv2d(*args)


class Conv3d(_Conv):
    """Cross-correlation over ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see :class:`Conv1d`."""

    _n = 3

    def _function(self, *args):
        return F.conv3d(*args)


class _ConvTranspose(_ConvNd):
    _transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, output_padding=0, groups: int = 1,
        bias: bool = True, dilation=1, padding_mode: str = "zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self._build(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _output_padding(self, input, output_size):
        """The padding that makes the output ``output_size``.

        Raises:
            ValueError: no padding does.
        """
        if output_size is None:
            return self.output_padding
        n = self._n
        batched = input.dim() == n + 2
        output_size = tuple(output_size)
        if len(output_size) == n + (2 if batched else 1):
            output_size = output_size[-n:]
        if len(output_size) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.dim()}D input, output_size must have {n} or {input.dim()} elements "
                f"(got {len(output_size)})"
            )
        low = [
            (input.shape[-n + d] - 1) * self.stride[d] - 2 * self.padding[d]
            + self.dilation[d] * (self.kernel_size[d] - 1) + 1
            for d in range(n)
        ]  # fmt: skip
        high = [a + s - 1 for a, s in zip(low, self.stride, strict=True)]
        if any(not a <= size <= b for a, size, b in zip(low, output_size, high, strict=True)):
            raise ValueError(
                f"requested an output size of {output_size}, but valid sizes range from {low} to {high} (for an input "
                f"of {tuple(input.shape[2:])})"
            )
        return tuple(size - a for size, a in zip(output_size, low, strict=True))

    def forward(self, input, output_size=None):
        output_padding = self._output_padding(input, output_size)
        return self._function(
            input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups, self.dilation
        )


class ConvTranspose1d(_ConvTranspose):
    """The gradient of :class:`Conv1d` with respect to its input, as a layer."""

    _n = 1

    def _function(self, *args):
        return F.conv_transpose1d(*args)


class ConvTranspose2d(_ConvTranspose):
    """The gradient of :class:`Conv2d` with respect to its input, as a layer."""

    _n = 2

    def _function(self, *args):
        return F.conv_transpose2d(*args)


class ConvTranspose3d(_ConvTranspose):
    """The gradient of :class:`Conv3d` with respect to its input, as a layer."""

    _n = 3

    def _function(self, *args):
        return F.conv_transpose3d(*args)
