"""Views as lenses: chains of (op, its parameters), each with a get (the op itself) and a put (``op.put``).

Reading a view is ``get(base)``; writing through it is ``base <- put(base, new)``. The chain is relative to the base it
was taken from. Laws, property-tested in tests/test_lenses.py::

    get(put(b, n)) == n        put(b, get(b)) == b        put(put(b, m), n) == put(b, n)
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass

from ..ops.registry import OPS, Op, Parameter

_puts: dict[Op, Op] = {}


@dataclass(frozen=True, slots=True)
class Step:
    """One view op with everything but its base: static attributes, run-time numbers (start offsets), result shape."""

    op: Op
    statics: tuple
    numbers: tuple
    shape: tuple[int, ...]


def put_op(op: Op) -> Op:
    """The op ``(base, new, *numbers)`` that writes through ``op``; derived from ``op.put``."""
    found = _puts.get(op)
    if found is None:
        base, *rest = op.parameters
        names = [p.name for p in op.parameters]

        def put(base_array, new, **others):
            return op.put(base_array, new, **{n: others[n] for n in names[1:]})

        new = Parameter("new", "array", False, inspect.Parameter.empty, False)
        found = _puts[op] = dataclasses.replace(
            op, name=f"{op.name}.put", fn=lambda **kw: put(kw.pop(base.name), kw.pop("new"), **kw),
            parameters=(base, new, *rest), namespaces=(), aliases=(), method=False, inplace=False, out=False, put=None,
            check=None, grad_name="CopySlices", promoted=(base.name, "new"),
            operand_names=(base.name, "new", *op.operand_names[1:]), view=op,
        )  # fmt: skip
    return found


def get(apply, base, steps: tuple[Step, ...]):
    """The view ``steps`` of ``base``; ``apply(op, operands, statics)`` runs one op."""
    for step in steps:
        base = apply(step.op, (base, *step.numbers), step.statics)
    return base


def put(apply, base, steps: tuple[Step, ...], new):
    """``base`` with the elements the view ``steps`` shows replaced by ``new``."""
    step, rest = steps[0], steps[1:]
    if rest and step.op.repeats is not None and step.op.repeats(*step.statics):
        # An element shown twice would be written twice, once as it was: only the places shown in the end are written.
        return apply(OPS["_put_places"], (base, get(apply, apply(OPS["_places"], (base,), ()), steps), new), ())
    if rest:
        new = put(apply, apply(step.op, (base, *step.numbers), step.statics), rest, new)
    return apply(put_op(step.op), (base, new, *step.numbers), step.statics)


def same(a: tuple[Step, ...] | None, b: tuple[Step, ...] | None) -> bool:
    """Whether two views of storages alike surely show the same part (steps by the same index tensors among them)."""
    return a is b or (
        a is not None and b is not None and len(a) == len(b)
        and all(
            (x.op, x.statics, x.shape) == (y.op, y.statics, y.shape) and len(x.numbers) == len(y.numbers)
            and all(m is n or (m.__class__ is n.__class__ is int and m == n)
                    for m, n in zip(x.numbers, y.numbers, strict=True))
            for x, y in zip(a, b, strict=True)
        )
    )  # fmt: skip


__all__ = ["Step", "get", "put", "put_op", "same"]
