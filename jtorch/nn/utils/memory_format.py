"""Weights of convolutions in another memory format."""

from __future__ import annotations

from ..modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d


def _convert(module, kinds: tuple[type, ...], memory_format):
    for layer in module.modules():
        if isinstance(layer, kinds):
            layer.weight.data = layer.weight.detach().contiguous(memory_format=memory_format)
    return module


def convert_conv2d_weight_memory_format(module, memory_format):
    """Give the weights of all ``Conv2d`` and ``ConvTranspose2d`` in ``module`` this memory format; returns it.

    It changes what ``stride()`` says; the layout in the device's memory is the compiler's choice.
    """
    return _convert(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module, memory_format):
    """:func:`convert_conv2d_weight_memory_format` for ``Conv3d`` and ``ConvTranspose3d``."""
    return _convert(module, (Conv3d, ConvTranspose3d), memory_format)
