"""Modules for quantization: ``quantized`` (integer arithmetic) and ``intrinsic`` (fused float modules)."""

from . import intrinsic, quantized
