"""The quantized modules."""

from .arithmetic import FloatFunctional, FXFloatFunctional, QFunctional
from .boundary import DeQuantize, Quantize
from .conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvReLU1d,
    ConvReLU2d,
    ConvReLU3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from .embedding_ops import Embedding, EmbeddingBag
from .linear import Linear, LinearLeakyReLU, LinearReLU, LinearTanh
from .own_grid import (
    ELU,
    BatchNorm2d,
    BatchNorm3d,
    BNReLU2d,
    BNReLU3d,
    GroupNorm,
    Hardswish,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    LeakyReLU,
    PReLU,
    Sigmoid,
    Softmax,
)
from .pointwise import AdaptiveAvgPool2d, AvgPool2d, Dropout, MaxPool2d, ReLU, ReLU6
