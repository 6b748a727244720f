"""A loop that carries a state along a dimension."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp

import jtorch

from ..func.program import Program
from ..ops import loops
from ..tape import modes
from ..trace.aval import aval
from ..utils import _pytree
from .recorded import READS, any_of


def scan(combine_fn: Callable, init, xs, *, dim: int = 0, reverse: bool = False):
    """``carry, y = combine_fn(carry, x)`` for each slice ``x`` of ``xs`` along ``dim``: ``(last carry, all y)``.

    ``combine_fn`` is recorded once, and the loop is one operation, whose length does not matter to the compiler.

    Args:
        combine_fn: ``(carry, x) -> (carry, y)``; trees of tensors.
        init: the first carry.
        xs: a tree of tensors, as long as each other along ``dim``.
        reverse: begin at the end; the ``y`` stay in the order of ``xs``.

    Returns:
        The last carry, and the ``y`` stacked along a first dimension.

    Raises:
        RuntimeError: there is nothing in ``xs``, lengths differ, or the carry changes its form, shape or dtype; or
            ``combine_fn`` reads the value of a tensor, or writes to what it is given.
    """
    leaves, form = _pytree.tree_flatten(xs)
    length = _length(leaves, dim)
    state, state_form = _pytree.tree_flatten(init)
    plain = all(isinstance(t, jtorch.Tensor) and t._handler is None for t in (*state, *leaves))
    if not state or not plain or modes.state.exported:  # a file knows the operations, not this loop
        return _turn_by_turn(combine_fn, init, leaves, form, length, dim, reverse)
    forms = {}

    def flat(*stand_ins):
        carry = _pytree.tree_unflatten(list(stand_ins[:n]), state_form)
        carry, y = combine_fn(carry, _pytree.tree_unflatten(list(stand_ins[n:]), form))
        _same(init, carry)
        outputs, forms["y"] = _pytree.tree_flatten(y)
        return (*_pytree.tree_leaves(carry), *outputs)

    n, m = len(state), len(leaves)
    slices = [aval((*t.shape[: dim % t.dim()], *t.shape[dim % t.dim() + 1 :]), t.dtype) for t in leaves]
    avals = [*(t._value().aval for t in state), *slices]
    program = Program(flat, avals, state[0].device, name="scan", reads=READS.format("scan"))
    if program.written:
        raise RuntimeError("scan: combine_fn writes to the carry or to x in place; return the new value instead")

    def run(*arrays, verdict: bool = False):
        outside = arrays[n + m :]

        def body(carry, x):
            found: list = []
            new = program.run((*carry, *x, *outside), found if verdict else None)
            return tuple(new[:n]), any_of(found) if verdict else tuple(new[n:])

        over = tuple(jnp.moveaxis(a, dim, 0) for a in arrays[n : n + m])
        carry, ys = loops.scan(body, arrays[:n], over, reverse=reverse)
        return ys.any() if verdict else (*carry, *ys)

    made = program.apply(("scan", n, m, dim, reverse), run, (*state, *leaves), partial(run, verdict=True))
    carry, ys = made[:n], made[n:]
    return _pytree.tree_unflatten(list(carry), state_form), _pytree.tree_unflatten(list(ys), forms["y"])


def _turn_by_turn(combine_fn, init, leaves, form, length: int, dim: int, reverse: bool):
    """One recorded step after the other, for what is no plain tensor."""
    carry, ys = init, []
    for i in reversed(range(length)) if reverse else range(length):
        x = _pytree.tree_unflatten([leaf.select(dim, i) for leaf in leaves], form)
        carry, y = combine_fn(carry, x)
        _same(init, carry)
        ys.append(_pytree.tree_flatten(y))
    if reverse:
        ys.reverse()
    stacked = [jtorch.stack(column) for column in zip(*(parts for parts, _ in ys), strict=True)]
    return carry, _pytree.tree_unflatten(stacked, ys[0][1])


def _same(init, carry) -> None:
    """Raises:
    RuntimeError: the carry has changed its form, shape or dtype.
    """
    if _looks(carry) != _looks(init):
        raise RuntimeError(
            f"Expected init and carry to have same metadata (form, shapes and dtypes); init has {_looks(init)[0]}, "
            f"combine_fn returned {_looks(carry)[0]}"
        )


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
