"""Tensors in blocks: what the devices hold of one, and how one is put together from what was read.

A tensor on one device is one block. One on a mesh has a block for each part that differs; a part that several devices
hold is one block all the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import numpy as np

from ... import devices
from ...dtypes import dtype
from ...size import Size
from ...tape.modes import no_grad
from ...tensor import Tensor, dispatch
from ...trace.jaxapi import x64
from ...trace.value import Value, put
from .. import layout
from ..tensor.dtensor import is_ranked
from ..tensor.moves import extents

CPU = devices.resolve("cpu")


def part(t, offsets: Size, lengths: Size) -> Tensor:
    """Some elements of a tensor on the CPU that was read.

    Raises:
        RuntimeError: it has no such elements.
    """
    if not isinstance(t, Tensor) or t.dim() != len(lengths):
        raise RuntimeError(f"the checkpoint has {t!r} where a tensor of {len(lengths)} dimensions was expected")
    if tuple(lengths) == tuple(t.shape):
        return t
    array = np.asarray(t._value().concrete("loading a checkpoint"))
    found = array[tuple(slice(o, o + n) for o, n in zip(offsets, lengths, strict=True))]
    if found.shape != tuple(lengths):
        raise RuntimeError(
            f"a stored block of shape {list(t.shape)} has no {list(lengths)} elements at {list(offsets)}"
        )
    return dispatch.wrap(put(np.ascontiguousarray(found), CPU))


@dataclass
class HostTensor:
    """What was on a mesh, copied to the host: its blocks by their offsets. Made while an asynchronous save begins."""

    shape: Size
    dtype: dtype
    requires_grad: bool
    blocks: dict[Size, np.ndarray]

    def size(self) -> Size:
        return self.shape


def is_tensor(obj) -> bool:
    """Whether ``obj`` is stored as a tensor."""
    return isinstance(obj, Tensor | HostTensor)


def _start(index, ndim: int) -> Size:
    return Size(s.start or 0 for s in index) if ndim else Size(())


def _extent(index, shape) -> Size:
    return Size((n if s.stop is None else s.stop) - (s.start or 0) for s, n in zip(index, shape, strict=True))


def blocks_of(t) -> dict[Size, Size]:
    """Offsets → extent of each block."""
    if isinstance(t, HostTensor):
        return {offsets: Size(block.shape) for offsets, block in t.blocks.items()}
    if is_ranked(t):
        sizes, offsets = extents(t.shape, t.device_mesh, t.placements)
        return {Size(offsets): Size(sizes)} if 0 not in sizes or 0 in t.shape else {}
    sharding = layout.sharding_of(t._value())
    if sharding is None:
        return {Size([0] * t.dim()): Size(t.shape)}
    shape = tuple(t.shape)
    indices = sharding.addressable_devices_indices_map(shape).values()
    return dict(sorted({_start(i, len(shape)): _extent(i, shape) for i in indices}.items()))


def is_cut(t) -> bool:
    """Whether the tensor is stored in blocks of which each is less than the whole."""
    found = blocks_of(t)
    return len(found) > 1 or any(tuple(extent) != tuple(t.size()) for extent in found.values())


def block(t, offsets: Size) -> Tensor:
    """A block as a tensor on the CPU (not a view: what is saved of a view is not what it is a view of)."""
    return dispatch.wrap(put(np.asarray(_parts(t)[offsets]), CPU))


def _parts(t) -> dict[Size, jax.Array | np.ndarray]:
    if isinstance(t, HostTensor):
        return t.blocks
    if is_ranked(t):
        array = t.to_local()._value().concrete("saving a checkpoint")
        return {offsets: array for offsets in blocks_of(t)}
    array = t._value().concrete("saving a checkpoint")
    return {_start(s.index, array.ndim): s.data for s in array.addressable_shards if s.replica_id == 0}


def to_host(t):
    """A copy that no later step changes."""
    if isinstance(t, HostTensor):
        return t
    if is_ranked(t) or layout.sharding_of(t._value()) is not None:
        copies = {offsets: np.array(part) for offsets, part in _parts(t).items()}
        return HostTensor(Size(t.shape), t.dtype, t.requires_grad, dict(sorted(copies.items())))
    return dispatch.wrap(put(np.array(t._value().concrete("saving a checkpoint")), CPU)).requires_grad_(t.requires_grad)


class Landing:
    """Host memory in which a tensor's content is collected, to go to its devices in one piece.

    Args:
        tensor: the tensor to fill.
        count: how many pieces will come.
        covered: how many elements of each block they are; what they leave out stays as it is.
    """

    def __init__(self, tensor: Tensor, count: int, covered: dict[Size, int]):
        self._tensor, self._left, self._covered = tensor, count, covered
        self._extents = blocks_of(tensor)
        self._host: dict[Size, np.ndarray] = {}

    def add(self, where: Size, offsets: Size, piece: np.ndarray) -> None:
        """A piece of the block at ``where``; the last one fills the tensor."""
        extent = self._extents[where]
        piece = piece.astype(self._tensor.dtype.np, copy=False)
        if piece.shape == tuple(extent):
            self._host[where] = piece
        else:
            self._memory(where, extent)[tuple(slice(o, o + n) for o, n in zip(offsets, piece.shape, strict=True))] = (
                piece
            )
        self._left -= 1
        if not self._left:
            self._fill()

    def _memory(self, where: Size, extent: Size) -> np.ndarray:
        if where not in self._host:
            if self._covered[where] == math.prod(extent):
                self._host[where] = np.empty(extent, self._tensor.dtype.np)
            else:
                self._host[where] = np.array(block(self._tensor, where)._value().concrete("loading a checkpoint"))
        return self._host[where]

    def _fill(self) -> None:
        t = self._tensor
        if is_ranked(t):
            (array,) = self._host.values()
            with no_grad():
                t.to_local().detach()._assign(dispatch.wrap(put(array, t.device)))
            self._host.clear()
            return
        for where, extent in self._extents.items():  # a block of which nothing was stored
            self._memory(where, extent)
        sharding = layout.sharding_of(t._value())
        if sharding is None:
            (array,) = self._host.values()
            value = put(array, t.device)
        else:
            shape = tuple(t.shape)
            with x64(True):
                made = jax.make_array_from_callback(shape, sharding, lambda i: self._host[_start(i, len(shape))])
            value = Value(t._value().aval, t.device, made)
            value.sharding = sharding
        with no_grad():
            t.detach()._assign(dispatch.wrap(value))
        self._host.clear()
