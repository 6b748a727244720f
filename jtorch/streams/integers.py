"""Random integers, in every element type."""

from __future__ import annotations

import warnings

import numpy as np

from jtorch.streams.exact import DIGITS, F16, F64, c_name, from_f32, from_i64, scalar_name
from jtorch.streams.layout import BLOCK, sampler
from jtorch.streams.mt19937 import HostStream

I64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
_WIDE_RANGE = 1 << 28  # from here on a value takes two words
_MIN_I64 = -(1 << 63)


def _remainder(values: np.ndarray, m: int) -> np.ndarray:
    """``values % m`` in place, by NumPy's vectorised division."""
    if m & (m - 1) == 0:
        values &= values.dtype.type(m - 1)
        return values
    quotient = values // values.dtype.type(m)
    quotient *= values.dtype.type(m)
    values -= quotient
    return values


def _fill(stream: HostStream, n: int, span: int, low: int, dtype: np.dtype) -> np.ndarray:
    result = np.empty(n, dtype)
    for i in range(0, n, BLOCK):
        size = min(BLOCK, n - i)
        draws = stream.words64(size) if span >= _WIDE_RANGE else stream.words(size)
        if span < 1 << 64:
            draws = _remainder(draws, span)
        values = draws.view(np.int64) if span >= _WIDE_RANGE else draws.astype(np.int64)
        if low:
            values += np.int64(low)
        result[i : i + size] = from_i64(values, dtype)
    return result


def _represent(value: int, dtype: np.dtype) -> int:
    return int(from_i64(np.array([value], np.int64), dtype)[0])


def _ulp(value: int, digits: int) -> int:
    return 1 << (abs(value).bit_length() - digits)


def _shrink(low: int, high: int, dtype: np.dtype) -> tuple[int, int]:
    """Bounds moved inwards so that converting to a floating type cannot leave [low, high)."""
    digits = DIGITS[dtype]
    above = _represent(low + 1, dtype)
    if above < low:
        low = above + _ulp(low + 1, digits)
    below = _represent(high - 1, dtype)
    if below >= high:
        high = below - _ulp(high - 1, digits)
    return low, high


def _check_bounds(low: int, last: int, dtype: np.dtype) -> None:
    """PyTorch's checks of the first and last value; it only warns where a float merely cannot hold every integer."""
    if dtype in DIGITS:
        largest = int(np.finfo(np.float16).max) if dtype == F16 else 1 << 64
        smallest = -largest
    elif dtype == BOOL:
        smallest, largest = 0, 1
    else:
        smallest, largest = np.iinfo(dtype).min, np.iinfo(dtype).max
    for name, value in (("from", low), ("to - 1", last)):
        if not smallest <= value <= largest:
            raise RuntimeError(f"{name} is out of bounds for {c_name(dtype)}, got {value}")
    if dtype in DIGITS:
        exact = 1 << DIGITS[dtype]
        for name, value in (("from", low), ("to - 1", last)):
            if not -exact <= value <= exact:
                warnings.warn(
                    f"{name} is out of bounds [-(2^{DIGITS[dtype]}), 2^{DIGITS[dtype]}]. Due to precision limitations "
                    f"{c_name(dtype)} can support discrete uniform distribution only within this range.",
                    stacklevel=5,
                )


def _check_dtype(dtype: np.dtype, kernel: str, wide_unsigned: bool) -> None:
    wide = dtype.name in ("uint16", "uint32", "uint64")
    if dtype.kind == "c":
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    if not (dtype in DIGITS or dtype == BOOL or (dtype.kind in "iu" and (wide_unsigned or not wide))):
        raise NotImplementedError(f'"{kernel}" not implemented for {scalar_name(dtype)!r}')


@sampler
def random_from_to(stream: HostStream, n: int, low: int, high: int | None, *, dtype=I64) -> np.ndarray:
    """Integers in [low, high), as ``Tensor.random_(low, high)`` and ``randint`` draw them.

    ``high=None`` goes up to the type's maximum (for floats, the last consecutive integer); ``low=-2**63, high=None``
    means all 64-bit integers.

    Raises:
        RuntimeError: the range is empty, or a bound does not fit ``dtype``.
        NotImplementedError: ``dtype`` has no integer sampler.
    """
    dtype = np.dtype(dtype)
    if high is None and low == _MIN_I64:
        kernel = "random_full_64_bits_range_kernel_cpu"
        if dtype.name in ("int32", "int16", "int8", "uint8"):
            raise RuntimeError(f"{kernel} handles only int64, double, float and bfloat16")
        if dtype.name not in ("int64", "float64", "float32", "bfloat16"):
            raise NotImplementedError(f'"{kernel}" not implemented for {scalar_name(dtype)!r}')
        return _fill(stream, n, 1 << 64, 0, dtype)
    _check_dtype(dtype, "random_from_to_kernel_cpu", wide_unsigned=True)
    if high is None:
        if dtype in DIGITS:
            last = 1 << DIGITS[dtype]
        else:
            last = 1 if dtype == BOOL else int(np.iinfo(dtype).max)
        if last >= 1 << 63:
            raise RuntimeError(f"to - 1 is out of bounds for {c_name(dtype)}: pass an upper bound below 2**63")
        _check_bounds(low, last, dtype)
        bounds = _shrink(low, last + 1, dtype)[0] if dtype in DIGITS else low, last + 1
    else:
        if low >= high:
            raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        _check_bounds(low, high - 1, dtype)
        bounds = _shrink(low, high, dtype) if dtype in DIGITS else (low, high)
        if bounds[0] >= bounds[1]:
            raise RuntimeError(
                f"random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got "
                f"from={bounds[0]} >= to={bounds[1]}"
            )
    return _fill(stream, n, bounds[1] - bounds[0], bounds[0], dtype)


randint = random_from_to


@sampler
def random_(stream: HostStream, n: int, *, dtype=I64) -> np.ndarray:
    """``Tensor.random_()``: non-negative integers up to the type's maximum, or the last consecutive one of a float.

    Raises:
        NotImplementedError: ``dtype`` has no such sampler.
    """
    dtype = np.dtype(dtype)
    _check_dtype(dtype, "random_kernel_cpu", wide_unsigned=False)
    result = np.empty(n, dtype)
    for i in range(0, n, BLOCK):
        size = min(BLOCK, n - i)
        if dtype == I64:
            values = stream.words64(size) & np.uint64((1 << 63) - 1)
        elif dtype == F64:
            values = _remainder(stream.words64(size), (1 << 53) + 1)
        elif dtype in DIGITS:
            values = _remainder(stream.words(size), (1 << DIGITS[dtype]) + 1).astype(np.float32)
            values = from_f32(values, dtype)
        else:
            largest = 1 if dtype == BOOL else int(np.iinfo(dtype).max)
            values = stream.words(size) & np.uint32(largest)
        result[i : i + size] = values
    return result
