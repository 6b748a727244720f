"""A loop that carries a state along a dimension."""

from __future__ import annotations

from collections.abc import Callable

import jtorch

from ..utils import _pytree


def scan(combine_fn: Callable, init, xs, *, dim: int = 0, reverse: bool = False):
    """``carry, y = combine_fn(carry, x)`` for each slice ``x`` of ``xs`` along ``dim``: ``(last carry, all y)``.

    Args:
        combine_fn: ``(carry, x) -> (carry, y)``; trees of tensors.
        init: the first carry.
        xs: a tree of tensors, as long as each other along ``dim``.
        reverse: begin at the end; the ``y`` stay in the order of ``xs``.

    Returns:
        The last carry, and the ``y`` stacked along a first dimension.

    Raises:
        RuntimeError: there is nothing in ``xs``, lengths differ, or the carry changes its form, shape or dtype.
    """
    leaves, form = _pytree.tree_flatten(xs)
    length = _length(leaves, dim)
    carry, ys = init, []
    before = _looks(init)
    for i in reversed(range(length)) if reverse else range(length):
        x = _pytree.tree_unflatten([leaf.select(dim, i) for leaf in leaves], form)
        carry, y = combine_fn(carry, x)
        if _looks(carry) != before:
            raise RuntimeError(
                f"Expected init and carry to have same metadata (form, shapes and dtypes); init has {before[0]}, "
                f"combine_fn returned {_looks(carry)[0]}"
            )
        ys.append(_pytree.tree_flatten(y))
    if reverse:
        ys.reverse()
    stacked = [jtorch.stack(column) for column in zip(*(parts for parts, _ in ys), strict=True)]
    return carry, _pytree.tree_unflatten(stacked, ys[0][1])


def _looks(tree) -> tuple:
    leaves, form = _pytree.tree_flatten(tree)
    return [(str(t.dtype), list(t.shape)) if isinstance(t, jtorch.Tensor) else type(t) for t in leaves], form


def _length(leaves: list, dim: int) -> int:
    if not leaves:
        raise RuntimeError("scan() operator requires at least one xs leaf.")
    lengths = {leaf.shape[dim] for leaf in leaves}
    if len(lengths) > 1 or 0 in lengths:
        raise RuntimeError(f"All xs leaves must have the same, positive length along dimension {dim}; got {lengths}")
    return lengths.pop()


__all__ = ["scan"]
