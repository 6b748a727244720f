"""Sliding windows as columns, and back."""

from __future__ import annotations

from .. import functional as F
from .module import Module


class _Windows(Module):
    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self._shown)


class Unfold(_Windows):
    """The windows of ``(N, C, *)`` as columns: ``(N, C prod(kernel), windows)``."""

    __constants__ = ["kernel_size", "dilation", "padding", "stride"]
    _shown = ("kernel_size", "dilation", "padding", "stride")

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input):
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(_Windows):
    """Columns of windows summed back into ``(N, C, *output_size)``: the transpose of :class:`Unfold`."""

    __constants__ = ["output_size", "kernel_size", "dilation", "padding", "stride"]
    _shown = ("output_size", "kernel_size", "dilation", "padding", "stride")

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input):
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
