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


def _fused(name: str, *types: type) -> type:
    """The class of a sequence of ``types``."""
    parts = " and ".join(f"``{t.__name__}``" for t in types)
    doc = f"{parts}, to be quantized as one layer."
    return type(name, (_FusedModule,), {"_types": types, "__doc__": doc, "__module__": __name__})


_CONVS, _NORMS = (nn.Conv1d, nn.Conv2d, nn.Conv3d), (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_DIMS = tuple(zip((1, 2, 3), _CONVS, _NORMS, strict=True))
ConvReLU1d, ConvReLU2d, ConvReLU3d = (_fused(f"ConvReLU{n}d", conv, nn.ReLU) for n, conv, _ in _DIMS)
ConvBn1d, ConvBn2d, ConvBn3d = (_fused(f"ConvBn{n}d", conv, bn) for n, conv, bn in _DIMS)
ConvBnReLU1d, ConvBnReLU2d, ConvBnReLU3d = (_fused(f"ConvBnReLU{n}d", conv, bn, nn.ReLU) for n, conv, bn in _DIMS)
BNReLU2d, BNReLU3d = (_fused(f"BNReLU{n}d", bn, nn.ReLU) for n, _, bn in _DIMS[1:])
LinearBn1d = _fused("LinearBn1d", nn.Linear, nn.BatchNorm1d)
LinearReLU = _fused("LinearReLU", nn.Linear, nn.ReLU)
LinearLeakyReLU = _fused("LinearLeakyReLU", nn.Linear, nn.LeakyReLU)
LinearTanh = _fused("LinearTanh", nn.Linear, nn.Tanh)


class ConvAdd2d(nn.Sequential):
    """``add(conv(x1), x2)``."""

    def __init__(self, conv, add):
        super().__init__(conv)
        self.add = add

    def forward(self, x1, x2):
        return self.add(self[0](x1), x2)


class ConvAddReLU2d(nn.Sequential):
    """``relu(add(conv(x1), x2))``."""

    def __init__(self, conv, add, relu):
        super().__init__(conv)
        self.add, self.relu = add, relu

    def forward(self, x1, x2):
        return self.relu(self.add(self[0](x1), x2))
