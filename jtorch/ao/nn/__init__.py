"""Modules for quantization: ``quantized`` (integer arithmetic) ``intrinsic`` (fused float modules), ``qat`` (trained)."""

from . import intrinsic, qat, quantized
