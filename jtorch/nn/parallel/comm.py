"""Copies, sums and parts of tensors on several devices of one process."""

from __future__ import annotations

import jtorch

from ...tensor import Tensor
from .scatter_gather import gather as _gather
from .scatter_gather import place


def _destinations(tensor: Tensor, devices, out) -> list:
    """The devices results go to.

    Raises:
        RuntimeError: not exactly one of ``devices`` and ``out`` is given.
    """
    if (devices is None) == (out is None):
        raise RuntimeError(f"Exactly one of 'devices' and 'out' must be specified, but got {devices=} and {out=}")
    return [o.device for o in out] if devices is None else [place(d, tensor) for d in devices]


def _into(out, parts: list) -> tuple:
    if out is None:
        return tuple(parts)
    for target, part in zip(out, parts, strict=True):
        target.copy_(part)
    return tuple(out)


def broadcast(tensor, devices=None, *, out=None) -> tuple:
    """The tensor on each of ``devices``, or in each tensor of ``out``."""
    return _into(out, [tensor.to(d) for d in _destinations(tensor, devices, out)])


def broadcast_coalesced(tensors, devices, buffer_size: int = 10485760) -> list:
    """``tensors`` on each of ``devices``, device by device; ``buffer_size`` is accepted."""
    columns = [broadcast(t, devices) for t in tensors]
    return list(zip(*columns, strict=True))


def reduce_add(inputs, destination=None):
    """The sum of equally shaped tensors that lie on several devices, on ``destination`` (default: the first's device).

    Raises:
        ValueError: shapes differ.
    """
    first = inputs[0]
    for i, x in enumerate(inputs):
        if x.shape != first.shape:
            raise ValueError(f"input {i} has invalid size: got {tuple(x.shape)}, but expected {tuple(first.shape)}")
    device = first.device if destination is None else place(destination, first)
    return sum((x.to(device) for x in inputs[1:]), start=first.to(device))


def reduce_add_coalesced(inputs, destination=None, buffer_size: int = 10485760) -> tuple:
    """:func:`reduce_add` of each device's first tensor, of each one's second, and so on."""
    return tuple(reduce_add(column, destination) for column in zip(*inputs, strict=True))


def scatter(tensor, devices=None, chunk_sizes=None, dim: int = 0, streams=None, *, out=None) -> tuple:
    """The tensor cut along ``dim``, a part on each of ``devices`` or in each tensor of ``out``.

    Args:
        chunk_sizes: of the parts (default: equal, or those of ``out``).
        streams: accepted.
    """
    wanted = _destinations(tensor, devices, out)
    if out is not None:
        chunk_sizes = [o.size(dim) for o in out]
    parts = tensor.chunk(len(wanted), dim) if chunk_sizes is None else tensor.split(list(chunk_sizes), dim)
    return _into(out, [p.to(d) for p, d in zip(parts, wanted, strict=False)])


def gather(tensors, dim: int = 0, destination=None, *, out=None):
    """Tensors one after another along ``dim``, on ``destination`` (default: the first's device) or in ``out``.

    Raises:
        RuntimeError: both ``destination`` and ``out`` are given.
    """
    if out is None:
        return _gather(list(tensors), tensors[0].device if destination is None else destination, dim)
    if destination is not None:
        raise RuntimeError(f"'destination' must not be specified when 'out' is specified, but got {destination=}")
    return out.copy_(jtorch.cat([t.to(out.device) for t in tensors], dim))


__all__ = ["broadcast", "broadcast_coalesced", "gather", "reduce_add", "reduce_add_coalesced", "scatter"]
