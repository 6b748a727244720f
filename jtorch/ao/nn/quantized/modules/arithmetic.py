"""Sums, products and concatenations of activations, which need a grid of their own."""

from __future__ import annotations

import math

import jtorch
from jtorch import nn

from ....qtensor import dequantize, quantize_per_tensor
from .boundary import need_quantized
from .weighted import WithOutputGrid


class FloatFunctional(nn.Module):
    """``add``, ``mul``, ``add_relu`` and ``cat`` whose result is observed, for use instead of ``+`` and ``torch.cat``.

    One instance stands for one place in the model; ``convert`` makes it a :class:`QFunctional`.
    """

    def __init__(self):
        super().__init__()
        self.activation_post_process = nn.Identity()

    def forward(self, x):
        raise RuntimeError("FloatFunctional is not intended to use the 'forward'. Please use the underlying operation")

    def add(self, x, y):
        """``x + y``."""
        return self.activation_post_process(x + y)

    def mul(self, x, y):
        """``x y``."""
        return self.activation_post_process(x * y)

    def add_scalar(self, x, y):
        """``x + y`` for a number ``y``, on the grid of ``x`` moved: nothing is observed."""
        return x + y

    def mul_scalar(self, x, y):
        """``x y`` for a number ``y``, on the grid of ``x`` stretched: nothing is observed."""
        return x * y

    def add_relu(self, x, y):
        """``max(x + y, 0)``."""
        return self.activation_post_process(jtorch.relu(x + y))

    def matmul(self, x, y):
        """``x @ y``."""
        return self.activation_post_process(jtorch.matmul(x, y))

    def cat(self, x, dim: int = 0):
        """Tensors end to end along ``dim``."""
        return self.activation_post_process(jtorch.cat(x, dim))


class FXFloatFunctional(FloatFunctional):
    """:class:`FloatFunctional` that observes nothing: in graph mode each operation has an observer of its own."""

    def __init__(self):
        super().__init__()
        del self.activation_post_process

    @staticmethod
    def activation_post_process(x):
        return x


def _bounds(dtype) -> tuple[int, int]:
    """The least and the greatest integer of a quantized dtype."""
    return (0, 255) if dtype is jtorch.quint8 else (-128, 127)


class QFunctional(WithOutputGrid):
    """:class:`FloatFunctional` of quantized tensors, on the grid that calibration found."""

    def __init__(self):
        super().__init__()
        self._set_grid()
        self.activation_post_process = nn.Identity()  # printed along; what it observed is the grid now

    def forward(self, x):
        raise RuntimeError("QFunctional is not intended to use the 'forward'. Please use the underlying operation")

    def _on_grid(self, f, *operands):
        dtype = need_quantized(operands[0], self).dtype
        result = f(*[dequantize(need_quantized(x, self)) for x in operands])
        return quantize_per_tensor(result, self.scale, self.zero_point, dtype)

    def add_scalar(self, x, y):
        """``x + y`` for a number ``y``: the zero point moves, and the step grows where it would leave the range."""
        scale, (low, high) = need_quantized(x, self).q_scale(), _bounds(x.dtype)
        zero = x.q_zero_point() - math.floor(y / scale + 0.5)
        inside = min(max(zero, low), high)
        scale *= 1 + abs(zero - inside) / (high - low)
        return quantize_per_tensor(dequantize(x) + y, scale, inside, x.dtype)

    def mul_scalar(self, x, y):
        """``x y`` for a number ``y``: the step is multiplied; a negative number turns the range around."""
        (low, high), zero = _bounds(need_quantized(x, self).dtype), x.q_zero_point()
        scale, zero = (x.q_scale() * abs(y), zero if y > 0 else low + high - zero) if y else (1.0, 0)
        return quantize_per_tensor(dequantize(x) * y, scale, zero, x.dtype)

    def matmul(self, x, y):
        """``x @ y``."""
        return self._on_grid(jtorch.matmul, x, y)

    def add(self, x, y):
        """``x + y``."""
        return self._on_grid(lambda a, b: a + b, x, y)

    def mul(self, x, y):
        """``x y``."""
        return self._on_grid(lambda a, b: a * b, x, y)

    def add_relu(self, x, y):
        """``max(x + y, 0)``."""
        return self._on_grid(lambda a, b: jtorch.relu(a + b), x, y)

    def cat(self, x, dim: int = 0):
        """Tensors end to end along ``dim``."""
        return self._on_grid(lambda *parts: jtorch.cat(parts, dim), *x)

    @classmethod
    def from_float(cls, mod: FloatFunctional, use_precomputed_fake_quant: bool = False) -> QFunctional:
        """What a calibrated ``FloatFunctional`` becomes."""
        new = cls()
        new._observed_grid(mod.activation_post_process)
        return new

    def extra_repr(self) -> str:
        return self._grid_repr()
