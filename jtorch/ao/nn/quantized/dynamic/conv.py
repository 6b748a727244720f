"""Convolutions with int8 weights, between floats."""

from __future__ import annotations

import warnings

from .....tensor.dispatch import call
from ..modules import conv as static
from ..modules.weighted import float_parts


class _Dynamic:
    """Before a quantized convolution: the input is rounded by its own range at each call."""

    def __init__(self, *args, reduce_range: bool = True, **options):
        warnings.warn(
            f"The current implementation of the {self._get_name()} module has poor numerical accuracy and its use is "
            "not recommended",
            stacklevel=2,
        )
        super().__init__(*args, **options)

    def forward(self, input, reduce_range: bool = True):
        if input.dim() != self._n + 2:
            raise ValueError(f"Input shape must be `(N, C, {', '.join('DHW'[-self._n :] if self._n > 1 else 'L')})`!")
        return call(
            "_quantized_conv_dynamic", self._reflected(input), *self._weights(), reduce_range=reduce_range,
            **self._options(),
        )  # fmt: skip

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant: bool = False):
        """What a float convolution with a dynamic ``qconfig`` becomes."""
        conv, weight, bias = float_parts(mod)
        new = cls._like(conv, bias is not None)
        new.set_weight_bias(weight, bias)
        return new

    def _get_name(self) -> str:
        return f"DynamicQuantized{type(self).__name__}"


def _layer(base: type) -> type:
    members = {"__doc__": f"``nn.{base.__name__}`` with an int8 weight, between floats.", "__module__": __name__}
    return type(base.__name__, (_Dynamic, base), members)


Conv1d, Conv2d, Conv3d = map(_layer, (static.Conv1d, static.Conv2d, static.Conv3d))
ConvTranspose1d, ConvTranspose2d, ConvTranspose3d = map(
    _layer, (static.ConvTranspose1d, static.ConvTranspose2d, static.ConvTranspose3d)
)
