"""Transforms of one double uniform a value: exponential, geometric, Cauchy and Gumbel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from jtorch.streams.exact import (
    DIGITS,
    F32,
    F64,
    c_name,
    floating,
    from_f32,
    from_f64,
    libm,
    muladd64,
    rounding_in_doubt,
    scalar_name,
)
from jtorch.streams.layout import BLOCK, sampler
from jtorch.streams.mt19937 import HostStream


def _transform(
    stream: HostStream,
    n: int,
    dtype: np.dtype,
    exact: Callable[[np.ndarray], np.ndarray],
    estimate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """``exact(u)`` of ``n`` uniforms, rounded to ``dtype``.

    ``estimate(u) -> (value, error bound)`` uses NumPy's quick functions; for results of 24 bits or fewer only the
    elements whose rounding is in doubt go through ``exact``.
    """
    result = np.empty(n, dtype)
    for i in range(0, n, BLOCK):
        u = stream.doubles(min(BLOCK, n - i))
        if dtype == F64:
            values = exact(u)
        else:
            wide, error = estimate(u)
            values = wide.astype(np.float32)
            doubtful = rounding_in_doubt(wide, error)
            if doubtful.size:
                values[doubtful] = exact(u[doubtful]).astype(np.float32)
            values = from_f32(values, dtype)
        result[i : i + u.size] = values
    return result


@sampler
def exponential(stream: HostStream, n: int, rate: float = 1.0, *, dtype=F32) -> np.ndarray:
    """``-log(1 - u) / rate``.

    Raises:
        RuntimeError: ``rate`` is not positive, or ``dtype`` is not floating.
    """
    dtype = np.dtype(dtype)
    if dtype not in DIGITS:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a floating point but "
            f"you specified {scalar_name(dtype)}"
        )
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    scale = -1.0 / rate

    def estimate(u):
        value = np.log1p(-u)
        value *= scale
        return value, value * 1e-14

    with np.errstate(over="ignore", under="ignore"):
        return _transform(stream, n, dtype, lambda u: scale * libm("log1p", -u), estimate)


@sampler
def geometric(stream: HostStream, n: int, p: float, *, dtype=F32) -> np.ndarray:
    """The number of trials up to the first success: ``ceil(log(u) / log(1 - p))``, in an integer or floating type.

    Raises:
        RuntimeError: ``p`` is outside (0, 1).
        NotImplementedError: ``dtype`` is bool or complex.
    """
    dtype = np.dtype(dtype)
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    if dtype not in DIGITS and dtype.name not in ("int64", "int32", "int16", "int8", "uint8"):
        raise NotImplementedError(f'"geometric_cpu" not implemented for {scalar_name(dtype)!r}')
    scale = math.log1p(-p)
    result = np.empty(n, dtype)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        for i in range(0, n, BLOCK):
            u = stream.doubles(min(BLOCK, n - i))
            trials = np.log(u) / scale
            doubtful = np.flatnonzero(np.abs(trials - np.rint(trials)) < 1e-9 * np.maximum(1, np.abs(trials)))
            if doubtful.size:
                trials[doubtful] = libm("log", u[doubtful]) / scale
            np.ceil(trials, out=trials)
            whole = dtype not in DIGITS
            result[i : i + u.size] = trials.astype(np.int64).astype(dtype) if whole else from_f64(trials, dtype)
    return result


@sampler
def cauchy(stream: HostStream, n: int, median: float = 0.0, sigma: float = 1.0, *, dtype=F32) -> np.ndarray:
    """``median + sigma * tan(pi * (u - 1/2))``.

    Raises:
        RuntimeError: ``sigma`` is not positive, or ``dtype`` is not floating.
    """
    dtype, median, sigma = np.dtype(dtype), float(median), float(sigma)
    if dtype not in DIGITS:
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a floating point but "
            f"you specified {c_name(dtype)}"
        )
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")

    def angle(u):
        u = u - 0.5
        u *= math.pi
        return u

    def estimate(u):
        value = np.tan(angle(u))
        value *= sigma
        error = np.abs(value)
        error += abs(median)
        error *= 1e-14
        value += median
        return value, error

    with np.errstate(over="ignore", under="ignore"):
        return _transform(stream, n, dtype, lambda u: muladd64(libm("tan", angle(u)), sigma, median), estimate)


def gumbel(stream, shape, *, dtype=F32, strides=None) -> np.ndarray:
    """``-log(e)`` of exponentials ``e`` rounded to ``dtype``, the noise of ``gumbel_softmax``.

    The exponentials are PyTorch's. Its float32 logarithm is a vendor's, one unit in the last place off the rounded
    value in 1 of 2000 cases; here it is the rounded value.
    """
    dtype = floating(dtype, "exponential")
    e = exponential(stream, shape, dtype=dtype, strides=strides)
    with np.errstate(divide="ignore"):
        return from_f64(-np.log(e.astype(np.float64)), dtype)
