"""Fused modules in floating point: what ``fuse_modules`` makes and ``convert`` turns into one quantized layer."""

from __future__ import annotations

from jtorch import nn


class _FusedModule(nn.Sequential):
    """A sequence that is quantized as one layer."""

    _types: tuple[type, ...]

    def __init__(self, *modules):
        found = tuple(type(m) for m in modules)
        if found != self._types:
            raise AssertionError(
                f"Incorrect types for input modules: {', '.join(t.__name__ for t in found)}; expected "
                f"{', '.join(t.__name__ for t in self._types)}"
            )
        super().__init__(*modules)


class ConvReLU2d(_FusedModule):
    """``Conv2d`` and ``ReLU``."""

    _types = (nn.Conv2d, nn.ReLU)


class ConvBn2d(_FusedModule):
    """``Conv2d`` and ``BatchNorm2d``, to be trained together."""

    _types = (nn.Conv2d, nn.BatchNorm2d)


class ConvBnReLU2d(_FusedModule):
    """``Conv2d``, ``BatchNorm2d`` and ``ReLU``, to be trained together."""

    _types = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU)


class LinearBn1d(_FusedModule):
    """``Linear`` and ``BatchNorm1d``, to be trained together."""

    _types = (nn.Linear, nn.BatchNorm1d)


class LinearReLU(_FusedModule):
    """``Linear`` and ``ReLU``."""

    _types = (nn.Linear, nn.ReLU)
