"""PyTorch's vectorised Box-Muller transform of float32 uniforms, to the last bit.

Its AVX2 kernel evaluates the Cephes polynomials for log, sin and cos in float32 with fused multiply-adds. NumPy has no
fused multiply-add, so each becomes a double product and sum followed by one cast to float32; over all 2**24 possible
inputs of log and of sin/cos this gives the kernel's bits. Where an operand has few bits the product is exact in float32
and the float32 operation itself rounds once.

Values come in groups of 16: the first 8 uniforms give the radii, the last 8 the angles; the cosines land in the first
8 places, the sines in the last 8.
"""

from __future__ import annotations

import math

import numpy as np

from jtorch.streams import capability

F32, F64, I32 = np.float32, np.float64, np.int32
_EIGHT = np.dtype("V32")  # eight 4-byte values moved as one


def _f32(*values: float) -> np.ndarray:
    return np.array(values, F32)


def _constants(*values: float) -> list[np.ndarray]:
    """float32 constants held in double, 0-d because NumPy takes those quickest."""
    return [np.array(float(F32(v))) for v in values]


_LOG = _constants(
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2_LOW, _LN2_HIGH = np.array(-2.12194440e-4, F32), np.array(0.693359375, F32)  # the high part has 9 bits
_SQRT_HALF_BITS = np.array(0x3F3504F3, I32)
_MANTISSA_BITS, _ONE_24 = np.array(23, I32), np.array(1 << 24, I32)
_ONE, _MINUS_TWO, _HALF = np.array(1, F32), np.array(-2, F32), np.array(0.5, F32)
_24 = np.array(24, I32)

_TURN = np.array(F32(2 * math.pi) * F32(2.0**-24), F32)
_FOUR_OVER_PI = np.array(1.27323954473516, F32)
_PI4_HIGH, _PI4_MIDDLE = np.array(-0.78515625, F32), np.array(-2.4187564849853515625e-4, F32)  # 8 bits each
_PI4_LOW = np.array(float(F32(-3.77489497744594108e-8)))
# row 0: cosine, row 1: sine
_TRIG = [
    np.array(np.stack([_f32(c), _f32(s)]), F64)
    for c, s in (
        (2.443315711809948e-5, -1.9515295891e-4),
        (-1.388731625493765e-3, 8.3321608736e-3),
        (4.166664568298827e-2, -1.6666654611e-1),
    )
]
_MINUS_HALF = np.array(-0.5)
_EVEN, _1, _29, _30, _31 = (np.array(v, I32) for v in (-2, 1, 29, 30, 31))
_SIGN = np.array(-0x80000000, I32)
_QUADRANT_SHIFT = np.array([[2], [0]], I32)


class _Scratch:
    """Working memory for ``m`` pairs."""

    def __init__(self, m: int):
        self.i = np.empty((2, m), I32)
        self.f = np.empty((4, m), F32)
        self.poly32 = np.empty((2, m), F32)
        self.d, self.poly, self.factor, self.term = (np.empty((2, m)) for _ in range(4))


def box_muller(k: np.ndarray) -> np.ndarray:
    """24-bit integers (int32, a multiple of 16) -> standard normals (float32). Best called for a block at a time."""
    transform = _vector if capability.vector_normal() else _scalar
    u = np.ascontiguousarray(k.view(_EIGHT).reshape(-1, 2).T).view(I32)
    result = np.ascontiguousarray(transform(u).view(_EIGHT).T)
    return result.reshape(-1).view(F32)


def _vector(u: np.ndarray) -> np.ndarray:
    """(radius source, angle source) -> (radius * cos, radius * sin), rows of a (2, m) array. Overwrites ``u``."""
    s = _Scratch(u.shape[1])
    radius = _radius(u[0], s)
    result = _cos_sin(u, s)
    result *= radius
    return result


def _radius(k: np.ndarray, s: _Scratch) -> np.ndarray:
    """``sqrt(-2 log(1 - k 2**-24))``; the result lies in the last row of ``s.f``."""
    a, e = s.i
    f, t, z, out = s.f
    y32, y, x64 = s.poly32[0], s.d[0], s.d[1]
    # 1 - u = m * 2**e with m in [sqrt(1/2), sqrt(2)); x = m - 1 is exact
    np.subtract(_ONE_24, k, out=a)
    np.copyto(f, a, casting="same_kind")
    bits = f.view(I32)
    np.subtract(bits, _SQRT_HALF_BITS, out=e)
    e >>= _MANTISSA_BITS
    np.left_shift(e, _MANTISSA_BITS, out=a)
    bits -= a
    x = f
    x -= _ONE
    e -= _24
    np.copyto(out, e, casting="same_kind")  # the exponent as float32
    np.copyto(x64, x)
    np.multiply(x, x, out=z)
    np.multiply(x64, _LOG[0], out=y)
    y += _LOG[1]
    for c in _LOG[2:]:
        np.copyto(y32, y, casting="same_kind")
        np.copyto(y, y32)
        y *= x64
        y += c
    np.copyto(y32, y, casting="same_kind")
    y32 *= x
    np.copyto(y, y32)
    np.copyto(x64, z)
    y *= x64
    np.multiply(out, _LN2_LOW, out=t)
    np.copyto(x64, t)
    y += x64  # fma(y, z, e * low)
    np.copyto(y32, y, casting="same_kind")
    z *= _HALF
    y32 -= z
    y32 += x
    out *= _LN2_HIGH
    out += y32
    out *= _MINUS_TWO
    return np.sqrt(out, out=out)


def _cos_sin(u: np.ndarray, s: _Scratch) -> np.ndarray:
    """cos and sin of ``2 pi u[1] 2**-24``, rows of ``s.poly32``. Overwrites ``u``, leaves the last row of ``s.f``."""
    x, y, z = s.f[:3]
    j, swap = s.i
    p, p32, factor, term = s.poly, s.poly32, s.factor, s.term
    z64, x64 = factor
    np.copyto(x, u[1], casting="same_kind")
    x *= _TURN
    np.multiply(x, _FOUR_OVER_PI, out=y)
    np.copyto(j, y, casting="unsafe")  # truncates
    j += _1
    j &= _EVEN
    # reduce by j * pi/4, given in three parts; the first two products are exact in float32
    np.copyto(y, j, casting="same_kind")
    np.multiply(y, _PI4_HIGH, out=z)
    x += z
    np.multiply(y, _PI4_MIDDLE, out=z)
    x += z
    np.multiply(y, _PI4_LOW, out=x64, dtype=F64)
    np.copyto(z64, x)
    x64 += z64
    np.copyto(x, x64, casting="same_kind")
    np.copyto(x64, x)
    np.multiply(x, x, out=z)
    np.copyto(z64, z)
    # both polynomials in z at once, up to their last steps: fma(y z, z, -z/2) + 1 and fma(y z, x, x)
    np.multiply(z64, _TRIG[0], out=p)
    p += _TRIG[1]
    np.copyto(p32, p, casting="same_kind")
    np.copyto(p, p32)
    p *= z64
    p += _TRIG[2]
    np.copyto(p32, p, casting="same_kind")
    p32 *= z
    np.copyto(p, p32)
    np.multiply(z64, _MINUS_HALF, out=term[0])
    np.copyto(term[1], x64)
    p *= factor
    p += term
    np.copyto(p32, p, casting="same_kind")
    p32[0] += _ONE
    # j & 2 swaps the two; the cosine is negative for j = 2, 4, the sine for j = 4, 6
    bits = p32.view(I32)
    np.left_shift(j, _30, out=swap)
    swap >>= _31
    difference = z.view(I32)
    np.bitwise_xor(bits[0], bits[1], out=difference)
    difference &= swap
    bits ^= difference
    signs = u
    np.add(j, _QUADRANT_SHIFT, out=signs)
    signs <<= _29
    signs &= _SIGN
    bits ^= signs
    return p32


def _scalar(u: np.ndarray) -> np.ndarray:
    """As builds without the kernel compute it: the C library's logf, cosf, sinf (used by NumPy's complex functions)."""
    minus_u = u[0] * F32(-(2.0**-24))
    theta = ((2 * math.pi) * (u[1] * 2.0**-24)).astype(F32)
    log = np.log1p(minus_u.astype(np.complex64)).real
    turn = np.exp(1j * theta.astype(np.complex64))
    radius = np.sqrt(F32(-2) * log)
    return np.stack([radius * turn.real, radius * turn.imag])
