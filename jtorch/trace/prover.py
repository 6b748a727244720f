"""A proof that a program of one size, on padded arguments, gives what the program of another size gives.

Two recordings of one function, at ``big`` and at ``small`` rows, are walked side by side, down to the primitives of
their jaxprs (:mod:`.rows`). Whatever Python computed from sizes (shapes, divisors, indices) stands in the two programs
as it was recorded and is compared, so nothing about the Python code is taken on trust.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import jax

from ..ops.conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from ..ops.index import gather, take_along_dim
from ..ops.sort import sort, topk
from .call import Call
from .jaxapi import is_literal, jaxpr_parts, x64
from .rows import MAKING_ROWS, NESTED, RULES, NotProven, Pair, Rows, equal


@functools.lru_cache(4096)
def _jaxpr(call: Call, check: bool):
    with x64(True):
        return jax.make_jaxpr(call.check if check else call.jitted)(*(a.sds for a in call.in_avals))


class Prover:
    """Walks pairs of calls: the first recorded at ``big`` rows, the second at ``small``, which is fewer."""

    def __init__(self, big: int, small: int):
        self.big, self.small = big, small

    def call(self, big: Call, small: Call, operands: tuple) -> list:
        """The relations of the results of two calls.

        Raises:
            NotProven: none follow.
        """
        if big is small:
            if any(operands):
                raise NotProven(f"{big.name} does not take the size from its operands")
            return [None] * len(big.out_avals)
        try:
            if big.check is not None or small.check is not None:
                if big.check is None or small.check is None:
                    raise NotProven("its indices are checked at one size only")
                if any(self.closed(_jaxpr(big, True), _jaxpr(small, True), operands)):
                    raise NotProven("its indices are checked row by row")
            rule = _OPERATIONS.get(big.op.fn) if big.op is not None and small.op is big.op else None
            if rule is not None:
                return rule(big, small, operands)
            return self.closed(_jaxpr(big, False), _jaxpr(small, False), operands)
        except NotProven as why:
            raise NotProven(f"{big.name}: {why}") from None

    def closed(self, big, small, operands) -> list:
        """As :meth:`call`, of jaxprs with their constants."""
        (big, consts), (small, others) = jaxpr_parts(big), jaxpr_parts(small)
        if len(consts) != len(others):
            raise NotProven("it has other constants at other sizes")
        if not all(map(equal, consts, others)):
            raise NotProven("a constant in it depends on the size")
        return self.jaxpr(big, small, [*[None] * len(consts), *operands])

    def jaxpr(self, big, small, operands: list) -> list:
        if len(big.eqns) != len(small.eqns):
            raise NotProven("it has more steps at some sizes than at others")
        known: dict = {}  # variables of `big` -> (number, relation)
        numbers: dict = {}  # variables of `small` -> number

        def define(vars_big, vars_small, relations):
            for a, b, r in zip(vars_big, vars_small, relations, strict=True):
                if a.aval.dtype != b.aval.dtype:
                    raise NotProven("a dtype in it depends on the size")
                self._shapes(a.aval.shape, b.aval.shape, r)
                known[a], numbers[b] = (len(numbers), r), len(numbers)

        def look(a, b):
            if is_literal(a) or is_literal(b):
                if type(a) is not type(b) or not equal(a.val, b.val):
                    raise NotProven("a number in it depends on the size")
                return None
            number, relation = known[a]
            if numbers[b] != number:
                raise NotProven("its steps are connected in other ways at other sizes")
            return relation

        define((*big.constvars, *big.invars), (*small.constvars, *small.invars), operands)
        for a, b in zip(big.eqns, small.eqns, strict=True):
            relations = [look(x, y) for x, y in zip(a.invars, b.invars, strict=True)]
            define(a.outvars, b.outvars, self._equation(Pair(self, a, b, relations)))
        return [look(a, b) for a, b in zip(big.outvars, small.outvars, strict=True)]

    def _equation(self, p: Pair) -> list:
        if p.small.primitive is not p.big.primitive:
            raise NotProven(f"{p.name} becomes {p.small.primitive.name}")
        if p.big.effects:
            raise NotProven(f"{p.name} has effects")
        rule = RULES.get(p.name)
        if rule not in NESTED and not any(p.operands):
            if all(a.aval.shape == b.aval.shape for a, b in zip(p.big.outvars, p.small.outvars, strict=True)):
                p.same_params()
                return [None] * len(p.big.outvars)
        if rule is None:
            raise NotProven(f"{p.name} is not known to treat rows alike")
        if not any(p.operands) and rule not in MAKING_ROWS + NESTED:
            raise NotProven(f"{p.name} takes the size from Python")
        return rule(p)

    def _shapes(self, big: tuple, small: tuple, r: Rows | None) -> None:
        """Raises: NotProven: two shapes do not stand in relation ``r``."""
        expected = list(small)
        if r is not None:
            if r.outer * self.small * r.inner != small[r.dim]:
                raise NotProven("a shape is no multiple of the size")
            expected[r.dim] = r.outer * self.big * r.inner
        if list(big) != expected:
            raise NotProven("a shape depends on the size in another way")


# --- operations whose lowering hides that they treat rows alike ------------------------------------------------------


def _statics(big: Call, small: Call) -> dict:
    if big.key[0] != small.key[0]:
        raise NotProven("its attributes depend on the size")
    return dict(zip(big.op.static_names, big.key[0], strict=True))


_MIXED = "it combines rows with other rows"


def _take_along(big: Call, small: Call, operands: tuple) -> list:
    """``gather``: ``out[i, j] = input[i, index[i, j]]``, lowered to one look-up in all rows laid end to end."""
    array, where = operands
    dim = _statics(big, small)["dim"]
    if where is None or dim is None:
        raise NotProven(_MIXED)
    dim %= max(len(big.in_avals[0].shape), 1)
    if array is None and big.op.fn is gather:
        return [replace(where, copies=where.copies and where.dim == dim)]
    if array is None or array.dim == dim or replace(array, copies=True) != replace(where, copies=True):
        raise NotProven(_MIXED)
    return [replace(where, copies=array.copies and where.copies)]


def _sorted(big: Call, small: Call, operands: tuple) -> list:
    """Sorting along one dimension: the elements are taken along it, as ``gather`` takes them."""
    (r,) = operands
    if r is None or r.dim == _statics(big, small)["dim"] % max(len(big.in_avals[0].shape), 1):
        raise NotProven(_MIXED)
    return [r] * len(big.out_avals)


def _convolved(big: Call, small: Call, operands: tuple) -> list:
    """Convolution, of which some lowerings suit only batches of some sizes."""
    image, *others = operands
    _statics(big, small)
    if any(others) or image is None or image.dim or len(big.in_avals[0].shape) != len(big.in_avals[1].shape):
        raise NotProven(_MIXED)
    return [image]


_OPERATIONS = {
    gather: _take_along, take_along_dim: _take_along, sort: _sorted, topk: _sorted,
    **dict.fromkeys((conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d), _convolved),
}  # fmt: skip
