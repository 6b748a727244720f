"""Many small tensors as one array: a collective costs about the same for a kilobyte as for a hundred.

Tensors under :data:`SMALL` bytes are laid one after the other, those of one dtype and device together; larger ones
stay by themselves, since copying them costs more than it saves. Both directions are recorded operations: they become
parts of the programs before and after the collective.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from ..ops.registry import Array, Arrays, op
from ..tensor import dispatch

SMALL = 512 * 1024


@op(name="_bucket", namespaces=(), differentiable=False)
def _bucket(tensors: Arrays):
    """All elements in one dimension."""
    return jnp.concatenate([jnp.ravel(t) for t in tensors])


@op(name="_unbucket", namespaces=(), differentiable=False)
def _unbucket(input: Array, *, shapes):
    """The tensors that :func:`_bucket` laid one after the other."""
    out, start = [], 0
    for shape in shapes:
        n = math.prod(shape)
        out.append(jnp.reshape(input[start : start + n], shape))
        start += n
    return tuple(out)


class Buckets:
    """How a list of tensors is packed. The layout depends on shapes and dtypes only, so that ranks agree on it."""

    def __init__(self, tensors):
        small: dict[tuple, list[int]] = {}
        self.parts: list[list[int]] = []
        for i, t in enumerate(tensors):
            if t.numel() == 0:
                continue
            if t.numel() * t.dtype.itemsize < SMALL:
                small.setdefault((t.dtype, t.device), []).append(i)
            else:
                self.parts.append([i])
        self.parts += small.values()
        self.shapes = [tuple(t.shape) for t in tensors]

    def pack(self, tensors) -> list:
        """The buckets of tensors of this layout."""
        return [dispatch.call("_bucket", tuple(tensors[i] for i in part)) for part in self.parts]

    def unpack(self, packed) -> list[tuple[int, object]]:
        """``(position, tensor)`` for every tensor that is not empty."""
        out = []
        for part, flat in zip(self.parts, packed, strict=True):
            shapes = tuple(self.shapes[i] for i in part)
            out += zip(part, dispatch.call("_unbucket", flat, shapes=shapes), strict=True)
        return out
