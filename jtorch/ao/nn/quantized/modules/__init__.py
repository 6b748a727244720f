"""The quantized modules."""

from .arithmetic import FloatFunctional, QFunctional
from .boundary import DeQuantize, Quantize
from .conv import Conv2d, ConvReLU2d
from .linear import Linear, LinearReLU
from .pointwise import AdaptiveAvgPool2d, AvgPool2d, Dropout, MaxPool2d, ReLU
