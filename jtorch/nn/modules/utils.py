"""Numbers spread over dimensions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat


def _ntuple(n: int, name: str = "parse"):
    """A function that makes an ``n``-tuple of a number, and a tuple of anything iterable."""

    def parse(x):
        return tuple(x) if isinstance(x, Iterable) else tuple(repeat(x, n))

    parse.__name__ = name
    return parse


_single, _pair = _ntuple(1, "_single"), _ntuple(2, "_pair")
_triple, _quadruple = _ntuple(3, "_triple"), _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t, n: int) -> tuple:
    """Each element ``n`` times, the last first: ``(1, 2) -> (2, 2, 1, 1)`` for two."""
    return tuple(x for x in reversed(t) for _ in range(n))
