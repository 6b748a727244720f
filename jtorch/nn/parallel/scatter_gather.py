"""Batches cut into parts on several devices, and put together again."""

from __future__ import annotations

import jtorch

from ... import devices
from ...tensor import Tensor


def place(target, like: Tensor):
    """The device that ``target`` names; a number is one of the kind ``like`` lies on, -1 the CPU."""
    if target == -1:
        return devices.CPU
    return devices.device(like.device.type, target) if isinstance(target, int) else devices.device(target)


def _rebuilt(kind: type, items):
    return kind(*items) if hasattr(kind, "_fields") else kind(items)


def scatter(inputs, target_gpus, dim: int = 0):
    """A list with one of ``inputs`` per device: tensors cut along ``dim``, tuples, lists and dicts of them likewise,
    anything else as it is. A tensor with fewer rows than devices has fewer parts."""
    if isinstance(inputs, Tensor):
        parts = inputs.chunk(len(target_gpus), dim)
        return tuple(p.to(place(d, inputs)) for p, d in zip(parts, target_gpus, strict=False))
    if isinstance(inputs, (tuple, list)) and len(inputs):
        columns = [scatter(x, target_gpus, dim) for x in inputs]
        return [_rebuilt(type(inputs), row) for row in zip(*columns, strict=False)]
    if isinstance(inputs, dict) and inputs:
        columns = [scatter(x, target_gpus, dim) for x in inputs.values()]
        return [type(inputs)(zip(inputs, row, strict=True)) for row in zip(*columns, strict=False)]
    return [inputs for _ in target_gpus]


def scatter_kwargs(inputs, kwargs, target_gpus, dim: int = 0) -> tuple:
    """:func:`scatter` of positional and keyword arguments, as many of one as of the other."""
    inputs = scatter(inputs, target_gpus, dim) if inputs else []
    kwargs = scatter(kwargs, target_gpus, dim) if kwargs else []
    inputs = [*inputs, *[()] * (len(kwargs) - len(inputs))]
    kwargs = [*kwargs, *[{}] * (len(inputs) - len(kwargs))]
    return tuple(inputs), tuple(kwargs)


def gather(outputs, target_device, dim: int = 0):
    """The outputs of all devices as one, on ``target_device``: tensors one after another along ``dim`` (0-d ones as a
    vector), tuples, lists and dicts of them likewise.

    Raises:
        ValueError: dicts differ in their number of keys.
    """
    first = outputs[0]
    if isinstance(first, Tensor):
        moved = [x.to(place(target_device, first)) for x in outputs]
        return jtorch.stack(moved) if first.dim() == 0 and dim == 0 else jtorch.cat(moved, dim)
    if first is None:
        return None
    if isinstance(first, dict):
        if any(len(x) != len(first) for x in outputs):
            raise ValueError("All dicts must have the same number of keys")
        return type(first)((k, gather([x[k] for x in outputs], target_device, dim)) for k in first)
    return _rebuilt(type(first), [gather(column, target_device, dim) for column in zip(*outputs, strict=True)])
