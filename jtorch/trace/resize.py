"""A recorded stretch at a size it was never recorded at, and arrays padded and cut to go with it.

The shape arguments of its operations (of ``view``, ``expand``, ``arange``) are drawn through two recordings as straight
lines. That is a guess: :mod:`.prover` proves what it leads to or refuses it, against a recording at each size in use.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from .aval import Aval, aval
from .call import intern
from .jaxapi import x64
from .prover import Prover
from .rows import NotProven, Rows
from .stretch import Stretch
from .value import Value, of_array, put


def at_size(size: int, first: Stretch, second: Stretch, sizes: tuple[int, int], externals: list[Aval]) -> Stretch:
    """What ``first`` and ``second``, recorded at ``sizes``, would be at ``size``, on operands like ``externals``.

    Raises:
        NotProven: they differ by more than shapes, or some operation refuses these shapes.
    """
    same_form(first, second)
    calls, avals = [], []
    for (call, operands), other in zip(first.walk(), second.calls, strict=True):
        if call.op is None or other.op is not call.op:
            raise NotProven(f"{call.name} is a derivative, or becomes {other.name} at another size")
        given = [avals[i] if kind == "slot" else externals[i] for kind, i in operands if kind != "number"]
        flat = iter(given)

        def key(x, flat=flat):
            if isinstance(x, tuple):
                return tuple(map(key, x))
            return next(flat) if isinstance(x, Aval) else x

        statics = _line(call.key[0], other.key[0], sizes, size, call.name)
        try:
            made = intern(call.op, statics, tuple(map(key, call.key[1])), call.platform)
        except (TypeError, ValueError, RuntimeError, IndexError, ZeroDivisionError) as error:
            raise NotProven(f"{call.name} refuses {size} rows: {error}") from None
        if len(made.out_avals) != len(call.out_avals):
            raise NotProven(f"{call.name} has another number of results at {size} rows")
        calls.append(made)
        avals += made.out_avals
    return first.with_calls(calls)


def _line(a, b, sizes: tuple[int, int], size: int, name: str):
    """The attribute that is ``a`` and ``b`` at two sizes, at a third."""
    if a.__class__ is b.__class__:
        if isinstance(a, (tuple, list)) and len(a) == len(b):
            return type(a)([_line(x, y, sizes, size, name) for x, y in zip(a, b, strict=True)])
        if a is b or a == b:
            return a
        slope, rest = divmod(b - a, sizes[1] - sizes[0]) if a.__class__ is int else (0, 1)
        if not rest:
            return a + slope * (size - sizes[0])
    raise NotProven(f"{name} takes {a!r} at {sizes[0]} rows and {b!r} at {sizes[1]}")


def same_form(a: Stretch, b: Stretch) -> None:
    """Raises: NotProven: two stretches call other operations, connect them otherwise, or pass other numbers."""
    if [c.name for c in a.calls] != [c.name for c in b.calls] or a.device is not b.device:
        raise NotProven("it calls other operations at other sizes")
    if [x for _, x in a.walk()] != [x for _, x in b.walk()]:
        raise NotProven("its operations are connected in other ways at other sizes")
    numbers = [[(x.__class__, x) for x in s.scalars] for s in (a, b)]
    if numbers[0] != numbers[1] or a.negative_zeros != b.negative_zeros:
        raise NotProven("a number it passes to an operation depends on the size")
    if a.hypers or b.hypers:
        raise NotProven("it takes numbers that are read afresh at each call")


def prove(big: Stretch, small: Stretch, sizes: tuple[int, int], externals: list[Rows | None]) -> list[Rows | None]:
    """How the results of two stretches are related, given how their external operands are.

    Raises:
        NotProven: some results are not.
    """
    same_form(big, small)
    prover, found = Prover(*sizes), []
    for (call, operands), other in zip(big.walk(), small.calls, strict=True):
        given = tuple([found[i] if kind == "slot" else externals[i] if kind == "external" else None
                       for kind, i in operands])  # fmt: skip
        try:
            found += prover.call(call, other, given)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise NotProven(f"{call.name} is lowered in an unknown form ({error})") from error
    return found


def _resized(shape: tuple, dim: int, size: int) -> tuple:
    return (*shape[:dim], size, *shape[dim + 1 :])


def padded_aval(a: Aval, dim: int, size: int) -> Aval:
    return aval(_resized(tuple(a.shape), dim, size), a.dtype)


def pad(value: Value, dim: int, size: int) -> Value:
    """``value`` with its last row along ``dim`` repeated up to ``size`` rows (runs its pending trace)."""
    array = value.concrete("a call is padded to a size that has a program")
    if value.device.type == "cpu":  # no program of its own: on the host this is a copy
        rows = np.asarray(array)
        last = rows[(slice(None),) * dim + (slice(-1, None),)]
        return put(np.concatenate([rows, np.repeat(last, size - rows.shape[dim], dim)], dim), value.device)
    with x64(True):
        return of_array(_padded(array, dim, size), value.device)


def cut(value: Value, dim: int, size: int) -> Value:
    """The first ``size`` rows of ``value`` along ``dim``."""
    array = value.concrete("the result of a padded call is cut")
    if value.device.type == "cpu":
        rows = np.asarray(array)[(slice(None),) * dim + (slice(size),)]
        return put(np.ascontiguousarray(rows), value.device)
    with x64(True):
        return of_array(_cut(array, dim, size), value.device)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _padded(array, dim: int, size: int):
    last = jax.lax.slice_in_dim(array, array.shape[dim] - 1, array.shape[dim], axis=dim)
    return jnp.concatenate([array, jnp.repeat(last, size - array.shape[dim], axis=dim)], axis=dim)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _cut(array, dim: int, size: int):
    return jax.lax.slice_in_dim(array, 0, size, axis=dim)
