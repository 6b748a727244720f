"""Modules for quantization: ``quantized`` (integer arithmetic), ``intrinsic`` (fused), ``qat`` (while training)."""

from . import intrinsic, qat, quantized
