"""The order in which a sampler fills a tensor: by address, whatever the order of the axes."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence

import numpy as np

BLOCK = 16384  #: elements handled at a time; the temporaries of one block stay in the second-level cache


def memory_order(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The axes from the largest stride to the smallest."""
    return sorted(range(len(shape)), key=lambda axis: -strides[axis])


def is_contiguous(shape: Sequence[int], strides: Sequence[int] | None) -> bool:
    """Whether memory order is logical order without gaps (axes of size one may have any stride)."""
    if strides is None:
        return True
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size == 0:
            return True
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True


def place(flat: np.ndarray, shape: tuple[int, ...], strides: Sequence[int] | None) -> np.ndarray:
    """Values in memory order -> an array of the logical shape (a view)."""
    if strides is None or is_contiguous(shape, strides):
        return flat.reshape(shape)
    order = memory_order(shape, strides)
    return flat.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def gather(values: np.ndarray, strides: Sequence[int] | None) -> np.ndarray:
    """The inverse of :func:`place`: an array of the logical shape -> its values in memory order, flat."""
    if strides is None:
        return values.reshape(-1)
    return values.transpose(memory_order(values.shape, strides)).reshape(-1)


def as_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, Sequence) else (operator.index(shape),)


def sampler(fill: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Make ``f(stream, shape, ..., strides=None)`` out of ``fill(stream, n, ...)``, which returns ``n`` values."""

    @functools.wraps(fill)
    def draw(stream, shape, *args, strides=None, **kwargs):
        shape = as_shape(shape)
        with stream.lock:
            flat = fill(stream, math.prod(shape), *args, **kwargs)
        return place(flat, shape, strides)

    return draw
