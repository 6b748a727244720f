"""The windows. Each is a function of the place in a period, [0, 1], which numpy works out in float64."""

from __future__ import annotations

import math

import numpy as np

from ... import devices, dtypes
from ...tensor.creation import dtype_of, finish
from ...tensor.dispatch import wrap
from ...tensor.layout import strided
from ...trace.value import put


def _window(name: str, values, M: int, dtype, layout, device, requires_grad: bool):
    """A tensor of ``values(np.arange(M))``, after the checks all windows share."""
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    kind = dtype_of(dtype)
    if kind not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind}")
    numbers = values(np.arange(M, dtype=np.float64)) if M > 1 else np.ones(M)
    return finish(wrap(put(np.asarray(numbers).astype(kind.np), devices.resolve(device))), requires_grad)


def _last(M: int, sym: bool) -> float:
    """The number of steps in a period."""
    return M - 1 if sym else M


def _cosines(name, M, a, sym, *rest):
    def values(k):
        return sum((-1) ** i * w * np.cos(2 * math.pi * i * k / _last(M, sym)) for i, w in enumerate(a))

    return _window(name, values, M, *rest)


def general_cosine(M, *, a, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
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
    return _cosines("general_cosine", M, a, sym, dtype, layout, device, requires_grad)


def general_hamming(M, *, alpha=0.54, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``alpha - (1 - alpha) cos(2 pi k / (M - 1))``."""
    return _cosines("general_hamming", M, (alpha, 1 - alpha), sym, dtype, layout, device, requires_grad)


def _fixed(name: str, coefficients: tuple[float, ...]):
    def window(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
        return _cosines(name, M, coefficients, sym, dtype, layout, device, requires_grad)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"The {name.capitalize()} window: ``general_cosine`` with coefficients {coefficients}."
    return window


hann = _fixed("hann", (0.5, 0.5))
hamming = _fixed("hamming", (0.54, 0.46))
blackman = _fixed("blackman", (0.42, 0.5, 0.08))
nuttall = _fixed("nuttall", (0.3635819, 0.4891775, 0.1365995, 0.0106411))


def bartlett(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """A triangle: ``1 - |2 k / (M - 1) - 1|``."""
    return _window("bartlett", lambda k: 1 - np.abs(2 * k / _last(M, sym) - 1), M, dtype, layout, device, requires_grad)


def cosine(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``sin(pi (k + 1/2) / M)``."""
    period = M if sym else M + 1
    return _window("cosine", lambda k: np.sin(math.pi * (k + 0.5) / period), M, dtype, layout, device, requires_grad)


def exponential(
    M, *, center=None, tau=1.0, sym=True, dtype=None, layout=strided, device=None, requires_grad=False
):  # fmt: skip
    """``exp(-|k - center| / tau)``; the centre is the middle unless given (which a symmetric window does not allow).

    Raises:
        ValueError: ``tau`` is not positive, or a centre for a symmetric window.
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = _last(M, sym) / 2 if center is None else center
    return _window("exponential", lambda k: np.exp(-np.abs(k - middle) / tau), M, dtype, layout, device, requires_grad)


def gaussian(M, *, std=1.0, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``exp(-((k - middle) / std)^2 / 2)``.

    Raises:
        ValueError: ``std`` is not positive.
    """
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    middle = _last(M, sym) / 2
    return _window(
        "gaussian", lambda k: np.exp(-(((k - middle) / std) ** 2) / 2), M, dtype, layout, device, requires_grad
    )


def kaiser(M, *, beta=12.0, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``I0(beta sqrt(1 - (2 k / (M - 1) - 1)^2)) / I0(beta)``.

    Raises:
        ValueError: ``beta`` is negative.
    """
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")

    def values(k):
        return np.i0(beta * np.sqrt(np.maximum(1 - (2 * k / _last(M, sym) - 1) ** 2, 0))) / np.i0(beta)

    return _window("kaiser", values, M, dtype, layout, device, requires_grad)
