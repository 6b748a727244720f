"""Normals restricted to an interval, by rejection."""

from __future__ import annotations

import math
import warnings

import numpy as np

from jtorch.streams.exact import F32, F64, floating, from_f32
from jtorch.streams.layout import as_shape
from jtorch.streams.mt19937 import HostStream
from jtorch.streams.normal import normal
from jtorch.streams.uniform import uniform


def _cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def trunc_normal(
    stream: HostStream, shape, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, *, dtype=F32,
    strides=None,
) -> np.ndarray:  # fmt: skip
    """Normal values conditioned on [a, b], as ``nn.init.trunc_normal_`` draws them.

    If the interval holds more than 0.3 of the mass, normals are drawn until none is outside; else uniforms are
    accepted by the ratio of the density to its peak. Every round draws a whole tensor.

    Raises:
        RuntimeError: ``std`` is negative or ``a > b``.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    shape, dtype = as_shape(shape), floating(dtype, "normal_kernel_cpu")
    with stream.lock:
        if _cdf((b - mean) / std) - _cdf((a - mean) / std) > 0.3:
            return _reject_normals(stream, shape, mean, std, a, b, dtype, strides)
        return _reject_uniforms(stream, shape, mean, std, a, b, dtype, strides)


def _reject_normals(stream, shape, mean, std, a, b, dtype, strides) -> np.ndarray:
    low, high = np.array([a, b]).astype(dtype)
    result = normal(stream, shape, mean, std, dtype=dtype, strides=strides)
    while (outside := (result < low) | (result > high)).any():
        fresh = normal(stream, shape, mean, std, dtype=dtype, strides=strides)
        result = np.where(outside, fresh, result)
    return result


def _reject_uniforms(stream, shape, mean, std, a, b, dtype, strides) -> np.ndarray:
    mode = max(a, min(mean, b))
    log_peak = -0.5 * ((mode - mean) / std) ** 2
    wide = np.float64 if dtype == F64 else np.float32  # the type in which an operation on ``dtype`` computes

    def rounded(x):
        return x if dtype == F64 else from_f32(x, dtype)

    def log_density(x):
        # PyTorch rounds the number it subtracts to ``dtype``, but not the one it divides or multiplies by
        x = rounded(x.astype(wide) - rounded(np.array(mean, wide)).astype(wide)).astype(wide)
        x = rounded(x / wide(std)).astype(wide)
        x = rounded(x * x).astype(wide)
        x = rounded(x * wide(-0.5)).astype(wide)
        return rounded(x - rounded(np.array(log_peak, wide)).astype(wide)).astype(wide)

    def log_uniform():
        u = uniform(stream, shape, dtype=dtype, strides=strides).astype(np.float64)
        with np.errstate(divide="ignore"):
            log = np.log(u)
        return rounded(log.astype(wide)).astype(wide)

    def candidates():
        return uniform(stream, shape, a, b, dtype=dtype, strides=strides)

    result = candidates()
    pending = log_uniform() > log_density(result)
    while pending.any():
        fresh = candidates()
        result = np.where(pending, fresh, result)
        pending &= log_uniform() > log_density(fresh)
    return result
