"""Modules for quantization: ``quantized`` (integer arithmetic), ``intrinsic`` (fused), ``qat`` (while training)."""

from . import intrinsic, qat, quantized
from .intrinsic import qat as _intrinsic_qat
from .intrinsic import quantized as _intrinsic_quantized
