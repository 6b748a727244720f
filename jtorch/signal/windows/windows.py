"""The windows. Each is a function of the place in a period, [0, 1], which numpy works out in float64."""

from __future__ import annotations

import functools
import inspect
import math

import numpy as np

from ... import devices, dtypes
from ...tensor.creation import dtype_of, finish
from ...tensor.dispatch import wrap
from ...tensor.export import with_keywords
from ...tensor.layout import strided
from ...trace.value import put


def _window(form):
    """A window, from a function of its length and options that gives its values as a function of ``np.arange(M)``.

    Adds what all windows take and check.
    """

    @functools.wraps(form)
    def window(M, *, dtype=None, layout=strided, device=None, requires_grad=False, **options):
        values, name = form(M, **options), form.__name__
        if M < 0:
            raise ValueError(f"{name} requires non-negative window length, got M={M}")
        if layout is not strided:
            raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
        kind = dtype_of(dtype)
        if kind not in (dtypes.float32, dtypes.float64):
            raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind}")
        numbers = values(np.arange(M, dtype=np.float64)) if M > 1 else np.ones(M)
        return finish(wrap(put(np.asarray(numbers).astype(kind.np), devices.resolve(device))), requires_grad)

    window.__signature__ = with_keywords(
        inspect.signature(form), dtype=None, layout=strided, device=None, requires_grad=False
    )
    return window


def _last(M: int, sym: bool) -> float:
    """The number of steps in a period."""
    return M - 1 if sym else M


def _cosines(M, a, sym):
    return lambda k: sum((-1) ** i * w * np.cos(2 * math.pi * i * k / _last(M, sym)) for i, w in enumerate(a))


@_window
def general_cosine(M, *, a, sym=True):
    """``a[0] - a[1] cos(2 pi k / (M - 1)) + a[2] cos(4 pi k / (M - 1)) - ...``

    Raises:
        TypeError: the coefficients are no sequence.
        ValueError: there are none.
    """
    if not hasattr(a, "__iter__"):
        raise TypeError("Coefficients must be a list/tuple")
    a = tuple(a)
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return _cosines(M, a, sym)


@_window
def general_hamming(M, *, alpha=0.54, sym=True):
    """``alpha - (1 - alpha) cos(2 pi k / (M - 1))``."""
    return _cosines(M, (alpha, 1 - alpha), sym)


def _fixed(name: str, coefficients: tuple[float, ...]):
    def window(M, *, sym=True):
        return _cosines(M, coefficients, sym)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"The {name.capitalize()} window: ``general_cosine`` with coefficients {coefficients}."
    return _window(window)


hann = _fixed("hann", (0.5, 0.5))
hamming = _fixed("hamming", (0.54, 0.46))
blackman = _fixed("blackman", (0.42, 0.5, 0.08))
nuttall = _fixed("nuttall", (0.3635819, 0.4891775, 0.1365995, 0.0106411))


@_window
def bartlett(M, *, sym=True):
    """A triangle: ``1 - |2 k / (M - 1) - 1|``."""
    return lambda k: 1 - np.abs(2 * k / _last(M, sym) - 1)


@_window
def cosine(M, *, sym=True):
    """``sin(pi (k + 1/2) / M)``."""
    period = M if sym else M + 1
    return lambda k: np.sin(math.pi * (k + 0.5) / period)


@_window
def exponential(M, *, center=None, tau=1.0, sym=True):
    """``exp(-|k - center| / tau)``; the centre is the middle unless given (which a symmetric window does not allow).

    Raises:
        ValueError: ``tau`` is not positive, or a centre for a symmetric window.
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = _last(M, sym) / 2 if center is None else center
    return lambda k: np.exp(-np.abs(k - middle) / tau)


@_window
def gaussian(M, *, std=1.0, sym=True):
    """``exp(-((k - middle) / std)^2 / 2)``.

    Raises:
        ValueError: ``std`` is not positive.
    """
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    middle = _last(M, sym) / 2
    return lambda k: np.exp(-(((k - middle) / std) ** 2) / 2)


@_window
def kaiser(M, *, beta=12.0, sym=True):
    """``I0(beta sqrt(1 - (2 k / (M - 1) - 1)^2)) / I0(beta)``.

    Raises:
        ValueError: ``beta`` is negative.
    """
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")

    def values(k):
        return np.i0(beta * np.sqrt(np.maximum(1 - (2 * k / _last(M, sym) - 1) ** 2, 0))) / np.i0(beta)

    return values
