"""Prefix results of an associative function, in a logarithmic number of steps."""

from __future__ import annotations

from collections.abc import Callable

import jtorch

from ..func import vmap
from ..utils import _pytree


def associative_scan(combine_fn: Callable, xs, dim: int, reverse: bool = False, combine_mode: str = "pointwise"):
    """``y[i] = combine_fn(y[i - 1], x[i])`` along ``dim``, for an associative ``combine_fn``.

    Pairs are combined, the scan of the pairs taken, and the places between them filled in (Blelloch, "Prefix sums and
    their applications", 1990): about twice the logarithm of the length in steps, each on whole tensors.

    Args:
        combine_fn: of two trees like ``xs`` without ``dim``; it must be elementwise with ``combine_mode="pointwise"``.
        reverse: begin at the end.

    Raises:
        ValueError: another ``combine_mode``, or nothing in ``xs``.
    """
    if combine_mode not in ("pointwise", "generic"):
        raise ValueError(f"Combine_mode must either 'pointwise' or 'generic', but got {combine_mode}")
    leaves, form = _pytree.tree_flatten(xs)
    if not leaves:
        raise ValueError("Expected at least 1 xs leaf")
    combined = combine_fn if combine_mode == "pointwise" else vmap(combine_fn)

    def combine(a: list, b: list) -> list:
        result = combined(_pytree.tree_unflatten(a, form), _pytree.tree_unflatten(b, form))
        return _pytree.tree_flatten(result)[0]

    first = [x.movedim(dim, 0) for x in leaves]
    first = [x.flip(0) for x in first] if reverse else first
    found = _scan(combine, first)
    found = [x.flip(0) for x in found] if reverse else found
    return _pytree.tree_unflatten([x.movedim(0, dim) for x in found], form)


def _scan(combine: Callable, xs: list) -> list:
    length = xs[0].shape[0]
    if length < 2:
        return xs
    odd = _scan(combine, combine([x[: length - 1 : 2] for x in xs], [x[1::2] for x in xs]))
    before = [x[: (length - 1) // 2] for x in odd]
    even = combine(before, [x[2::2] for x in xs]) if length > 2 else [x[:0] for x in xs]
    even = [jtorch.cat([x[:1], e]) for x, e in zip(xs, even, strict=True)]
    return [_interleaved(e, o) for e, o in zip(even, odd, strict=True)]


def _interleaved(even, odd):
    pairs = jtorch.stack([even[: odd.shape[0]], odd], 1).flatten(0, 1)
    return pairs if even.shape[0] == odd.shape[0] else jtorch.cat([pairs, even[-1:]])


__all__ = ["associative_scan"]
