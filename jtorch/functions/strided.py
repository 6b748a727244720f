"""``as_strided``: a tensor's storage seen through other strides, whatever view of it the tensor is."""

from __future__ import annotations

from ..ops.registry import OPS
from ..tape import modes
from ..tensor import Tensor
from ..tensor.dispatch import call, dispatch
from ..tensor.export import composite


def _in_memory_order(t, dtype):
    """A view of a whole storage whose elements, row by row, are as PyTorch would have them in memory, as ``dtype``."""
    strides = t._strides
    if strides is not None:
        t = t.permute(sorted(range(t.dim()), key=lambda d: (-strides[d], d)))
    if t.dtype is dtype:
        return t
    if t.dtype.is_complex and dtype is t.dtype.to_real():
        return call("view_as_real", t)
    if dtype.is_complex and dtype.to_real() is t.dtype:
        return call("view_as_complex", t.reshape(-1, 2))
    return t.reshape(-1).view(dtype)


def _base(t):
    """The tensor that is all of ``t``'s storage: with the history ``t`` has of it, or without one."""
    if t._lens is None:
        return t
    root = t._root
    if root is not None and root._lens is None:
        return root
    whole = object.__new__(Tensor)
    whole._storage = t._storage
    return whole


@composite("torch", method=True)
def as_strided(input, size, stride, storage_offset=None):
    """Element ``i, j, ...`` is the one at ``storage_offset + i * stride[0] + j * stride[1] + ...`` of the tensor's
    storage, also where the tensor is a view of less than that; ``storage_offset`` defaults to the tensor's own.

    Raises:
        RuntimeError: an element lies outside the storage, a stride is negative, or an expanded result is written to.
    """
    size, stride = (tuple(int(n) for n in v) for v in (size, stride))
    offset = input.storage_offset() if storage_offset is None else int(storage_offset)
    base = _base(input)
    memory = _in_memory_order(base, input.dtype)
    own = modes.state.grad and input.requires_grad and not base.requires_grad or "_tangent" in input.__dict__
    if base is not input and own:
        # a leaf that views another tensor's storage: the derivative is its own, what it does not show is constant
        return call(
            "_as_strided_beyond", input, memory, size=size, stride=stride, storage_offset=offset,
            at=(input.stride(), input.storage_offset()),
        )  # fmt: skip
    return dispatch(OPS["as_strided"], (memory,), (size, stride, offset))


@composite(method=True)
def as_strided_(self, size, stride, storage_offset=None):
    """Change this tensor's own shape and strides over its storage."""
    return self._become_view(lambda t: as_strided(t, size, stride, storage_offset))
