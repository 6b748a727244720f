"""Quantized tensors in files: PyTorch writes the integers as a storage of a type of its own, and the grid beside it."""

from __future__ import annotations

import collections
import dataclasses
import pickle

import jtorch

from ..serialization import globals, names, pickler, tensors
from . import qtypes
from .qtensor import QuantizedTensor

_BY_STORAGE = {d.storage: d for d in qtypes.ALL}


def _reduce(q: QuantizedTensor, plain) -> tuple:
    record = dataclasses.replace(tensors.describe(q._ints), dtype=q.dtype)
    storage, offset, size, stride, requires_grad, _ = plain(record)[1]
    if q._axis is None:
        grid = (q.qscheme(), q.q_scale(), q.q_zero_point())
    else:
        grid = (q.qscheme(), q._scale, q._zero_point, q._axis)
    hooks = collections.OrderedDict()
    return names.REBUILD_QUANTIZED, (storage, offset, size, stride, grid, requires_grad, hooks)


def _rebuild(storage, offset, size, stride, grid, requires_grad, hooks) -> QuantizedTensor:
    ints = globals.rebuild_tensor(storage, offset, size, stride)
    kind = _BY_STORAGE.get(ints.dtype)
    scheme, *grid = grid if isinstance(grid, tuple) else (None,)
    if kind is None or not isinstance(scheme, qtypes.qscheme):
        raise pickle.UnpicklingError(f"a quantized tensor of {ints.dtype} on the grid {scheme!r} cannot be loaded")
    if scheme is qtypes.per_tensor_affine and [type(x) for x in grid] == [float, int]:
        return QuantizedTensor(ints, *grid, kind)
    if scheme is qtypes.per_channel_affine and len(grid) == 3:
        scale, zero_point, axis = grid
        tensors_fit = isinstance(scale, jtorch.Tensor) and isinstance(zero_point, jtorch.Tensor)
        if type(axis) is int and 0 <= axis < len(size) and tensors_fit:
            if tuple(scale.shape) == tuple(zero_point.shape) == (size[axis],):
                return QuantizedTensor(ints, scale, zero_point.to(jtorch.int64), kind, axis)
    raise pickle.UnpicklingError(f"the grid of a quantized tensor is damaged: {scheme} {grid!r}")


for _kind, _name in ((qtypes.qint8, "QInt8"), (qtypes.quint8, "QUInt8"), (qtypes.qint32, "QInt32")):
    names.storage(_kind, f"{_name}Storage")
    globals.add_storage(f"{_name}Storage", _kind.storage)
    globals.add_constant(f"torch.{_kind.name}", _kind)
    names.constant(qtypes.__name__, _kind.name, _kind.name)
for _scheme in (*qtypes.PER_TENSOR, *qtypes.PER_CHANNEL):
    globals.add_constant(f"torch.{_scheme.name}", _scheme)
    names.constant(qtypes.__name__, _scheme.name, _scheme.name)
globals.add_function("torch._utils._rebuild_qtensor", _rebuild)
pickler.REDUCERS[QuantizedTensor] = _reduce
