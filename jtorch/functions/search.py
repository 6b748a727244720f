"""Results whose shape depends on data: these run what was recorded, then go on with the shape known."""

from __future__ import annotations

import numpy as np

from .. import devices, dtypes
from ..ops.elementwise import type_name
from ..ops.outputs import picked
from ..ops.registry import OPS
from ..ops.shapes import broadcast_shapes
from ..tensor import Tensor
from ..tensor.dispatch import wrap, write_out
from ..tensor.export import composite, function
from ..trace.value import put


def _of_indices(result, out, inputs) -> None:
    """Raises:
    RuntimeError: ``out`` is not int64.
    """
    if out.dtype is not dtypes.int64:
        raise RuntimeError(
            f"nonzero: Expected out tensor to have scalar type Long but got scalar type {type_name(out)}"
        )


@composite("torch", method=True)
def nonzero(input, *, out=None, as_tuple=False):
    """Indices of the non-zero elements, one row each (a tuple of index tensors with ``as_tuple``).

    The number of results depends on the data, so the recorded program runs first.

    Raises:
        RuntimeError: ``out`` together with ``as_tuple``, or of another dtype than int64.
    """
    if out is not None:
        if as_tuple:
            raise RuntimeError("nonzero does not support the out kwarg when as_tuple is True")
        return write_out("nonzero", (input,), nonzero(input), out, _of_indices)
    data = input.detach()._host("nonzero()")
    if not input.shape:
        data = data.reshape(1)
    found = np.nonzero(data)
    device = devices.resolve(input.device)
    if as_tuple:
        return tuple(wrap(put(np.ascontiguousarray(i.astype(np.int64)), device)) for i in found)
    rows = np.stack(found, 1).astype(np.int64)
    if not input.shape:
        rows = rows[:, :0]
    return wrap(put(np.ascontiguousarray(rows), device))


@composite("torch", method=True)
def argwhere(input):
    """Indices of the non-zero elements, one row each."""
    return nonzero(input)


@composite("torch")
def where(condition, input=None, other=None, *, out=None):
    """``input`` where ``condition`` holds, ``other`` elsewhere; with the condition alone, ``nonzero(as_tuple=True)``.

    Raises:
        RuntimeError: the condition is not bool, or the shapes do not broadcast.
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return function(OPS["where"])(condition, input, other, out=out)


@composite(name="where", method=True)
def _where(self, condition, other):
    """``self`` where ``condition`` holds, ``other`` elsewhere."""
    return where(condition, self, other)


@composite("torch", method=True, out=picked)
def masked_select(input, mask):
    """The elements where ``mask`` is true, as a 1-d tensor.

    Raises:
        RuntimeError: ``mask`` is not a bool tensor, or ``out`` shares memory with an operand or has another dtype.
    """
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, but got {mask.dtype}")
    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    return input.expand(shape)[mask.expand(shape)]


@composite("torch", method=True)
def equal(input, other):
    """Whether both have the same shape and elements, as a Python bool."""
    if not isinstance(other, Tensor):
        raise TypeError(f"equal(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}")
    return input.shape == other.shape and bool((input == other).all())
