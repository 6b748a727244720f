"""Arithmetic with PyTorch's rounding: fused multiply-add, the C library's functions, conversion to an element type."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction

import ml_dtypes
import numpy as np

from jtorch.streams import capability

F16, F32, F64, BF16 = (np.dtype(t) for t in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16))
DIGITS = {F16: 11, BF16: 8, F32: 24, F64: 53}  #: significand bits of the floating types samplers fill

# --- element types -------------------------------------------------------------------------------------------------

_SCALAR_NAMES = {
    "float64": "Double", "float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
    "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "uint16": "UInt16",
    "uint32": "UInt32", "uint64": "UInt64", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
}  # fmt: skip
_C_NAMES = {
    "float64": "double", "float32": "float", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "int64": "long",
    "int32": "int", "int16": "short int", "int8": "signed char", "uint8": "unsigned char", "bool": "bool",
    "uint16": "short unsigned int", "uint32": "unsigned int", "uint64": "long unsigned int",
}  # fmt: skip


def scalar_name(dtype: np.dtype) -> str:
    """PyTorch's name for the type in its messages, e.g. ``Float``."""
    return _SCALAR_NAMES.get(dtype.name, dtype.name.capitalize())


def c_name(dtype: np.dtype) -> str:
    """The name of the C++ type, e.g. ``c10::Half``."""
    return _C_NAMES.get(dtype.name, dtype.name)


def floating(dtype, kernel: str) -> np.dtype:
    """``dtype`` as a NumPy type, if it is one of the four floating types.

    Raises:
        NotImplementedError: any other type, in PyTorch's words for its kernel of that name.
    """
    dtype = np.dtype(dtype)
    if dtype not in DIGITS:
        raise NotImplementedError(f'"{kernel}" not implemented for {scalar_name(dtype)!r}')
    return dtype


def from_f32(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float32 -> float32, float16 or bfloat16, to nearest even."""
    if dtype == F32:
        return values
    if dtype == BF16:
        return values.astype(BF16)
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(dtype)


def from_f64(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float64 -> any floating type; the 16-bit types are reached through float32, as PyTorch does."""
    if dtype == F64:
        return values
    with np.errstate(over="ignore", under="ignore"):
        return from_f32(values.astype(F32), dtype)


def from_i64(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """int64 -> any type PyTorch's integer samplers fill (16-bit floats through float32)."""
    if dtype == values.dtype:
        return values
    if dtype in (F16, BF16):
        return from_f32(values.astype(F32), dtype)
    return values.astype(dtype)


# --- fused multiply-add --------------------------------------------------------------------------------------------


def _two_sum(a, b):
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _two_product(a, b):
    p = a * b
    t = 134217729.0 * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = 134217729.0 * b
    b_high = t - (t - b)
    b_low = b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _to_odd(s: np.ndarray, error: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
    """``s`` moved one unit towards ``s + error`` where ``doubtful`` and inexact, to make a further rounding right."""
    fix = doubtful & (error != 0)
    if fix.any():
        bits = s.view(np.int64).copy()
        bits[fix] += np.where((error[fix] > 0) == (s[fix] > 0), 1, -1)
        s = bits.view(F64)
    return s


def fma32(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """``a * b + c`` of float32 values (given as float32 or double), rounded once to float32.

    The product is exact in double. Rounding the sum twice goes wrong only where the double sum is a float32 tie.
    """
    p = np.multiply(a, b, dtype=F64)
    s = p + c
    tie = (s.view(np.int64) & 0x1FFFFFFF) == 0x10000000
    if tie.any():
        s = _to_odd(s, _two_sum(p, c)[1], tie)
    with np.errstate(over="ignore", under="ignore"):
        return s.astype(F32)


def _fma_fraction(a: float, b: float, c: float) -> float:
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return a * b + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return float(exact)
    except OverflowError:
        return math.copysign(math.inf, exact)


def fma64(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """``a * b + c`` in double, rounded once (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums")."""
    if c == 0:
        return a * b + 0.0
    if not all(v == 0 or 2.0**-900 < abs(v) < 2.0**900 for v in (b, c)):  # the splitting above would overflow
        return np.array([_fma_fraction(v, b, c) for v in a.tolist()], F64)
    high, low = _two_product(a, b)
    t, t_low = _two_sum(c, low)
    v, v_low = _two_sum(high, t)
    z, error = _two_sum(t_low, v_low)
    return v + _to_odd(z, error, (z.view(np.int64) & 1) == 0)


def muladd64(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """``a * b + c`` in double as the machine's PyTorch build rounds it."""
    return fma64(a, b, c) if capability.fused() else a * b + c


# --- the C library -------------------------------------------------------------------------------------------------
# PyTorch's double kernels call the C library, as Python's math module does. NumPy's vector versions may differ in the
# last bit, on some machines and for some functions only: a sample of values tells.

_PROBED_RANGE = {
    "log": (0, 1), "log1p": (-1, 0), "exp": (-20, 20), "tan": (-1.57, 1.57), "sin": (0, 6.3), "cos": (0, 6.3)
}  # fmt: skip


def _through_math(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    return np.fromiter(map(function, x.tolist()), F64, x.size)


@functools.cache
def _numpy_agrees(name: str) -> bool:
    low, high = _PROBED_RANGE[name]
    x = np.random.RandomState(1).uniform(low, high, 8192)
    return np.array_equal(getattr(np, name)(x), _through_math(getattr(math, name), x))


def libm(name: str, x: np.ndarray) -> np.ndarray:
    """The C library's log, log1p, exp, tan, sin or cos of a 1-D array of doubles, to the last bit."""
    if x.size >= 64 and _numpy_agrees(name):
        return getattr(np, name)(x)
    try:
        return _through_math(getattr(math, name), x)
    except (ValueError, OverflowError):  # where math raises (log of 0, exp beyond range), NumPy's answer is exact
        return np.array([_scalar(name, v) for v in x.tolist()], F64)


def _scalar(name: str, v: float) -> float:
    try:
        return getattr(math, name)(v)
    except (ValueError, OverflowError):
        with np.errstate(all="ignore"):
            return float(getattr(np, name)(v))


def rounding_in_doubt(d: np.ndarray, error: np.ndarray | float) -> np.ndarray:
    """Indices where some double within ``error`` of ``d`` rounds to another float32 than another (or is not finite)."""
    return np.flatnonzero((d - error).astype(F32) != (d + error).astype(F32))
