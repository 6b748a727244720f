"""A function of tensors as one pure JAX function: what it records when it runs on stand-ins for its arguments.

``vmap``, ``jvp`` and the Jacobians transform that function with JAX and record the result as a single operation, whose
operands are the arguments and every tensor from outside that the function read. The function itself sees ordinary
tensors of the shapes it expects, so that views, writes in place and autograd inside it need no rules of their own.
"""

from __future__ import annotations

import inspect
import weakref
from collections import OrderedDict

import jax.numpy as jnp
from jax import lax

from ..ops import backend
from ..ops.registry import Op, Parameter
from ..tape import engine, modes
from ..tape.node import _sequence
from ..tensor import Tensor
from ..tensor.dispatch import dispatch, wrap
from ..trace.aval import Hyper
from ..trace.graph import GraphTrace
from ..trace.recorder import recording_into
from ..utils import _pytree as pytree
from .levels import leads_out

_KEPT = 256
_ops: OrderedDict = OrderedDict()


class _FunctionTrace(GraphTrace):
    """A trace whose leaves may be results that another trace has pending."""

    __slots__ = ("before", "differentiated", "outside", "reads", "stopped")

    def __init__(self, device, reads: str):
        super().__init__(device)
        self.before: list = []
        self.written = []
        self.reads = reads
        self.differentiated, self.stopped = modes.state.grad, []

    def append(self, call, operands):
        self.stopped.append(self.differentiated and not modes.state.grad)  # what no_grad() cuts off stays cut off
        return super().append(call, operands)

    def leaf(self, value) -> int:
        self.before.append((value, value.trace, value.slot))
        self.leaf_arrays.append(value.array)
        self.leaf_refs.append(weakref.ref(value))
        self.leaf_avals.append(value.aval.id)
        self.leaves.append(value)
        value.trace, value.slot = self, -len(self.leaves)
        return value.slot

    def flush(self, cause: str) -> None:
        if not cause.startswith(("trace length", "backward()", "optimizer.step()")):
            raise RuntimeError(f"{self.reads} ({cause})")

    def release(self) -> None:
        """Hand the leaves back to the traces they belong to."""
        for value, trace, slot in reversed(self.before):
            value.trace, value.slot = trace, slot


class Program:
    """The recording of ``function(*tensors)``.

    Args:
        avals: of the stand-ins for its arguments.
        originals: the arguments themselves, for their devices.

    Attributes:
        leaves: tensors from outside, with their history; they follow the arguments as operands.
        avals: of the flat results; ``form`` is how they are nested.
        written: arguments that it wrote in place; their new contents follow the results.

    Raises:
        RuntimeError: the function needs the value of a tensor, or writes a tensor from outside.
    """

    def __init__(self, function, avals, device, *, name: str, reads: str):
        self.name, self.count, self.platform = name, len(avals), device.platform
        trace = _FunctionTrace(device, reads)
        edges: dict = {}
        start = next(_sequence)
        engine.watchers.append(edges)
        modes.state.transformed += 1
        try:
            with recording_into(trace):
                given = [trace.placeholder(a) for a in avals]
                tensors = [wrap(v) for v in given]
                found, self.form = pytree.tree_flatten(function(*tensors))
                for x in found:
                    if not isinstance(x, Tensor):
                        raise ValueError(
                            f"{name}(f, ...): `f` must only return Tensors, got type {type(x)}. Did you mean to set "
                            "out_dims= to None for it?"
                        )
                self.written = [i for i, (t, v) in enumerate(zip(tensors, given, strict=True)) if t._value() is not v]
                values = [x._value() for x in found] + [tensors[i]._value() for i in self.written]
                outputs, self.avals = [trace.slot_of(v) for v in values], [v.aval for v in values]
                found = x = None  # so that a storage that is still there is somebody else's
                self._refuse_writes(trace, tensors)
        finally:
            modes.state.transformed -= 1
            engine.watchers[:] = [w for w in engine.watchers if w is not edges]  # equal ones are others'
            trace.release()
        self.leaves = []
        for value in trace.leaves[self.count :]:
            edge = edges.get(id(value))
            self.leaves.append(wrap(value, edge if edge is not None and _from_outside(edge[0], start) else None))
        self.stopped = trace.stopped
        self.calls, self.checked = trace.calls, [c for c in trace.calls if c.check is not None]
        self.outputs, self._program = outputs, trace.program
        self._scalars, self._hypers = trace.scalars, trace.hypers
        self.key = (
            tuple(trace.program), tuple((type(s), repr(s)) for s in trace.scalars), tuple(trace.hypers),
            tuple(outputs), tuple(v.aval for v in trace.leaves), tuple(trace.stopped),
        )  # fmt: skip

    def _refuse_writes(self, trace, known) -> None:
        inside = {id(t._storage) for t in known}
        for ref, before in reversed(trace.written):
            storage = ref()
            if storage is None or id(storage) in inside:
                continue
            storage.value = trace.leaves[-1 - before] if isinstance(before, int) else before()
            storage.writes += 1
            raise RuntimeError(
                f"{self.name}: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor "
                "`other` in extra_args that has more elements than `self`: the function writes a tensor from outside, "
                "which has one place for what differs between calls. Use an out-of-place operation, or pass it as an "
                "argument"
            )

    def run(self, arrays, checks: list | None = None) -> list:
        """The results for arrays of the arguments and leaves; with ``checks``, verdicts of index checks go there."""
        made: list = []
        program, position = self._program, 0
        scalars, hypers = iter(self._scalars), iter(self._hypers)
        with backend.using(self.platform):
            for call, stopped in zip(self.calls, self.stopped, strict=True):
                flat = []
                position += 1
                for kind, aval in zip(call.in_kinds, call.in_avals, strict=True):
                    if kind is None:
                        slot = program[position]
                        position += 1
                        flat.append(made[slot] if slot >= 0 else arrays[-1 - slot])
                    else:
                        flat.append(jnp.asarray(next(hypers if kind is Hyper else scalars), aval.dtype.np))
                if checks is not None and call.check is not None:
                    checks.append(call.check(*flat))
                out = lax.stop_gradient(call.fn(*flat)) if stopped else call.fn(*flat)
                made.extend(out if isinstance(out, (tuple, list)) else (out,))
        return [made[s] if s >= 0 else arrays[-1 - s] for s in self.outputs]

    def apply(self, kind: tuple, transformed, operands, checked=None) -> tuple:
        """Record ``transformed(*arrays)`` as one operation on ``operands`` and the leaves.

        Args:
            kind: what identifies the transformation, beside the program.
            checked: a function that gives one bool array of all index checks, where there are any.
        """
        key = self.key, self.name, kind
        op = _ops.get(key)
        if op is None:
            op = _ops[key] = _derived(self, transformed, checked)
            if len(_ops) > _KEPT:
                _ops.popitem(last=False)
        else:
            _ops.move_to_end(key)
        return dispatch(op, ((*operands, *self.leaves),), ())


def _from_outside(node, start: int) -> bool:
    if not hasattr(node, "variable"):
        return node.seq < start
    return node.variable is not None and leads_out(node.variable)  # None: a leaf that is gone, of the function's own


def _derived(program: Program, transformed, checked) -> Op:
    check, error = None, IndexError
    if program.checked and checked is not None:
        error = program.checked[0].error

        def check(operands):
            return checked(*operands), program.checked[0].message or f"{program.name}: an index is out of range"

    return Op(
        name=program.name, fn=lambda operands: tuple(transformed(*operands)),
        parameters=(Parameter("operands", "arrays", False, inspect.Parameter.empty, False, number=True),), promote=None,
        promoted=(), namespaces=(), aliases=(), method=False, inplace=False, out=False, returns=None, put=None,
        check=check, grad_name=f"{program.name.capitalize()}Backward0", differentiable=True, elementwise=False, doc="",
        operand_names=("operands",), error=error,
    )  # fmt: skip


__all__ = ["Program"]
