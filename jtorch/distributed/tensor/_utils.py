"""``torch.distributed.tensor._utils``: which part of a distributed tensor a device holds."""

from __future__ import annotations

from ..device_mesh import DeviceMesh
from .placements import Shard, normalized


def compute_local_shape_and_global_offset(
    global_shape, mesh: DeviceMesh, placements, skip_offset: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of the part that this process's device of ``mesh`` holds, and where in the whole it begins.

    Cuts along the same dimension are taken in the order of the mesh's dimensions, each within the part before it.

    Args:
        skip_offset: give ``()`` in place of the offsets.
    """
    shape, offsets = list(global_shape), [0] * len(global_shape)
    for p, n, rank in zip(
        normalized(placements, mesh, len(shape), "compute_local_shape_and_global_offset"),
        mesh.shape,
        mesh.get_coordinate(),
        strict=True,
    ):
        if isinstance(p, Shard):
            shape[p.dim], offset = Shard.local_shard_size_and_offset(shape[p.dim], n, rank)
            offsets[p.dim] += offset
    return tuple(shape), () if skip_offset else tuple(offsets)
