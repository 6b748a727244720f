"""Draws of categories and counts: multinomial and Poisson."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from jtorch.streams.continuous import exponential
from jtorch.streams.exact import BF16, DIGITS, F16, F64, scalar_name
from jtorch.streams.mt19937 import HostStream

_MOST_CATEGORIES = 1 << 24


def multinomial(stream: HostStream, weights: np.ndarray, k: int, replacement: bool = False) -> np.ndarray:
    """``k`` indices (int64) for each row of non-negative ``weights``, of shape (C,) or (N, C).

    Among categories of zero weight, needed only when ``k`` exceeds the number of positive weights, the order is by
    index; PyTorch's follows from its partial sort.

    Raises:
        RuntimeError: the weights are not a floating vector or matrix, are negative, infinite, NaN or all zero, or
            there are fewer categories than samples without replacement.
    """
    if weights.dtype not in DIGITS:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {scalar_name(weights.dtype)}"
        )
    if weights.ndim not in (1, 2):
        raise RuntimeError(f"prob_dist must be 1 or 2 dim, got {weights.ndim}")
    if k <= 0:
        raise RuntimeError(f"cannot sample n_sample <= 0 samples, got {k}")
    categories = weights.shape[-1]
    if not replacement and k > categories:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: {k} of {categories} categories"
        )
    if categories > _MOST_CATEGORIES:
        raise RuntimeError(f"number of categories cannot exceed 2^24, got {categories}")
    rows = np.atleast_2d(weights)
    with stream.lock:
        if replacement and k > 1:
            result = _with_replacement(stream, rows, k)
        else:
            result = _without_replacement(stream, rows, k)
    return result.reshape(*weights.shape[:-1], k)


def _without_replacement(stream: HostStream, rows: np.ndarray, k: int) -> np.ndarray:
    """The largest ``w / e`` for exponential ``e`` are the samples."""
    if not rows.size:
        return np.empty((rows.shape[0], k), np.int64)
    wide = rows.astype(np.float64)
    if not ((wide >= 0) & (wide < np.inf)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (wide.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        race = rows / exponential(stream, rows.shape, dtype=rows.dtype)
    if rows.dtype == BF16:
        race = race.astype(np.float32)
    if k == 1:
        return race.argmax(-1)[:, None]
    return np.argsort(-race, axis=-1, kind="stable")[:, :k]


def _with_replacement(stream: HostStream, rows: np.ndarray, k: int) -> np.ndarray:
    """Search uniforms in each row's running sum, which PyTorch accumulates left to right in the weights' type."""
    if rows.dtype in (F16, BF16):
        rows = rows.astype(np.float32)
    if not (rows >= 0).all():
        raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
    if not np.isfinite(rows).all():
        raise RuntimeError("invalid multinomial distribution (encountering probability entry = infinity or NaN)")
    result = np.empty((rows.shape[0], k), np.int64)
    for row, found in zip(rows, result, strict=True):
        cumulative = np.cumsum(row, dtype=row.dtype)
        if not (cumulative.size and cumulative[-1] > 0):
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        cumulative /= cumulative[-1]
        cumulative[-1] = 1
        found[:] = np.searchsorted(cumulative.astype(np.float64), stream.doubles(k))
    return result


def poisson(stream: HostStream, rate: np.ndarray) -> np.ndarray:
    """Poisson counts with the rates given, in their shape and floating type.

    Rates below 10 multiply uniforms until the product falls under ``exp(-rate)``; larger ones use Hoermann's
    transformed rejection ("The transformed rejection method for generating Poisson random variables", 1993).

    Raises:
        RuntimeError: a rate is negative or NaN.
        NotImplementedError: the type is not floating.
    """
    if rate.dtype not in DIGITS:
        raise NotImplementedError(f'"poisson_cpu" not implemented for {scalar_name(rate.dtype)!r}')
    rates = rate.astype(np.float64).reshape(-1)
    if not (rates >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    with stream.scalar_doubles(rates.size) as draw:
        counts = [_poisson_large(r, draw) if r >= 10 else _poisson_small(r, draw) for r in rates.tolist()]
    return np.array(counts, F64).astype(rate.dtype).reshape(rate.shape)


def _poisson_small(rate: float, draw: Callable[[], float]) -> int:
    if rate == 0:
        return 0
    limit, product, count = math.exp(-rate), draw(), 0
    while product > limit:
        product *= draw()
        count += 1
    return count


def _poisson_large(rate: float, draw: Callable[[], float]) -> int:
    root, log_rate = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    squeeze = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = draw() - 0.5
        v = draw()
        distance = 0.5 - abs(u)
        k = math.floor((2 * a / distance + b) * u + rate + 0.43)
        if distance >= 0.07 and v <= squeeze:
            return k
        if k < 0 or (distance < 0.013 and v > distance):
            continue
        height = math.log(v) + math.log(inverse_alpha) - math.log(a / (distance * distance) + b)
        if height <= -rate + k * log_rate - math.lgamma(k + 1):
            return k
