"""PyTorch's name for the fused layers of :mod:`jtorch.ao.nn.qat`."""

from ..qat import ConvBn2d, ConvBnReLU2d, ConvReLU2d, LinearBn1d, LinearReLU, freeze_bn_stats, update_bn_stats

__all__ = [
    "ConvBn2d", "ConvBnReLU2d", "ConvReLU2d", "LinearBn1d", "LinearReLU", "freeze_bn_stats", "update_bn_stats",
]  # fmt: skip
