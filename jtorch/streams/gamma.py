"""Gamma and Dirichlet draws, by Marsaglia and Tsang, "A simple method for generating gamma variables" (2000)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from jtorch.streams.exact import F32, F64, scalar_name
from jtorch.streams.mt19937 import HostStream

# two constants that PyTorch writes as float32
_THIRD, _SQUEEZE = float(np.float32(1) / np.float32(3)), float(np.float32(0.0331))


def _concentrations(alpha: np.ndarray, kernel: str) -> type:
    if alpha.dtype not in (F32, F64):
        raise NotImplementedError(f'"{kernel}" not implemented for {scalar_name(alpha.dtype)!r}')
    return alpha.dtype.type


def _draw_gamma(alpha, stream: HostStream, draw: Callable[[], float]) -> float:
    """One gamma variable; ``alpha`` is a NumPy scalar whose type fixes the rounding of its first steps."""
    number = type(alpha)
    scale = 1.0
    if alpha < 1:
        if alpha == 0:
            return 0.0
        scale = math.pow(1 - draw(), float(number(1) / alpha))
        alpha = number(alpha + number(1))
    d = float(alpha - number(_THIRD))
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        y = 0.0
        while y <= 0:
            x = stream.scalar_normal(draw)
            y = 1.0 + c * x
        v = y * y * y
        u = 1 - draw()
        square = x * x
        if u < 1.0 - _SQUEEZE * square * square:
            return scale * d * v
        if math.log(u) < 0.5 * square + d * (1.0 - v + math.log(v)):
            return scale * d * v


def standard_gamma(stream: HostStream, alpha: np.ndarray) -> np.ndarray:
    """Gamma variables with shape parameters ``alpha`` and scale 1, in its shape and type (float32, float64).

    Raises:
        NotImplementedError: another type.
    """
    number = _concentrations(alpha, "gamma_cpu")
    tiny = np.finfo(number).tiny
    with stream.scalar_doubles(alpha.size) as draw, np.errstate(all="ignore"):
        values = [max(tiny, number(_draw_gamma(a, stream, draw))) for a in alpha.reshape(-1)]
    return np.array(values, alpha.dtype).reshape(alpha.shape)


def dirichlet(stream: HostStream, alpha: np.ndarray) -> np.ndarray:
    """Points of the simplex with concentrations ``alpha`` along the last axis.

    The gamma variables are PyTorch's; their sum is added up in NumPy's order, so float64 results of five and more
    categories may differ from PyTorch's in the last bits (as PyTorch's do between processors).

    Raises:
        NotImplementedError: the type is not float32 or float64.
    """
    number = _concentrations(alpha, "dirichlet")
    tiny = np.finfo(np.float64).tiny
    with stream.scalar_doubles(alpha.size) as draw, np.errstate(all="ignore"):
        values = [max(tiny, _draw_gamma(a, stream, draw)) for a in alpha.astype(np.float64).reshape(-1)]
    gammas = np.array(values, F64).reshape(alpha.shape)
    shares = (gammas / gammas.sum(-1, keepdims=True)).astype(alpha.dtype)
    return np.clip(shares, np.finfo(number).tiny, np.nextafter(number(1), number(0)))
