"""PyTorch's name for the fused layers of :mod:`jtorch.ao.nn.quantized`."""

from ..quantized import ConvReLU2d, LinearReLU

__all__ = ["ConvReLU2d", "LinearReLU"]
