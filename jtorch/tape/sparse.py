"""Gradients that name the rows they are not zero in: those of embeddings with ``sparse=True``."""

from __future__ import annotations

from ..ops.registry import OPS
from ..trace.call import intern
from ..trace.recorder import record
from ..trace.value import Value


class SparseGrad:
    """``values (n, ...)`` at ``indices (k, n)`` of zeros of ``aval``; travels through backward in a Value's place."""

    __slots__ = ("indices", "values", "aval", "device")

    def __init__(self, indices: Value, values: Value, aval):
        self.indices, self.values, self.aval, self.device = indices, values, aval, values.device

    def concrete(self, cause: str):
        """The array of the values."""
        return self.values.concrete(cause)


def _run(name: str, statics: tuple, keys: tuple, flat: list, device) -> Value:
    return record(intern(OPS[name], statics, keys, device.platform), flat, device)[0]


def _joined(a: Value, b: Value, dim: int) -> Value:
    return _run("cat", (dim,), ((a.aval, b.aval),), [a, b], a.device)


def add(a, b):
    """The sum of two gradients of which one at least is sparse: sparse if both are."""
    if a.__class__ is SparseGrad and b.__class__ is SparseGrad:
        return SparseGrad(_joined(a.indices, b.indices, 1), _joined(a.values, b.values, 0), a.aval)
    dense, sparse = (b, a) if a.__class__ is SparseGrad else (a, b)
    keys = (dense.aval, sparse.indices.aval, sparse.values.aval, int)
    return _run("_sparse_add", (), keys, [dense, sparse.indices, sparse.values, 1], dense.device)
