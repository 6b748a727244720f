"""Uniform floats: one word a value, two for float64."""

from __future__ import annotations

import numpy as np

from jtorch.streams import capability
from jtorch.streams.exact import BF16, F32, F64, c_name, floating, fma32, fma64, from_f32
from jtorch.streams.layout import BLOCK, as_shape, sampler
from jtorch.streams.mt19937 import HostStream

LOW24 = np.array(0xFFFFFF, np.uint32)
_ULP24 = np.array(2.0**-24, np.float32)


def words24(stream: HostStream, n: int) -> np.ndarray:
    """The low 24 bits of ``n`` words, as int32: a float32 uniform in [0, 1) is ``k * 2**-24``."""
    words = stream.words(n)
    words &= LOW24
    return words.view(np.int32)


def unit32(stream: HostStream, n: int) -> np.ndarray:
    """``n`` float32 uniforms in [0, 1)."""
    values = words24(stream, n).astype(np.float32)
    values *= _ULP24
    return values


def _check_bounds(a: float, b: float, dtype: np.dtype) -> None:
    largest = float(np.finfo(np.float32).max) if dtype == BF16 else float(np.finfo(dtype).max)
    for name, bound in (("from", a), ("to", b)):
        if not -largest <= bound <= largest:
            raise RuntimeError(f"{name} is out of bounds for {c_name(dtype)}, got {bound:g}")
    if a > b:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={a:g} > to={b:g}")
    if b - a > largest:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{dtype.name}>::max(), but found to={b:g} and "
            f"from={a:g} which result in to-from to exceed the limit"
        )


def uniform(stream, shape, a: float = 0.0, b: float = 1.0, *, dtype=F32, strides=None) -> np.ndarray:
    """Values uniform in [a, b): ``fma(u, b - a, a)``, a complex type filled as pairs of reals.

    Raises:
        RuntimeError: ``a > b``, or the bounds or their difference do not fit ``dtype``.
        NotImplementedError: ``dtype`` is not floating or complex.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        real = F32 if dtype == np.complex64 else F64
        pairs = None if strides is None else [*(2 * s for s in strides), 1]
        parts = _uniform(stream, (*as_shape(shape), 2), a, b, dtype=real, strides=pairs)
        return np.ascontiguousarray(parts).view(dtype)[..., 0]
    return _uniform(stream, shape, a, b, dtype=dtype, strides=strides)


@sampler
def _uniform(stream: HostStream, n: int, a: float, b: float, *, dtype: np.dtype) -> np.ndarray:
    dtype = floating(dtype, "check_uniform_bounds")
    a, b = float(a), float(b)
    _check_bounds(a, b, dtype)
    unit = a == 0 and b == 1
    if n <= BLOCK:
        return _block(stream, n, a, b, unit, dtype)
    result = np.empty(n, dtype)
    for i in range(0, n, BLOCK):
        result[i : i + BLOCK] = _block(stream, min(BLOCK, n - i), a, b, unit, dtype)
    return result


def _block(stream: HostStream, n: int, a: float, b: float, unit: bool, dtype: np.dtype) -> np.ndarray:
    if dtype == F64:
        values = stream.doubles(n)
        if unit:
            return values
        values = fma64(values, b - a, a) if capability.fused() else values * (b - a) + a
    else:
        if unit:
            values = unit32(stream, n)
            if dtype == F32:
                return values
        else:
            values = _scaled32(words24(stream, n), np.float32(a), np.float32(b))
        values = from_f32(values, dtype)
    low, high = from_f32(np.array([a, b], np.float32), dtype) if dtype != F64 else (a, b)
    values[values == high] = low  # rounding may reach the excluded end
    return values


def _scaled32(k: np.ndarray, a: np.float32, b: np.float32) -> np.ndarray:
    """``fma(k * 2**-24, b - a, a)`` in float32."""
    span = np.subtract(b, a)
    if not capability.fused():
        values = k.astype(np.float32)
        values *= _ULP24
        values *= span
        values += a
        return values
    low, scale = float(a), float(span)
    if low == 0 or scale / 16 <= abs(low) <= scale * 16:  # the sum fits double's 53 bits, so one cast rounds once
        values = k.astype(np.float64)
        values *= scale * 2.0**-24
        values += low
        return values.astype(np.float32)
    return fma32(k * 2.0**-24, scale, low)


@sampler
def rrelu_slopes(stream: HostStream, n: int, lower: float, upper: float, *, dtype=F32) -> np.ndarray:
    """Slopes uniform in [lower, upper) for the ``n`` elements of a randomised leaky ReLU that are not positive."""
    dtype = floating(dtype, "rrelu_with_noise_out_cpu")
    low, high = (float(from_f32(np.array([v], np.float32), dtype)[0]) if dtype != F64 else v for v in (lower, upper))
    slopes = stream.doubles(n) * (high - low) + low  # two roundings, on every build
    return slopes if dtype == F64 else from_f32(slopes.astype(np.float32), dtype)
