"""Making nested tensors."""

from __future__ import annotations

import builtins

import numpy as np

import jtorch

from ..ops.shapes import canonical_dim
from ..tensor import Tensor
from ..tensor.creation import from_numpy
from ..tensor.layout import jagged, strided
from .ragged import Ragged
from .tensor import NestedTensor, make

_KINDS = (jagged, strided)


def _check_layout(layout):
    layout = strided if layout is None else layout
    if layout not in _KINDS:
        raise RuntimeError(f"Specified layout is unsupported for nested tensors: {layout}")
    return layout


def of_parts(parts, at: int = 1, kind=jagged) -> NestedTensor:
    """A nested tensor of tensors that differ in dimension ``at - 1`` only.

    Raises:
        RuntimeError: they differ in others, in their number of dimensions, dtype or device.
    """
    if not parts:
        raise RuntimeError("Cannot construct a nested tensor from an empty tensor list")
    head = parts[0]
    if builtins.any(p.dim() != head.dim() for p in parts):
        raise RuntimeError("When constructing a nested tensor, all tensors in list must have the same dim")
    if builtins.any(p.dtype is not head.dtype or p.device is not head.device for p in parts):
        raise RuntimeError("When constructing a nested tensor, all tensors in list must have the same dtype and device")
    if not head.dim():
        raise RuntimeError("A nested tensor of 0-d tensors has no ragged dimension; use torch.stack")
    axes = {d for p in parts for d in range(head.dim()) if p.shape[d] != head.shape[d]}
    if axes - {at - 1}:
        if len(axes) == 1:
            at = axes.pop() + 1
        else:
            raise RuntimeError("tensors of a nested tensor may differ in the size of one dimension only; these are "
                               f"{[tuple(p.shape) for p in parts]}")  # fmt: skip
    offsets = np.concatenate([[0], np.cumsum([p.shape[at - 1] for p in parts])])
    return make(jtorch.cat(list(parts), at - 1), Ragged(from_numpy(offsets.astype(np.int64)).to(head.device)), at, kind)


def nested_tensor(
    tensor_list, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
) -> NestedTensor:
    """A nested tensor of copies of tensors (or lists of numbers) that differ in the size of one dimension; a leaf.

    Args:
        layout: ``torch.jagged``, or ``torch.strided`` (default), which is stored alike and prints as a list.

    Raises:
        TypeError: the argument is no list.
        RuntimeError: the tensors do not fit together.
    """
    layout = _check_layout(layout)
    if not isinstance(tensor_list, (list, tuple)):
        raise TypeError("nested_tensor(): Expected first argument to be list of tensors")
    parts = [t.detach() if isinstance(t, Tensor) else jtorch.tensor(t) for t in tensor_list]
    parts = [p.to(device=device, dtype=dtype or parts[0].dtype) for p in parts]
    t = of_parts(parts, 1, layout)
    return make(t._stored.detach().clone().requires_grad_(requires_grad), t._ragged, t._at, layout)


def as_nested_tensor(ts, dtype=None, device=None, layout=None) -> NestedTensor:
    """A nested tensor of tensors, to which gradients flow; or of a dense one, whose rows are its sequences.

    Raises:
        TypeError: neither a tensor nor a list of tensors.
    """
    layout = _check_layout(layout)
    if isinstance(ts, NestedTensor):
        return ts if dtype is None and device is None else ts.to(device=device, dtype=dtype)
    if isinstance(ts, Tensor):
        ts = list(ts.unbind(0))
    if not isinstance(ts, (list, tuple)) or not builtins.all(isinstance(t, Tensor) for t in ts):
        raise TypeError("as_nested_tensor(): Expected first argument to be a tensor or a list / tuple of tensors")
    return of_parts([t.to(device=device, dtype=dtype) for t in ts], 1, layout)


def _like_device(tensor, values):
    return None if tensor is None else tensor.to(values.device)


def nested_tensor_from_jagged(
    values, offsets=None, lengths=None, jagged_dim=None, min_seqlen=None, max_seqlen=None
) -> NestedTensor:
    """A nested tensor over ``values`` themselves: sequence ``i`` begins at ``offsets[i]``.

    Args:
        offsets: where sequences begin, and the last end.
        lengths: how long they are; alone, they lie one after the other; with ``offsets``, they may have gaps.
        jagged_dim: the ragged dimension of the result (default 1).
        min_seqlen, max_seqlen: accepted; sequences are measured when that is needed.

    Raises:
        RuntimeError: neither offsets nor lengths are given.
        ValueError: the ragged dimension is the batch.
    """
    if offsets is None:
        if lengths is None:
            raise RuntimeError("nested_tensor_from_jagged(): At least one of offsets or lengths is required.")
        ends = lengths.cumsum(0)
        offsets, lengths = jtorch.cat([ends.new_zeros(1), ends]), None
    at = 1 if jagged_dim is None else canonical_dim(jagged_dim, values.dim() + 1)
    if at == 0:
        raise ValueError("nested_tensor_from_jagged(): the batch dimension cannot be the ragged one")
    if lengths is not None and offsets.shape[0] == lengths.shape[0]:
        offsets = jtorch.cat([offsets, (offsets[-1:] + lengths[-1:])])
    return make(values, _structure(offsets, lengths, values), at, jagged)


def _structure(offsets, lengths, values) -> Ragged:
    """The structure that these offsets belong to: the same tensor means the same structure."""
    if lengths is None:
        found = offsets.__dict__.get("_ragged_of")
        if found is not None and found[1] == offsets._version:
            return found[0]
    ragged = Ragged(_like_device(offsets, values), _like_device(lengths, values))
    if lengths is None:
        offsets.__dict__["_ragged_of"] = (ragged, offsets._version)
    return ragged


def narrow(tensor, dim: int, start, length, layout=strided) -> NestedTensor:
    """Of each row of a dense tensor ``length`` elements from ``start`` on, both numbers or one for each row.

    With ``torch.jagged`` nothing is copied: the result has gaps.

    Raises:
        RuntimeError: another dimension than 1.
    """
    if dim != 1:
        raise RuntimeError("narrow(): only dim=1 is supported for nested tensors")
    rows, size = tensor.shape[:2]

    def vector(x):
        x = x if isinstance(x, Tensor) else jtorch.full((rows,), int(x))
        return x.to(tensor.device, jtorch.int64).expand(rows)

    begin, count = vector(start), vector(length)
    offsets = jtorch.arange(rows, device=tensor.device) * size + begin
    offsets = jtorch.cat([offsets, offsets[-1:] + count[-1:]])
    t = make(tensor.flatten(0, 1), Ragged(offsets, count), 1, jagged)
    if layout is jagged:
        return t
    return make(t.contiguous()._stored, t.contiguous()._ragged, 1, _check_layout(layout))


def masked_select(tensor, mask) -> NestedTensor:
    """Of each row of a dense tensor the elements where ``mask``, which broadcasts to it, is true.

    Raises:
        RuntimeError: the tensor is no matrix, or the mask does not fit.
    """
    if tensor.layout is not strided:
        raise RuntimeError(f"torch.nested.masked_select requires a strided tensor, got {tensor.layout}")
    mask = mask.expand(tuple(tensor.shape))
    counts = mask.sum(1)
    while counts.dim() > 1:
        counts = counts.sum(-1)
    offsets = jtorch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return make(tensor[mask], Ragged(offsets), 1, jagged)
