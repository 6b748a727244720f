"""Batches gathered on the host.

A data set hands out many small tensors. Recording an operation for each would make every batch a long trace; where the
data lies in host memory already, NumPy gathers it and one tensor is made.
"""

from __future__ import annotations

import numpy as np

import jtorch
from jtorch import devices
from jtorch.tensor.dispatch import wrap
from jtorch.trace.value import put


def host_array(tensor) -> np.ndarray | None:
    """The tensor's data if it can be read without running or copying anything, else None. Do not write to it."""
    return None if tensor.requires_grad else tensor._seen("a batch is made")


def from_host(array: np.ndarray):
    """A new CPU tensor of ``array``, which the caller gives up."""
    return wrap(put(array, devices.CPU))


def stack(tensors) -> object:
    """``jtorch.stack(tensors)``."""
    first = tensors[0]
    arrays = []
    for t in tensors:
        array = host_array(t)
        # anything unusual, errors included, is jtorch.stack's business
        if array is None or t.dtype is not first.dtype or t.shape != first.shape:
            return jtorch.stack(list(tensors))
        arrays.append(array)
    return from_host(np.stack(arrays))


def rows_of(tensor, indices: list[int]):
    """``jtorch.stack([tensor[i] for i in indices])``.

    Raises:
        IndexError: an index is out of range.
    """
    n = len(tensor)
    for i in indices:
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of bounds for dimension 0 with size {n}")
    if not tensor.requires_grad:
        tensor._value().concrete("a data set is read")  # once: later batches find it there
    array = host_array(tensor)
    if array is None:
        return tensor[jtorch.tensor(indices, device=tensor.device)]
    return from_host(array[np.asarray(indices, np.int64)])
