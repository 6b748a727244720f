"""Nested tensors in files, as PyTorch writes them: their rows, and where each sequence begins."""

from __future__ import annotations

import pickle

import numpy as np

import jtorch

from ..serialization import globals, names, pickler
from ..tensor import Tensor
from ..tensor.layout import jagged
from .ragged import Ragged
from .tensor import NestedTensor, make


def _reduce(t: NestedTensor, plain) -> tuple:
    values, requires_grad = t._stored.detach(), t.requires_grad
    if t._kind is jagged:
        parts = {"values": values, "offsets": t._ragged.offsets, "lengths": t._ragged.lengths, "_ragged_idx": t._at,
                 "_metadata_cache": {}, "requires_grad": requires_grad}  # fmt: skip
        return names.REBUILD_FROM_TYPE, (names.REBUILD_JAGGED, names.JAGGED, (parts,), {})
    parts = [p.detach().contiguous() for p in t.unbind()]
    sizes = np.array([p.shape for p in parts], np.int64)
    strides = np.array([p.stride() for p in parts], np.int64)
    starts = np.cumsum([0, *(p.numel() for p in parts[:-1])])
    buffer = jtorch.cat([p.reshape(-1) for p in parts])
    return names.REBUILD_NESTED, (buffer, *(jtorch.from_numpy(x) for x in (sizes, strides, starts.astype(np.int64))))


def _numbers(t, what: str) -> np.ndarray:
    if not isinstance(t, Tensor) or t.dtype is not jtorch.int64:
        raise pickle.UnpicklingError(f"a nested tensor's {what} are no int64 tensor")
    return t.detach().cpu().numpy()


def _rebuild(buffer, sizes, strides, starts) -> NestedTensor:
    sizes, strides, starts = (_numbers(t, n) for t, n in ((sizes, "sizes"), (strides, "strides"), (starts, "offsets")))
    if sizes.ndim != 2 or sizes.shape != strides.shape or starts.shape != sizes.shape[:1] or not len(sizes):
        raise pickle.UnpicklingError("a nested tensor's sizes, strides and offsets do not fit together")
    if min(sizes.min(initial=0), strides.min(initial=0), starts.min()) < 0:
        raise pickle.UnpicklingError("a nested tensor's sizes, strides and offsets must not be negative")
    ends = starts + ((sizes - 1) * strides).sum(1)
    if np.any((ends >= buffer.numel()) & (sizes > 0).all(1)):
        raise pickle.UnpicklingError("a sequence of a nested tensor leaves its storage")
    parts = [
        buffer.as_strided(size, stride, start)
        for size, stride, start in zip(sizes.tolist(), strides.tolist(), starts.tolist(), strict=True)
    ]
    return jtorch.nested.as_nested_tensor(parts)


def _rebuild_jagged(parts) -> NestedTensor:
    values, lengths, at = parts.get("values"), parts.get("lengths"), parts.get("_ragged_idx", 1)
    offsets = _numbers(parts.get("offsets"), "offsets")
    if not isinstance(values, Tensor) or type(at) is not int or not 1 <= at <= values.dim() or not offsets.size:
        raise pickle.UnpicklingError("a nested tensor's values and ragged dimension do not fit together")
    ends = offsets[1:] if lengths is None else offsets[: lengths.numel()] + _numbers(lengths, "lengths")
    if min(np.diff(offsets).min(initial=0), *offsets[:1]) < 0 or ends.max(initial=0) > values.shape[at - 1]:
        raise pickle.UnpicklingError("a sequence of a nested tensor leaves its storage")
    if parts.get("requires_grad"):
        values = values.requires_grad_()
    return make(values, Ragged(parts["offsets"], lengths), at, jagged)


globals.add_function("torch._utils._rebuild_nested_tensor", _rebuild)
globals.add_function("torch.nested._internal.nested_tensor._rebuild_njt", _rebuild_jagged)
globals.add_constant("torch.nested._internal.nested_tensor.NestedTensor", NestedTensor)
pickler.REDUCERS[NestedTensor] = _reduce
