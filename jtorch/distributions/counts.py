"""Drawing binomial counts on the host, from PyTorch's stream of doubles.

Small means count geometric gaps; others use transformed rejection with squeeze (Hoermann, "The generation of binomial
random variates", 1993).
"""

from __future__ import annotations

import math

import numpy as np

from jtorch.tensor.dispatch import wrap
from jtorch.tensor.random import generator_for
from jtorch.trace.value import put

_STIRLING = (
    0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
    0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287,
)  # fmt: skip


def _stirling_error(k: float) -> float:
    """``log(k!)`` less Stirling's approximation at k + 1."""
    if k <= 9:
        return _STIRLING[int(k)]
    square = (k + 1) ** 2
    return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)


def _by_gaps(n: float, p: float, draw) -> float:
    log_q, position, successes = math.log1p(-p), 0.0, 0
    while True:
        position += math.ceil(math.log(draw()) / log_q)
        if position > n:
            return successes
        successes += 1


def _by_rejection(n: float, p: float, draw) -> float:
    root = math.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * root
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre, squeeze, odds = n * p + 0.5, 0.92 - 4.2 / b, p / (1 - p)
    alpha, m = (2.83 + 5.1 / b) * root, math.floor((n + 1) * p)
    while True:
        u, v = draw() - 0.5, draw()
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + centre)
        if us >= 0.07 and v <= squeeze:
            return k
        if k < 0 or k > n:
            continue
        bound = (
            (m + 0.5) * math.log((m + 1) / (odds * (n - m + 1)))
            + (n + 1) * math.log((n - m + 1) / (n - k + 1))
            + (k + 0.5) * math.log(odds * (n - k + 1) / (k + 1))
            + _stirling_error(m) + _stirling_error(n - m) - _stirling_error(k) - _stirling_error(n - k)
        )  # fmt: skip
        if math.log(v * alpha / (a / us**2 + b)) <= bound:
            return k


def _draw(n: float, p: float, draw) -> float:
    if n <= 0 or p <= 0:
        return 0
    if p >= 1:
        return n
    if math.isnan(p):
        return math.nan
    q = min(p, 1 - p)
    k = (_by_rejection if n * q >= 10 else _by_gaps)(n, q, draw)
    return k if p <= 0.5 else n - k


def binomial(count, prob, generator=None):
    """Binomial counts for Tensors ``count`` and ``prob`` of one shape.

    Raises:
        ValueError: one of them is not of a floating dtype.
    """
    for name, t in (("count", count), ("prob", prob)):
        if not t.is_floating_point():
            raise ValueError(f"binomial only supports floating-point dtypes for {name}, got: {t.dtype}")
    n = count.detach()._host("binomial()").astype(np.float64).reshape(-1)
    p = prob.detach()._host("binomial()").astype(np.float64).reshape(-1)
    stream = generator_for(prob.device, generator)._stream
    with stream.scalar_doubles(n.size) as draw:
        values = [_draw(a, b, draw) for a, b in zip(n.tolist(), p.tolist(), strict=True)]
    data = np.array(values, np.float64).astype(prob.dtype.np).reshape(tuple(prob.shape))
    return wrap(put(data, prob.device))
