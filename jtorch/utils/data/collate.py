"""From a list of samples to a batch."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence

import numpy as np

import jtorch
from jtorch.utils.data.host import from_host, stack

#: As PyTorch has it for libraries that join batches by themselves.
default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


#: Names of NumPy types (``array.dtype.str``) of which no tensor can be made.
np_str_obj_array_pattern = re.compile(r"[SaUO]")


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


def collate(batch, *, collate_fn_map: dict | None = None):
    """Join a list of samples, structure by structure.

    Args:
        collate_fn_map: ``{type: function(batch, *, collate_fn_map)}`` for samples of these types (the very type first,
            then the first entry that is one of their bases; keys may be tuples of types). Mappings, named tuples,
            tuples and sequences that it does not have are collated element by element (plain tuples come back as a
            list).

    Raises:
        RuntimeError: sequences of unequal length.
        TypeError: any other type.
    """
    first, functions = batch[0], collate_fn_map or {}
    found = functions.get(type(first))
    if found is None:
        found = next((function for kind, function in functions.items() if isinstance(first, kind)), None)
    if found is not None:
        return found(batch, collate_fn_map=collate_fn_map)

    def inner(samples):
        return collate(samples, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        return _rebuild_mapping(first, {key: inner([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        if isinstance(first, tuple) and hasattr(first, "_fields"):
            return type(first)(*(inner(column) for column in zip(*batch, strict=True)))
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [inner(column) for column in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else _rebuild_sequence(first, columns)
    raise TypeError(default_collate_err_msg_format.format(type(first)))


def collate_tensor_fn(batch, *, collate_fn_map=None):
    """Tensors, stacked."""
    return stack(batch)


def collate_numpy_array_fn(batch, *, collate_fn_map=None):
    """NumPy arrays, stacked as a tensor."""
    first = batch[0]
    if not _is_numeric(first):
        raise TypeError(default_collate_err_msg_format.format(first.dtype))
    if all(isinstance(a, np.ndarray) and a.dtype == first.dtype and a.shape == first.shape for a in batch):
        return from_host(np.stack(batch))
    return stack([jtorch.as_tensor(array) for array in batch])


def collate_numpy_scalar_fn(batch, *, collate_fn_map=None):
    """NumPy numbers as a tensor."""
    return jtorch.as_tensor(np.stack(batch))


def collate_float_fn(batch, *, collate_fn_map=None):
    """Floats as a tensor of float64."""
    return jtorch.tensor(batch, dtype=jtorch.float64)


def collate_int_fn(batch, *, collate_fn_map=None):
    """Ints (and bools) as a tensor."""
    return jtorch.tensor(batch)


def collate_str_fn(batch, *, collate_fn_map=None):
    """Strings: the list that they came in."""
    return batch


#: How :func:`default_collate` joins samples that are no containers. Programs may add types of their own.
default_collate_fn_map = {
    jtorch.Tensor: collate_tensor_fn, np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn, float: collate_float_fn, int: collate_int_fn,
    str: collate_str_fn, bytes: collate_str_fn,
}  # fmt: skip


def default_collate(batch):
    """Stack a list of samples along a new first dimension, structure by structure.

    Tensors and NumPy arrays are stacked, numbers become a tensor (floats float64), strings stay a list; mappings,
    named tuples, tuples and sequences are collated element by element (plain tuples come back as a list). What
    programs add to ``default_collate_fn_map`` is joined by their functions.

    Raises:
        RuntimeError: tensors of unequal size, or sequences of unequal length.
        TypeError: any other type.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


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
