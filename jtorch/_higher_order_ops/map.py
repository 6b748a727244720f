"""A function of each slice."""

from __future__ import annotations

import builtins
from collections.abc import Callable

import jtorch

from ..utils import _pytree


def map(f: Callable, xs, *args):
    """``f(x, *args)`` for each slice ``x`` of the tensors in ``xs`` along their first dimension, stacked.

    Raises:
        RuntimeError: there is nothing in ``xs``, or first sizes differ.
    """
    leaves, form = _pytree.tree_flatten(xs)
    lengths = {leaf.shape[0] for leaf in leaves}
    if len(lengths) != 1 or 0 in lengths:
        raise RuntimeError(f"Leading dimensions of mapped xs must be consistent and positive. Got {sorted(lengths)}.")
    slices = zip(*(leaf.unbind(0) for leaf in leaves), strict=True)
    results = [_pytree.tree_flatten(f(_pytree.tree_unflatten(list(x), form), *args)) for x in slices]
    columns = zip(*(parts for parts, _ in results), strict=True)
    return _pytree.tree_unflatten(list(builtins.map(jtorch.stack, columns)), results[0][1])


__all__ = ["map"]
