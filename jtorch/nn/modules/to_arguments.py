"""The arguments of ``Module.to``, which are those of a tensor's ``to``."""

from __future__ import annotations

import re

from ... import devices, dtypes
from ...tensor import Tensor
from ...tensor.creation import dtype_of

#: Orders of the positional arguments, as letters of :func:`_kind`: ``(tensor, non_blocking)``, ``(dtype,
#: non_blocking)`` and ``(device, dtype, non_blocking)``.
_ORDERS = re.compile("T?b?|tb?|[DN]|[DN][tN]b?")


def parse_to(*args, device=None, dtype=None, non_blocking=False, memory_format=None, tensor=None, copy=False):
    """The arguments of ``Module.to`` as (device, dtype, non_blocking, memory_format): those of a tensor's ``to``, in
    their order."""
    if copy:
        raise RuntimeError(".to() does not accept copy argument")
    given = (*args, tensor) if tensor is not None else args
    kinds = "".join(_kind(a) for a in given)
    if not _ORDERS.fullmatch(kinds):
        said = ", ".join(type(a).__name__ for a in given)
        raise TypeError(
            f"to() received an invalid combination of arguments - got ({said}), but expected (device, dtype, "
            "non_blocking), (dtype, non_blocking) or (tensor, non_blocking), and memory_format by keyword"
        )
    for a, kind in zip(given, kinds, strict=True):
        if kind == "T":
            device, dtype = a.device, a.dtype
        elif kind == "D":
            device = a
        elif kind == "t":
            dtype = a
        elif kind == "b":
            non_blocking = a
    if device is not None:
        device = devices.resolve(device)
    return device, None if dtype is None else dtype_of(dtype), non_blocking, memory_format


def _kind(a) -> str:
    """A letter: Tensor, Device, dtype, bool, None, or ? for anything else."""
    if isinstance(a, Tensor):
        return "T"
    if isinstance(a, bool):
        return "b"
    if isinstance(a, (dtypes.dtype, type)):
        return "t"
    return "N" if a is None else "D" if isinstance(a, (str, int, devices.device)) else "?"
