"""Quantized modules: integers in, integers out (``dynamic``: floats in, floats out)."""

from . import dynamic, functional
from .modules import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Conv2d,
    ConvReLU2d,
    DeQuantize,
    Dropout,
    FloatFunctional,
    Linear,
    LinearReLU,
    MaxPool2d,
    QFunctional,
    Quantize,
    ReLU,
)
