"""Gradients of parts of a tensor that lie side by side.

Each slice of a tensor gives it a gradient: the slice's own among zeros, to be added to those of the others. Where the
slices are the whole tensor, one after the other (it was split, chunked or unbound), their gradients are joined instead:
one operation for ``2n - 1``, and no sums with zeros.
"""

from __future__ import annotations

from ..ops.registry import OPS
from ..ops.shapes import canonical_dim
from ..trace.call import intern
from ..trace.recorder import record
from ..trace.value import Value


class Parts:
    """What the slices of a tensor along ``dim`` give it; travels through backward in a Value's place.

    Attributes:
        size: the tensor's along ``dim``.
        spans: for each slice its start, its length (None: one, and the dim is gone), its gradient, and a function that
            returns this among zeros.
    """

    __slots__ = ("dim", "size", "spans")

    def __init__(self, dim: int, size: int, spans: list):
        self.dim, self.size, self.spans = dim, size, spans

    def whole(self) -> Value:
        """The sum."""
        spans = sorted(self.spans, key=lambda span: span[0])
        at = 0
        for start, length, _, _ in spans:
            if start != at or (length is None) != (spans[0][1] is None):
                return self._sum()
            at += 1 if length is None else length
        if at != self.size or len(spans) == 1:
            return self._sum()
        grads = [span[2] for span in spans]
        op = OPS["stack" if spans[0][1] is None else "cat"]
        device = grads[0].device
        call = intern(op, (self.dim,), (tuple([g.aval for g in grads]),), device.platform)
        return record(call, grads, device)[0]

    def _sum(self) -> Value:
        (_, _, _, among_zeros), *rest = self.spans
        total = among_zeros()
        for *_, among_zeros in rest:
            total = added(total, among_zeros())
        return total


def added(a: Value, b: Value) -> Value:
    """The sum of two dense gradients."""
    return record(intern(OPS["_accumulate"], (), (a.aval, b.aval), a.device.platform), [a, b], a.device)[0]


def part(node, grad: Value, among_zeros) -> Parts | None:
    """What ``node`` gives its operand, a slice, if its place is known."""
    call = node.linearization.call
    start = node.operands[1] if node.operands.__class__ is list else None
    if start.__class__ is not int:
        return None
    dim, length, step = SLICES[call.op](*call.key[0])
    if step != 1:
        return None
    shape = call.in_avals[0].shape
    dim = canonical_dim(dim, len(shape))
    return Parts(dim, shape[dim], [(start + shape[dim] if start < 0 else start, length, grad, among_zeros)])


#: of the operations with a start for their second operand: dim, length and step by their statics
SLICES = {
    OPS["slice"]: lambda dim, length, step: (dim, length, step),
    OPS["narrow"]: lambda dim, length: (dim, length, 1),
    OPS["select"]: lambda dim: (dim, None, 1),
}
