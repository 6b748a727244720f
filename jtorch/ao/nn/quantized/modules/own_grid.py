"""Activations and normalizations whose result is computed on the real numbers and rounded to a grid of its own."""

from __future__ import annotations

import functools
import warnings

import jtorch
from jtorch import nn

from .... import qtypes
from ....qtensor import QuantizedTensor, dequantize, quantize_per_tensor
from ...intrinsic import _FusedModule


def on_grid(f, x, scale, zero_point, dtype=None) -> QuantizedTensor:
    """``f`` of the real numbers of ``x``, rounded to a grid.

    Raises:
        RuntimeError: ``x`` is not quantized.
    """
    if not isinstance(x, QuantizedTensor):
        raise RuntimeError(
            f"expected a quantized input, but got {getattr(x, 'dtype', type(x).__name__)}; put a QuantStub before this "
            "layer, or keep it in floating point by setting its qconfig to None before prepare()"
        )
    return quantize_per_tensor(f(dequantize(x)), scale, zero_point, dtype or x.dtype)


class _OwnGrid:
    """Before a float class: ``scale`` and ``zero_point`` are those of the output."""

    def _take(self, scale, zero_point) -> None:
        self.register_buffer("scale", jtorch.tensor(scale))
        self.register_buffer("zero_point", jtorch.tensor(zero_point))

    def forward(self, input) -> QuantizedTensor:
        return on_grid(super().forward, input, self.scale, self.zero_point)

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False):
        """What a calibrated float layer becomes."""
        scale, zero_point = mod.activation_post_process.calculate_qparams()
        return cls.from_reference(mod, scale.item(), zero_point.item())

    @classmethod
    def from_reference(cls, mod: nn.Module, scale, zero_point):
        """What a float layer becomes whose output has this grid."""
        return cls._like(mod, float(scale), int(zero_point))

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"


class Hardswish(_OwnGrid, nn.Hardswish):
    """``x relu6(x + 3) / 6``."""

    def __init__(self, scale, zero_point, device=None, dtype=None):
        super().__init__()
        self._take(scale, zero_point)

    @classmethod
    def _like(cls, mod, scale, zero_point):
        return cls(scale, zero_point)


class ELU(_OwnGrid, nn.ELU):
    """``x``, and ``alpha (exp(x) - 1)`` below 0."""

    def __init__(self, scale, zero_point, alpha: float = 1.0):
        super().__init__(alpha)
        self.scale, self.zero_point = scale, zero_point

    @classmethod
    def _like(cls, mod, scale, zero_point):
        return cls(scale, zero_point, mod.alpha)


class LeakyReLU(_OwnGrid, nn.LeakyReLU):
    """``x``, and ``negative_slope x`` below 0."""

    def __init__(
        self, scale: float, zero_point: int, negative_slope: float = 1e-2, inplace=False, device=None, dtype=None
    ):
        super().__init__(negative_slope, inplace)
        self._take(scale, zero_point)

    @classmethod
    def _like(cls, mod, scale, zero_point):
        return cls(scale, zero_point, mod.negative_slope, mod.inplace)


class Sigmoid(_OwnGrid, nn.Sigmoid):
    """``1 / (1 + exp(-x))``."""

    def __init__(self, output_scale: float, output_zero_point: int):
        super().__init__()
        self.output_scale, self.output_zero_point = output_scale, output_zero_point

    scale = property(lambda self: self.output_scale)
    zero_point = property(lambda self: self.output_zero_point)

    @classmethod
    def _like(cls, mod, scale, zero_point):
        return cls(scale, zero_point)

    def _get_name(self) -> str:
        return "Sigmoid"


class Softmax(_OwnGrid, nn.Softmax):
    """``nn.Softmax``."""

    def __init__(self, dim=None, scale: float = 1.0, zero_point: int = 0):
        super().__init__(dim)
        self.scale, self.zero_point = scale, zero_point

    @classmethod
    def _like(cls, mod, scale, zero_point):
        return cls(mod.dim, scale, zero_point)


class PReLU(_OwnGrid, nn.Module):
    """``x``, and ``weight x`` below 0, with a quantized weight."""

    def __init__(self, output_scale: float, output_zero_point: int, num_parameters: int = 1):
        super().__init__()
        self.num_parameters, self.scale, self.zero_point = num_parameters, output_scale, output_zero_point
        self.set_weight(quantize_per_tensor(jtorch.randn(num_parameters), 1.0, 0, qtypes.quint8))

    def set_weight(self, w: QuantizedTensor) -> None:
        """Take quantized slopes."""
        self.weight = w

    def forward(self, input) -> QuantizedTensor:
        slope = dequantize(self.weight)
        return on_grid(lambda x: nn.functional.prelu(x, slope), input, self.scale, self.zero_point)

    @classmethod
    def _like(cls, mod, scale, zero_point):
        new, weight, observer = cls(scale, zero_point, mod.num_parameters), mod.weight.detach(), mod.qconfig.weight()
        observer(weight)
        if observer.dtype is not qtypes.quint8:
            warnings.warn(f"PReLU's weight observer should have dtype quint8 but got {observer.dtype}", stacklevel=4)
        grid = (x.item() for x in observer.calculate_qparams())
        new.set_weight(quantize_per_tensor(weight, *grid, qtypes.quint8))
        return new


class LayerNorm(_OwnGrid, nn.LayerNorm):
    """``nn.LayerNorm``."""

    def __init__(
        self, normalized_shape, weight, bias, scale, zero_point, eps: float = 1e-5, elementwise_affine: bool = True,
        device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(normalized_shape, eps, elementwise_affine)
        self.weight, self.bias = weight, bias
        self._take(scale, zero_point)

    @classmethod
    def _like(cls, mod, scale, zero_point):
        return cls(mod.normalized_shape, mod.weight, mod.bias, scale, zero_point, mod.eps, mod.elementwise_affine)


class GroupNorm(_OwnGrid, nn.GroupNorm):
    """``nn.GroupNorm``."""

    def __init__(
        self, num_groups, num_channels, weight, bias, scale, zero_point, eps: float = 1e-5, affine: bool = True,
        device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(num_groups, num_channels, eps, affine)
        self.weight, self.bias = weight, bias
        self._take(scale, zero_point)

    @classmethod
    def _like(cls, mod, scale, zero_point):
        return cls(mod.num_groups, mod.num_channels, mod.weight, mod.bias, scale, zero_point, mod.eps, mod.affine)


class _InstanceNorm(_OwnGrid):
    def __init__(
        self, num_features, weight, bias, scale, zero_point, eps: float = 1e-5, momentum: float = 0.1,
        affine: bool = False, track_running_stats: bool = False, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.weight, self.bias = weight, bias
        self._take(scale, zero_point)

    @classmethod
    def _like(cls, mod, scale, zero_point):
        # ``affine`` for ``momentum``: so PyTorch prints it
        return cls(mod.num_features, mod.weight, mod.bias, scale, zero_point, mod.eps, mod.affine)


class _BatchNorm(_OwnGrid):
    _relu = False

    def __init__(self, num_features, eps: float = 1e-5, momentum: float = 0.1, device=None, dtype=None):
        super().__init__(num_features, eps, momentum, True, True)
        self._take(1.0, 0)

    def forward(self, input) -> QuantizedTensor:
        y = functools.partial(
            nn.functional.batch_norm, running_mean=self.running_mean, running_var=self.running_var, weight=self.weight,
            bias=self.bias, eps=self.eps,
        )  # fmt: skip
        return on_grid((lambda x: jtorch.relu(y(x))) if self._relu else y, input, self.scale, self.zero_point)

    @classmethod
    def _like(cls, mod, scale, zero_point):
        bn = mod[0] if isinstance(mod, _FusedModule) else mod
        new = cls(bn.num_features, bn.eps)
        new.weight, new.bias, new.running_mean, new.running_var = bn.weight, bn.bias, bn.running_mean, bn.running_var
        new._take(scale, zero_point)
        return new


def _layer(base: type, n: int, name: str = "", **members) -> type:
    kind = f"{base.__name__[1:]}{n}d"
    doc = f"``nn.{kind}``{' and a ReLU' if members else ''}, its result rounded to a grid of its own."
    bases = (base, getattr(nn, kind))
    return type(name or kind, bases, {"__doc__": doc, "__module__": __name__, **members})


InstanceNorm1d, InstanceNorm2d, InstanceNorm3d = (_layer(_InstanceNorm, n) for n in (1, 2, 3))
BatchNorm2d, BatchNorm3d = (_layer(_BatchNorm, n) for n in (2, 3))
BNReLU2d, BNReLU3d = (_layer(_BatchNorm, n, f"BNReLU{n}d", _relu=True) for n in (2, 3))
