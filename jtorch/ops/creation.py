"""Tensors from nothing. Only the library itself calls these: it adds PyTorch's defaults, devices and checks.

Lengths and types are static; values, starts and steps are run-time numbers, so a changing one compiles nothing.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from .registry import Scalar, Size, op


def _real(x, target: np.dtype):
    """A 0-d number as the type sequences are computed in: float64 (or complex128), rounded once at the end."""
    return x.astype(np.complex128 if np.issubdtype(target, np.complexfloating) else np.float64)


def _is_integer(target: np.dtype) -> bool:
    return target == np.bool_ or np.issubdtype(target, np.integer)


@op(name="full", namespaces=(), differentiable=False)
def full(size: Size, value: Scalar, *, dtype):
    """``value`` everywhere."""
    value = jnp.asarray(value)
    if jnp.iscomplexobj(value) and not np.issubdtype(dtype.np, np.complexfloating):
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    value = value != 0 if dtype.np == np.bool_ else value.astype(dtype.np)
    return jnp.broadcast_to(value, size)


@op(name="arange", namespaces=(), differentiable=False)
def arange(start: Scalar, step: Scalar, *, length: int, dtype):
    """``length`` numbers from ``start`` on, ``step`` apart."""
    start, step = jnp.asarray(start), jnp.asarray(step)
    if _is_integer(dtype.np):
        # as PyTorch does: start and step are converted first
        place = lax.iota(np.int64, length)
        return (start.astype(np.int64) + place * step.astype(np.int64)).astype(dtype.np)
    start, step, place = start.astype(np.float64), step.astype(np.float64), lax.iota(np.float64, length)
    if dtype.np == np.float32:
        # as PyTorch does: of each 8 numbers that fill a vector the first is rounded, and the others are counted from it
        lane = jnp.where(place < length // 16 * 16, place % 8, 0)
        start, place = (start + (place - lane) * step).astype(np.float32).astype(np.float64), lane
    return (start + place * step).astype(dtype.np)


def even_steps(start, end, steps: int, target: np.dtype):
    """``steps`` numbers from ``start`` to ``end`` for a result of type ``target``, not yet converted to it: counted
    from the nearer end, so that both are met exactly."""
    start, end = jnp.asarray(start), jnp.asarray(end)
    if _is_integer(target):  # as PyTorch does: start and end are converted first
        start, end = start.astype(np.int64), end.astype(np.int64)
    start, end = _real(start, target), _real(end, target)
    if steps == 1:
        return start.reshape(1)
    kind = start.dtype if _is_integer(target) else np.dtype(target)

    def rounded(x, kind=kind):
        """``x`` with the precision of the result, which each operation has in PyTorch. A barrier keeps XLA from leaving
        that out, or from multiplying by the reciprocal of a constant divisor."""
        return lax.optimization_barrier(jnp.asarray(x).astype(kind)).astype(start.dtype)

    start, end = rounded(start), rounded(end)
    step = rounded(rounded(end - start) / rounded(steps - 1))
    place = lax.iota(np.float64, steps)
    before, after = rounded(place), rounded(steps - 1 - place)
    near = place < steps // 2
    if kind.itemsize < 4:
        return jnp.where(near, start + rounded(step * before), end - rounded(step * after))
    # PyTorch adds products unrounded: 54.999... of what is 55 would become the integer 54. In two parts they are exact.
    coarse = rounded(step, np.float32) if start.dtype == np.float64 else step
    fine = step - coarse
    return jnp.where(near, start + coarse * before + fine * before, end - coarse * after - fine * after)


@op(name="linspace", namespaces=(), differentiable=False)
def linspace(start: Scalar, end: Scalar, *, steps: int, dtype):
    """``steps`` numbers evenly from ``start`` to ``end``, both included."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    return even_steps(start, end, steps, dtype.np).astype(dtype.np)


@op(name="logspace", namespaces=(), differentiable=False)
def logspace(start: Scalar, end: Scalar, *, steps: int, base: float = 10.0, dtype):
    """``base`` raised to ``steps`` numbers evenly from ``start`` to ``end``, both included."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    exponents = even_steps(start, end, steps, dtype.np)
    return jnp.power(jnp.asarray(base, exponents.dtype), exponents).astype(dtype.np)


@op(name="eye", namespaces=(), differentiable=False)
def eye(n: int, m: int, *, dtype):
    """``n`` by ``m``, ones on the diagonal and zeros elsewhere."""
    if n < 0 or m < 0:
        raise RuntimeError(f"n and m must be greater or equal to 0, got {n} and {m}")
    return (lax.broadcasted_iota(np.int32, (n, m), 0) == lax.broadcasted_iota(np.int32, (n, m), 1)).astype(dtype.np)


def _triangle_indices(name: str, row: int, col: int, keep, dtype):
    for what, n in (("row", row), ("col", col)):
        if n < 0:
            raise RuntimeError(f"{what} must be non-negative, got{n}")
    return jnp.asarray(np.stack(np.nonzero(keep)), dtype.np)


@op(name="tril_indices", namespaces=(), differentiable=False)
def tril_indices(row: int, col: int, offset: int = 0, *, dtype):
    """The coordinates of the lower triangle of a ``row`` by ``col`` matrix, as 2 rows."""
    keep = np.tri(max(row, 0), max(col, 0), offset, bool)
    return _triangle_indices("tril_indices", row, col, keep, dtype)


@op(name="triu_indices", namespaces=(), differentiable=False)
def triu_indices(row: int, col: int, offset: int = 0, *, dtype):
    """The coordinates of the upper triangle of a ``row`` by ``col`` matrix, as 2 rows."""
    keep = ~np.tri(max(row, 0), max(col, 0), offset - 1, bool)
    return _triangle_indices("triu_indices", row, col, keep, dtype)


# --- windows -------------------------------------------------------------------------------------------------------


def _window(length: int, periodic: bool, shape, dtype):
    """``shape(phase)`` at ``length`` phases from 0 to 1; a periodic window leaves out the last."""
    if length < 0:
        raise RuntimeError(f"window_length must be non-negative, got {length}")
    if length <= 1:
        return jnp.ones((length,), dtype.np)
    return shape(lax.iota(np.float64, length) / (length if periodic else length - 1)).astype(dtype.np)


@op(name="general_cosine_window", namespaces=(), differentiable=False)
def general_cosine_window(window_length: int, coefficients: tuple[float, ...], periodic: bool = True, *, dtype):
    """``a[0] - a[1] cos(2 pi x) + a[2] cos(4 pi x) - ...`` over one period: Hann is (0.5, 0.5), Hamming (0.54, 0.46),
    Blackman (0.42, 0.5, 0.08)."""

    def shape(x):
        return sum((-1) ** k * a * jnp.cos(2 * math.pi * k * x) for k, a in enumerate(coefficients))

    return _window(window_length, periodic, shape, dtype)


@op(name="bartlett_window", namespaces=(), differentiable=False)
def bartlett_window(window_length: int, periodic: bool = True, *, dtype):
    """A triangle from 0 up to 1 and down to 0."""
    return _window(window_length, periodic, lambda x: 1 - jnp.abs(2 * x - 1), dtype)


@op(name="kaiser_window", namespaces=(), differentiable=False)
def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype):
    """The Kaiser window of shape parameter ``beta``."""

    def shape(x):
        inside = jnp.maximum(1 - (2 * x - 1) ** 2, 0)
        # both Bessel functions in the scaled form, which does not overflow for a large beta
        at = beta * jnp.sqrt(inside)
        return lax.bessel_i0e(at) / lax.bessel_i0e(jnp.float64(beta)) * jnp.exp(at - beta)

    return _window(window_length, periodic, shape, dtype)
