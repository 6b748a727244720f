"""The functions that control flow is made of, recorded on stand-ins for their operands."""

from __future__ import annotations

import jax.numpy as jnp

from ..func.program import Program
from ..tensor import Tensor
from ..trace.value import Value
from ..utils import _pytree

READS = (
    "{}: a function reads the value of a tensor, which is not known while it is recorded. Express the choice with "
    "tensor operations (jtorch.where), or write it with Python's own `if` and `while`"
)


class Recorded:
    """A function as a program, and what of its result is no tensor."""

    def __init__(self, program, form, others: list):
        self.program, self.form, self.others = program, form, others

    def result(self, tensors):
        it = iter(tensors)
        return _pytree.tree_unflatten([next(it) if x is Tensor else x for x in self.others], self.form)

    def looks(self) -> tuple:
        """What must be alike in two branches, and from one turn of a loop to the next."""
        return self.form, self.others, self.program.avals


def tensors_of(tree) -> tuple:
    """The tensors of a tree, and a function that puts others in their places."""
    leaves, form = _pytree.tree_flatten(tree)
    where = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]

    def put(tensors):
        new = list(leaves)
        for i, t in zip(where, tensors, strict=True):
            new[i] = t
        return _pytree.tree_unflatten(new, form)

    return [leaves[i] for i in where], put


def recorded(fn, tensors, put, device, name: str) -> Recorded:
    """``fn(*put(tensors))`` recorded, for messages under this name.

    Raises:
        RuntimeError: it reads a value, or writes to one of the tensors.
    """
    seen = {}

    def flat(*stand_ins):
        leaves, seen["form"] = _pytree.tree_flatten(fn(*put(stand_ins)))
        seen["others"] = [Tensor if isinstance(x, Tensor) else x for x in leaves]
        return tuple([x for x in leaves if isinstance(x, Tensor)])

    program = Program(flat, [t._value().aval for t in tensors], device, name=name, reads=READS.format(name))
    if program.written:
        raise RuntimeError(f"{name}: a function writes to an operand in place; return the new value instead")
    return Recorded(program, seen["form"], seen["others"])


def any_of(verdicts: list):
    """Whether one of the index checks of a run (:meth:`Program.run`) failed, as one truth value."""
    return jnp.stack([jnp.asarray(False), *(jnp.any(x) for x in verdicts)]).any()


def is_recorded(value: Value) -> bool:
    """Whether a value stands for one of a recording that is not going to run here."""
    return value.array is None and value.trace is not None and not value.trace.runs
