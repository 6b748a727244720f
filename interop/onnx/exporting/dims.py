"""Sizes that vary: several recordings of one model, at different sizes, merged into one graph.

A number that is the same in all recordings is static. One that differs is a :class:`Varying`, known by its value in
each recording; the builder finds the expression of input sizes that gives these values. Everything else must agree:
an operation that is there at one size and not at another is an error, never a guess.
"""

from __future__ import annotations

import numpy as np

from ..errors import OnnxExporterError


class Varying:
    """A number that depends on dynamic sizes: its value in each recording."""

    __slots__ = ("values",)

    def __init__(self, values):
        self.values = tuple(values)

    def __eq__(self, other) -> bool:
        return isinstance(other, Varying) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return f"<varies: {', '.join(map(str, self.values))}>"

    @property
    def whole(self) -> bool:
        return all(isinstance(v, int) for v in self.values)


def merge(values, what: str):
    """One value for several: itself where they agree, a :class:`Varying` for numbers, part by part for tuples.

    Raises:
        OnnxExporterError: they differ in another way.
    """
    first = values[0]
    if isinstance(first, (tuple, list)) and all(isinstance(v, (tuple, list)) and len(v) == len(first) for v in values):
        return tuple(merge(parts, what) for parts in zip(*values, strict=True))
    if all(type(v) is type(first) and (v == first or v != v and first != first) for v in values):
        return first
    if all(type(v) is int for v in values) or all(type(v) in (int, float) for v in values):
        return Varying(values)
    raise OnnxExporterError(
        f"{what} changes with the dynamic sizes: {', '.join(map(repr, values))}. Make these sizes static, or write the "
        "model so that it does the same at all sizes."
    )


def same_constant(a, b) -> bool:
    """Whether two arrays are equal, bit for bit."""
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a.view(np.uint8), b.view(np.uint8))
