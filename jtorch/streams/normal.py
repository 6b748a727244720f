"""Normal floats. PyTorch has two methods, which draw different numbers:

* contiguous tensors of 16 and more elements: Box-Muller in blocks of 16 (``box_muller.py`` for float32);
* everything else, and log-normals: pairs in double, one after another, the second of a pair kept for later in the
  stream's ``cached_normal``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from jtorch.streams.box_muller import box_muller
from jtorch.streams.exact import F32, F64, floating, fma32, fma64, from_f32, libm, muladd64, rounding_in_doubt
from jtorch.streams.layout import BLOCK, as_shape, is_contiguous, place, sampler
from jtorch.streams.mt19937 import HostStream
from jtorch.streams.uniform import words24

_TWO_PI = 2 * math.pi


def normal(stream, shape, mean: float = 0.0, std: float = 1.0, *, dtype=F32, strides=None) -> np.ndarray:
    """Normal values. A complex type is filled as pairs of reals with ``std / sqrt(2)`` each.

    Raises:
        RuntimeError: ``std`` is negative or NaN.
        NotImplementedError: ``dtype`` is not floating or complex.
    """
    shape, dtype, mean, std = as_shape(shape), np.dtype(dtype), float(mean), float(std)
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if dtype.kind == "c":
        pairs = None if strides is None else [*(2 * s for s in strides), 1]
        real = F32 if dtype == np.complex64 else F64
        parts = normal(stream, (*shape, 2), mean, std / math.sqrt(2.0), dtype=real, strides=pairs)
        return np.ascontiguousarray(parts).view(dtype)[..., 0]
    dtype = floating(dtype, "normal_kernel_cpu")
    n = math.prod(shape)
    with stream.lock:
        if n < 16 or not is_contiguous(shape, strides):
            flat = _serial_normal(stream, n, mean, std, dtype)
        elif dtype == F64:
            flat = _blocked64(stream, n, mean, std)
        else:
            flat = _blocked32(stream, n, mean, std, dtype)
    return place(flat, shape, strides)


# --- blocks of 16 --------------------------------------------------------------------------------------------------
# A last block of fewer than 16 is made up by redoing the last 16 elements from 16 further draws.


def _blocked32(stream: HostStream, n: int, mean: float, std: float, dtype: np.dtype) -> np.ndarray:
    tail = n % 16
    whole = n - tail
    replaced = tail if dtype == F32 else 0  # the 16-bit types do not draw the values that would be replaced
    result = np.empty(n, dtype)
    for i in range(0, whole, BLOCK):
        size = min(BLOCK, whole - i)
        redo = tail and i + size == whole
        k = words24(stream, size + replaced + 16 if redo else size)
        if redo and replaced:
            k = np.concatenate([k[:size], k[-16:]])
        values = from_f32(_affine32(box_muller(k), mean, std), dtype)
        result[i : i + size] = values[:size]
        if redo:
            result[n - 16 :] = values[size:]
    return result


def _affine32(z: np.ndarray, mean: float, std: float) -> np.ndarray:
    mean, std = float(np.float32(mean)), np.float32(std)
    if mean != 0:
        return fma32(z, float(std), mean)
    if std != 1:
        z *= std
    z += np.float32(0)  # adding the mean turns -0 into +0
    return z


def _blocked64(stream: HostStream, n: int, mean: float, std: float) -> np.ndarray:
    tail = n % 16
    whole = n - tail
    result = np.empty(n)
    for i in range(0, whole, BLOCK):
        size = min(BLOCK, whole - i)
        result[i : i + size] = _transform64(stream.doubles(size), mean, std)
    if tail:
        stream.doubles(tail)
        result[n - 16 :] = _transform64(stream.doubles(16), mean, std)
    return result


def _transform64(u: np.ndarray, mean: float, std: float) -> np.ndarray:
    u1, u2 = np.ascontiguousarray(u.reshape(-1, 2, 8).swapaxes(0, 1)).reshape(2, -1)
    radius = np.sqrt(-2.0 * libm("log", 1.0 - u1))
    angle = _TWO_PI * u2
    z = np.stack([radius * libm("cos", angle), radius * libm("sin", angle)])
    z = fma64(z.reshape(-1), std, mean)  # fused in every build
    return z.reshape(2, -1, 8).swapaxes(0, 1).reshape(-1)


# --- pairs, one after another ----------------------------------------------------------------------------------------

Finish = Callable[[np.ndarray], np.ndarray]
Estimate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def serial(stream: HostStream, n: int, dtype: np.dtype, exact: Finish, estimate: Estimate) -> np.ndarray:
    """``exact(z)`` of ``n`` serial standard normals, rounded to ``dtype``.

    ``estimate(z) -> (value, error bound)`` may be used where the result has 24 bits or fewer: values come from NumPy's
    quick functions, and only those whose rounding is in doubt are computed again with the C library's.
    """
    result = np.empty(n, dtype)
    start = 0
    if n and stream.cached_normal is not None:
        result[:1] = _narrow(exact(np.array([stream.cached_normal])), dtype)
        stream.cached_normal = None
        start = 1
    for i in range(start, n, BLOCK):
        size = min(BLOCK, n - i)
        pairs = (size + 1) // 2
        u1, u2 = np.ascontiguousarray(stream.doubles(2 * pairs).reshape(-1, 2).T)
        if dtype == F64 or pairs < 64:
            values = _narrow(exact(_pairs_exact(u1, u2)[:size]), dtype)
        else:
            values = from_f32(_pairs_rounded(u1, u2, exact, estimate)[:size], dtype)
        result[i : i + size] = values
        if size % 2:  # only in the last block
            stream.cached_normal = float(_pairs_exact(u1[-1:], u2[-1:])[1])
    return result


def _narrow(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return values if dtype == F64 else from_f32(values.astype(np.float32), dtype)


def _pairs_exact(u1: np.ndarray, u2: np.ndarray) -> np.ndarray:
    radius = np.sqrt(-2.0 * libm("log1p", -u2))
    angle = _TWO_PI * u1
    return np.stack([radius * libm("cos", angle), radius * libm("sin", angle)], axis=1).reshape(-1)


def _pairs_rounded(u1: np.ndarray, u2: np.ndarray, exact: Finish, estimate: Estimate) -> np.ndarray:
    radius = np.sqrt(-2.0 * np.log1p(-u2))
    angle = _TWO_PI * u1
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    value, error = estimate(z)
    rounded = value.astype(np.float32)
    doubtful = rounding_in_doubt(value, error)
    if doubtful.size:
        pair, second = doubtful >> 1, doubtful & 1
        z = _pairs_exact(u1[pair], u2[pair]).reshape(-1, 2)[np.arange(pair.size), second]
        rounded[doubtful] = exact(z).astype(np.float32)
    return rounded


def _serial_normal(stream: HostStream, n: int, mean: float, std: float, dtype: np.dtype) -> np.ndarray:
    def estimate(z):
        value = z * std
        error = np.abs(value)
        error += abs(mean)
        error *= 1e-14
        value += mean
        return value, error

    return serial(stream, n, dtype, lambda z: muladd64(z, std, mean), estimate)


@sampler
def log_normal(stream: HostStream, n: int, mean: float = 1.0, std: float = 2.0, *, dtype=F32) -> np.ndarray:
    """``exp(z * std + mean)`` for serial normals ``z`` (the cached normal is shared with :func:`normal`).

    Raises:
        RuntimeError: ``std`` is not positive.
        NotImplementedError: ``dtype`` is not floating.
    """
    dtype, mean, std = floating(dtype, "log_normal_cpu"), float(mean), float(std)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")

    def estimate(z):
        value = z * std
        error = np.abs(value)
        error += abs(mean)
        error += 1
        error *= 1e-14
        value += mean
        np.exp(value, out=value)
        error *= value
        return value, error

    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return serial(stream, n, dtype, lambda z: libm("exp", muladd64(z, std, mean)), estimate)
