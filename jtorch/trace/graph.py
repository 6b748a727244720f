"""A function's operations as a graph: what a recorder trace of its own saw, which is never run.

In-place writes and views have become plain calls by the time they are recorded, so the graph is functional: every
operand is an input, a constant, or a result of an earlier node.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .. import dtypes, errors
from ..devices import device as Device
from ..ops.registry import Op
from .aval import Aval, Hyper
from .call import Call, _promoted_dtype
from .recorder import Trace, recording_into
from .value import Value


@dataclass(frozen=True)
class Ref:
    """An operand: slots >= 0 are results of nodes, negative ones leaves (``graph.leaves[-1 - slot]``)."""

    slot: int
    aval: Aval


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        op: its declaration, None for a call that is no registered operation (a derivative's).
        name: the operation's name.
        operands: by name, a :class:`Ref`, a Python number, None, or a tuple of these.
        statics: the attributes by name.
        outputs: one :class:`Ref` per result (further ones, which autograd keeps, are left out).
        promoted: the dtype its promoted operands are cast to, or None.
        line: ``file:line`` of the program that called it.
        call: what was recorded: the operation bound to its attributes and to operands of these shapes.
    """

    op: Op | None
    name: str
    operands: dict[str, object]
    statics: dict[str, object]
    outputs: tuple[Ref, ...]
    promoted: dtypes.dtype | None
    line: str
    call: Call


@dataclass(frozen=True)
class Graph:
    """The nodes in the order of recording, the leaves they read, and where the results are."""

    nodes: tuple[Node, ...]
    leaves: tuple[Value, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    names: dict[int, str]  # of the leaves that were given one, by slot

    def constant(self, slot: int) -> np.ndarray:
        """The array of a leaf that is no input."""
        return np.asarray(self.leaves[-1 - slot].concrete("a constant of a graph"))

    def live(self) -> tuple[Node, ...]:
        """The nodes that the outputs depend on."""
        needed = {r.slot for r in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if any(r.slot in needed for r in node.outputs):
                kept.append(node)
                for x in node.operands.values():
                    needed.update(y.slot for y in (x if isinstance(x, tuple) else (x,)) if isinstance(y, Ref))
        return tuple(reversed(kept))


class _Writes(list):
    """Storages written during the recording, with what they held, alive until they are put back."""

    def append(self, item) -> None:
        storage, before = item
        super().append((storage(), before() if isinstance(before, weakref.ref) else before))


class GraphTrace(Trace):
    """A trace that keeps lines and leaves, and refuses to run."""

    __slots__ = ("lines", "leaves")
    runs = False

    def __init__(self, device: Device):
        super().__init__(device, {})
        self.lines: list[str] = []
        self.leaves: list[Value] = []
        self.written = _Writes()

    def placeholder(self, aval: Aval) -> Value:
        """An input: a leaf without a value, so that reading it is noticed."""
        value = Value(aval, self.device)
        self.leaf_arrays.append(None)
        self.leaves.append(value)
        value.trace, value.slot = self, -len(self.leaves)
        return value

    def leaf(self, value: Value) -> int:
        slot = super().leaf(value)
        self.leaves.append(value)
        return slot

    def append(self, call, operands):
        results = super().append(call, operands)
        self.lines.append(errors.user_line())
        return results

    def flush(self, cause: str) -> None:
        if cause.startswith("trace length"):
            return
        raise RuntimeError(
            f"a value was needed while the operations were being recorded ({cause}, at {errors.user_line()}): the "
            "graph of a function cannot depend on the values it computes. Express the choice with tensor operations "
            "(jtorch.where, masks), or take it out of the function."
        )

    def restore(self) -> None:
        """Put back what the storages written during the recording held before."""
        for storage, before in reversed(self.written):
            if storage is not None:
                storage.value = self.leaves[-1 - before] if isinstance(before, int) else before
                storage.writes += 1  # what views of it have read meanwhile is no longer current

    def graph(self, inputs, outputs, named) -> Graph:
        """The graph from the placeholders ``inputs`` to the Values ``outputs``; ``named``: ``{name: Value}``."""
        results = tuple(Ref(self.slot_of(v), v.aval) for v in outputs)
        known = {}
        for name, value in named.items():
            known.setdefault(id(value), name)
        names = {-1 - i: known[id(v)] for i, v in enumerate(self.leaves) if id(v) in known}
        avals: dict[int, Aval] = {-1 - i: v.aval for i, v in enumerate(self.leaves)}
        position = slot = number = hyper = 0
        nodes = []
        for call, line in zip(self.calls, self.lines, strict=True):
            position += 1
            flat = []
            for kind in call.in_kinds:
                if kind is None:
                    where = self.program[position]
                    flat.append(Ref(where, avals[where]))
                    position += 1
                elif kind is Hyper:
                    flat.append(self.hypers[hyper])
                    hyper += 1
                else:
                    flat.append(self.scalars[number])
                    number += 1
            made = []
            for aval in call.out_avals:
                avals[slot] = aval
                made.append(Ref(slot, aval))
                slot += 1
            nodes.append(_node(call, flat, tuple(made), line))
        return Graph(
            tuple(nodes),
            tuple(self.leaves),
            tuple(Ref(v.slot, v.aval) for v in inputs),
            results,
            names,
        )


def _node(call, flat, results, line) -> Node:
    if call.op is None:
        return Node(None, call.name, {str(i): x for i, x in enumerate(flat)}, {}, results, None, line, call)
    statics, keys = call.key
    it = iter(flat)
    operands = {}
    for name, key in zip(call.op.operand_names, keys, strict=True):
        operands[name] = (
            None if key is None else tuple(next(it) for _ in key) if isinstance(key, tuple) else next(it)
        )  # fmt: skip
    promoted = _promoted_dtype(call.op, dict(zip(call.op.operand_names, keys, strict=True)))
    return Node(
        call.op, call.name, operands, dict(zip(call.op.static_names, statics, strict=True)), results, promoted, line,
        call,
    )  # fmt: skip


@contextmanager
def recording(device: Device):
    """Record this thread's operations into a :class:`GraphTrace` inside the block; storages are put back after it."""
    trace = GraphTrace(device)
    with recording_into(trace):
        try:
            yield trace
        finally:
            trace.restore()
