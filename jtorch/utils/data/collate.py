"""From a list of samples to a batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence

import numpy as np

import jtorch
from jtorch.utils.data.host import from_host, stack

_WANTED = "batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def _is_numeric(array) -> bool:
    return array.dtype.kind not in "SUO"


def _rebuild_mapping(old: Mapping, new: dict):
    """``new`` in a mapping of the type of ``old``, or a plain dict where that type does not allow it."""
    try:
        if isinstance(old, MutableMapping):
            clone = copy.copy(old)  # keeps what else the object carries
            clone.update(new)
            return clone
        return type(old)(new)
    except TypeError:
        return new


def _rebuild_sequence(old: Sequence, new: list):
    """``new`` in a sequence of the type of ``old``, or a plain list where that type does not allow it."""
    try:
        if isinstance(old, MutableSequence):
            clone = copy.copy(old)
            clone[:] = new
            return clone
        return type(old)(new)
    except TypeError:
        return new


def default_collate(batch):
    """Stack a list of samples along a new first dimension, structure by structure.

    Tensors and NumPy arrays are stacked, numbers become a tensor (floats float64), strings stay a list; mappings,
    named tuples, tuples and sequences are collated element by element (plain tuples come back as a list).

    Raises:
        RuntimeError: tensors of unequal size, or sequences of unequal length.
        TypeError: any other type.
    """
    first = batch[0]
    if isinstance(first, jtorch.Tensor):
        return stack(batch)
    if isinstance(first, np.ndarray):
        if not _is_numeric(first):
            raise TypeError("default_collate: " + _WANTED.format(first.dtype))
        if all(isinstance(a, np.ndarray) and a.dtype == first.dtype and a.shape == first.shape for a in batch):
            return from_host(np.stack(batch))
        return stack([jtorch.as_tensor(array) for array in batch])
    if isinstance(first, (np.bool_, np.number)):
        return jtorch.as_tensor(np.stack(batch))
    if isinstance(first, float):
        return jtorch.tensor(batch, dtype=jtorch.float64)
    if isinstance(first, int):
        return jtorch.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _rebuild_mapping(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        if isinstance(first, tuple) and hasattr(first, "_fields"):
            return type(first)(*(default_collate(column) for column in zip(*batch, strict=True)))
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else _rebuild_sequence(first, columns)
    raise TypeError("default_collate: " + _WANTED.format(type(first)))


def default_convert(data):
    """NumPy arrays and scalars inside ``data`` become tensors; everything else stays (the loader's collate function
    when ``batch_size=None``)."""
    if isinstance(data, jtorch.Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return jtorch.as_tensor(data) if _is_numeric(data) else data
    if isinstance(data, Mapping):
        return _rebuild_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple):
        if hasattr(data, "_fields"):
            return type(data)(*(default_convert(item) for item in data))
        return [default_convert(item) for item in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild_sequence(data, [default_convert(item) for item in data])
    return data
