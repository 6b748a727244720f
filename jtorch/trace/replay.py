"""A recorded graph as a JAX function: the bodies of its operations, one after the other, on whatever JAX traces.

Sizes may be symbols of ``jax.export``. The function is then recorded at several sizes, and each whole number that
differs from one recording to the next (an argument of ``view``, the end of an ``arange``) becomes the polynomial in
the symbols that goes through all of them.
"""

from __future__ import annotations

import itertools
import math
import os
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import TorchDynamoException
from ..ops import backend
from .aval import SCALAR_AVALS
from .call import cast
from .graph import Graph, Node, Ref
from .jaxapi import x64

#: Sizes a symbol stands for in turn; the first of several symbols gets the first numbers.
_SIZES = (3, 4, 5, 6, 7, 8)


class Disagreement(TorchDynamoException):
    """A function does something at one size that it does not do at another."""


def points(count: int) -> list[tuple[int, ...]]:
    """Sizes of ``count`` symbols to record at: enough to tell a polynomial of degree 1 in each, and to check it."""
    if not count:
        return [()]
    low, high = _SIZES[:count], [n + count for n in _SIZES[:count]]
    corners = list(itertools.product(*zip(low, high, strict=True)))
    return [*corners, tuple(2 * n + 3 for n in low), tuple(n + 2 * count + 1 for n in reversed(low))]


class Fitted:
    """The recordings of one function at :func:`points`, as one program.

    ``steps`` are its operations: ``(node, operands, attributes)``, with polynomials for numbers that differ.

    Args:
        graphs: one for each point.
        symbols: what stands for the sizes in the program (``jax.export`` dimensions).

    Raises:
        Disagreement: the recordings call different operations, or a number in them is no polynomial in the sizes.
    """

    def __init__(self, graphs: list[Graph], symbols: tuple):
        self.graph, self.symbols = graphs[0], symbols
        lives = [g.live() for g in graphs]
        self.nodes = lives[0]
        self.steps = [(n, n.operands, n.statics) for n in self.nodes]
        self._renamed: dict[int, int] = {}
        if len(graphs) > 1:
            self._solver = solver(len(symbols))
            self._compare(graphs, lives)

    def _compare(self, graphs, lives) -> None:
        if len({len(nodes) for nodes in lives}) > 1:
            raise Disagreement("the function calls more operations at some sizes than at others")
        where = [_places(g, nodes) for g, nodes in zip(graphs, lives, strict=True)]
        for several in zip(*where, strict=True):
            constants = [
                g.leaves[-1 - s] if s < 0 and s not in g.names else None
                for g, s in zip(graphs, several, strict=True)
            ]  # fmt: skip
            first = constants[0]
            if {g.names.get(s) for g, s in zip(graphs, several, strict=True)} != {graphs[0].names.get(several[0])}:
                raise Disagreement("the function reads different parameters at different sizes")
            inputs = {r.slot for r in graphs[0].inputs}
            if first is None or several[0] in inputs or all(c is first for c in constants):
                continue
            arrays = [g.constant(s) for g, s in zip(graphs, several, strict=True)]
            if any(a.shape != arrays[0].shape or not np.array_equal(a, arrays[0]) for a in arrays):
                raise Disagreement(
                    "a tensor that the function makes while it runs depends on the sizes through Python numbers; "
                    "compute it with tensor operations (jtorch.arange, jtorch.full) instead of lists"
                )
        self.steps = []
        for several in zip(*lives, strict=True):
            node = several[0]
            for other in several[1:]:
                if other.name != node.name:
                    raise Disagreement(
                        f"the function does not do the same at all sizes: {node.name} (at {node.line}) becomes "
                        f"{other.name} (at {other.line})"
                    )
            if node.op is None:
                raise Disagreement(f"{node.name} (at {node.line}), a derivative, can only be replayed at fixed sizes")
            text = f"{node.name}, called at {node.line},"
            operands = {k: self._fit([n.operands[k] for n in several], text) for k in node.operands}
            statics = {k: self._fit([n.statics[k] for n in several], text) for k in node.statics}
            self.steps.append((node, operands, statics))

    def _fit(self, values, text: str):
        first = values[0]
        if isinstance(first, Ref) or all(v.__class__ is first.__class__ and v == first for v in values):
            return first
        if isinstance(first, tuple) and len({len(v) for v in values}) == 1:
            return tuple(self._fit(list(parts), text) for parts in zip(*values, strict=True))
        if not all(v.__class__ is int for v in values):
            raise Disagreement(f"{text} takes {first!r} at one size and {values[-1]!r} at another")
        return self._solver(values, self.symbols, text)

    def __call__(self, inputs, named: dict, platform: str) -> list:
        """The results for these arrays.

        Args:
            inputs: in the order of the graph's inputs.
            named: arrays of the leaves that have names.
            platform: which lowering of an operation is taken: ``"cpu"``, ``"cuda"`` or ``"tpu"``.
        """
        graph = self.graph
        env = {slot: named[name] for slot, name in graph.names.items()}
        env.update((r.slot, x) for r, x in zip(graph.inputs, inputs, strict=True))

        def value(x):
            if isinstance(x, tuple):
                return tuple(value(y) for y in x)
            if isinstance(x, Ref):
                if x.slot not in env:
                    env[x.slot] = jnp.asarray(graph.constant(x.slot))
                return env[x.slot]
            return x

        with x64(True), backend.using(platform):
            for node, operands, statics in self.steps:
                with jax.named_scope(f"{node.name}, called at {os.path.basename(node.line)}"):
                    try:
                        out = _run(node, {k: value(x) for k, x in operands.items()}, statics)
                    except jax.errors.InconclusiveDimensionOperation as error:
                        raise Disagreement(
                            f"{node.name}, called at {node.line}, must know a size: {str(error).splitlines()[0]}"
                        ) from error
                env.update((r.slot, x) for r, x in zip(node.outputs, out, strict=False))
            return [value(r) for r in graph.outputs]


def _run(node: Node, operands: dict, statics: dict) -> tuple:
    """The results of one operation on arrays and numbers."""
    if node.op is None:
        arrays = [x if hasattr(x, "dtype") else _number(x) for x in operands.values()]
        out = node.call.fn(*arrays)
    else:
        scalars = {p.name for p in node.op.parameters if p.kind == "scalar"}

        def prepared(name, x):
            if x is None:
                return None
            if isinstance(x, tuple):
                return tuple(prepared(name, y) for y in x)
            x = x if hasattr(x, "dtype") else _number(x)
            target = node.promoted
            if target is None or x.dtype == target.np or not (name in node.op.promoted or name in scalars):
                return x
            return cast(x, target)

        out = node.op.fn(**{k: prepared(k, x) for k, x in operands.items()}, **statics)
    return tuple(out) if isinstance(out, (tuple, list)) else (out,)


def _number(x):
    """A Python number (or a symbol) as the array that an operation's body sees."""
    kind = next((k for k in (bool, int, float, complex) if isinstance(x, k)), int)
    return jnp.asarray(x, SCALAR_AVALS[kind].dtype.np)


def _places(graph: Graph, nodes) -> list[int]:
    """The slots that live nodes and results read or write, in an order that is the same in every recording."""
    found: dict[int, None] = dict.fromkeys(r.slot for r in graph.inputs)

    def visit(x):
        if isinstance(x, tuple):
            for y in x:
                visit(y)
        elif isinstance(x, Ref):
            found.setdefault(x.slot)

    for node in nodes:
        visit(tuple(node.operands.values()))
        visit(node.outputs)
    visit(graph.outputs)
    return list(found)


def fitter(count: int):
    """A function from the whole numbers at :func:`points` to the polynomial through them.

    The polynomial is a list of terms ``(factor, symbols)``: the factor times these of the symbols, by their numbers.
    """
    where = points(count)
    subsets = [s for k in range(count + 1) for s in itertools.combinations(range(count), k)]
    table = [[math.prod(p[i] for i in s) for s in subsets] for p in where]
    inverse = np.linalg.inv(np.array(table[: len(subsets)], float))

    def fit(values, text):
        exact = [Fraction(float(c)).limit_denominator(64) for c in inverse @ np.array(values[: len(subsets)], float)]
        fitted = [sum(c * t for c, t in zip(exact, row, strict=True)) for row in table]
        if fitted != values or any(c.denominator != 1 for c in exact):
            raise Disagreement(
                f"{text} takes a number that is no polynomial in the dynamic sizes: {values} at {where}; make that "
                "size static"
            )
        return [(int(c), subset) for c, subset in zip(exact, subsets, strict=True) if c]

    return fit


def solver(count: int):
    """A function from the values at :func:`points` to the polynomial in the symbols through them."""
    fit = fitter(count)

    def solve(values, symbols, text):
        return sum(c * math.prod((symbols[i] for i in subset), start=1) for c, subset in fit(values, text))

    return solve
