"""``Shard``, ``Replicate``, ``Partial``: how a tensor lies along one dimension of a mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jax.sharding import NamedSharding, PartitionSpec

from ..device_mesh import DeviceMesh
from ..layout import FREE
from ..rank_mesh import RankMesh


class Placement:
    """How a tensor lies along one dimension of a mesh."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Whether the tensor is cut (along ``dim``)."""
        return isinstance(self, Shard) and (dim is None or self.dim == dim)

    def is_replicate(self) -> bool:
        """Whether every device holds the whole tensor."""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Whether the devices hold terms that are still to be reduced."""
        return isinstance(self, Partial) and (reduce_op is None or self.reduce_op == reduce_op)


@dataclass(frozen=True)
class Shard(Placement):
    """Cut along tensor dimension ``dim`` into equal parts, one a device."""

    dim: int

    @staticmethod
    def local_shard_size_and_offset(curr_local_size: int, num_chunks: int, rank: int) -> tuple[int, int]:
        """Size and beginning of part ``rank`` when ``curr_local_size`` is cut into ``num_chunks``, as ``chunk`` cuts.

        Parts at the end are smaller or empty where the size is no multiple of their number.
        """
        full = -(-curr_local_size // num_chunks)
        begin = min(full * rank, curr_local_size)
        return min(full, curr_local_size - begin), begin

    def __str__(self) -> str:
        return f"S({self.dim})"


@dataclass(frozen=True)
class _StridedShard(Shard):
    """Cut along ``dim`` within the parts that later mesh dimensions have cut: of ranks in several processes only.

    ``fully_shard`` over one dimension of a mesh makes it of parameters that tensor parallelism has cut along the same
    ``dim``.

    Args:
        split_factor: into how many parts those have cut it.
    """

    split_factor: int = 1

    def __repr__(self) -> str:
        return f"_StridedShard(dim={self.dim}, sf={self.split_factor})"

    def __str__(self) -> str:
        return f"_S({self.dim}, {self.split_factor})"


@dataclass(frozen=True)
class Replicate(Placement):
    """Whole on every device."""

    def __str__(self) -> str:
        return "R"


@dataclass(frozen=True)
class Partial(Placement):
    """Terms on the devices that are still to be reduced: only ``DTensor.from_local`` takes it, and reduces at once."""

    reduce_op: str = "sum"

    def __repr__(self) -> str:
        return f"Partial({self.reduce_op})"

    def __str__(self) -> str:
        return f"P({self.reduce_op})"


@dataclass(frozen=True)
class _NormPartial(Partial):
    """Norms of the ranks' parts, of which the norm of the whole is still to be made: of ranks only.

    Args:
        norm_type: the order of the norm.
    """

    reduce_op: str = "sum"
    norm_type: float = 2.0

    def __repr__(self) -> str:
        return f"_NormPartial({self.norm_type:g})"

    def total(self, x, reduce):
        """The norm of the whole from that of this rank's part; ``reduce(tensor, op)`` goes over the ranks."""
        from ..constants import RedOpType

        p = float(self.norm_type)
        if p in (float("inf"), float("-inf")):
            return reduce(x, RedOpType.MAX if p > 0 else RedOpType.MIN)
        return reduce(x, RedOpType.SUM) if p == 0 else reduce(x**p, RedOpType.SUM) ** (1 / p)


def normalized(placements, mesh: DeviceMesh, ndim: int, what: str) -> tuple[Placement, ...]:
    """One placement per mesh dimension, with dimensions counted from the front; None replicates.

    Raises:
        ValueError: their number is not that of the mesh dimensions.
        TypeError: something is no placement.
        IndexError: a tensor dimension is out of range.
    """
    if placements is None:
        return (Replicate(),) * mesh.ndim
    if isinstance(placements, Placement):
        placements = (placements,)
    placements = tuple(placements)
    if len(placements) != mesh.ndim:
        raise ValueError(
            f"{what}: `placements` must have the same length as `device_mesh.ndim`! Found placements length: "
            f"{len(placements)}, and device_mesh.ndim: {mesh.ndim}."
        )
    if not isinstance(mesh, RankMesh) and any(isinstance(p, _StridedShard) for p in placements):
        raise NotImplementedError(f"{what}: XLA has no interleaved cuts: of {placements}, use Shard(dim)")
    return tuple(_normalized(p, ndim, what) for p in placements)


def _normalized(p, ndim: int, what: str) -> Placement:
    if not isinstance(p, Shard | Replicate | Partial):
        raise TypeError(f"{what}: a placement must be Shard(dim), Replicate() or Partial(), but got {p!r}")
    if not isinstance(p, Shard):
        return p
    if not -ndim <= p.dim < ndim:
        raise IndexError(f"{what}: {p!r} is out of range for a tensor of {ndim} dimensions")
    return replace(p, dim=p.dim % ndim)


def sharding_for(
    mesh: DeviceMesh, placements: tuple[Placement, ...], ndim: int, before: NamedSharding | None = None, free=False
) -> NamedSharding:
    """The JAX sharding of (normalized) placements.

    Args:
        before: the layout there is; what it says about mesh dimensions outside a submesh is kept.
        free: leave tensor dimensions that no placement cuts to XLA, unless the mesh is a whole one.
    """
    entries: list = [() for _ in range(ndim)]
    if not mesh._whole and before is not None and before.mesh == mesh._mesh:
        for dim, entry in enumerate(before.spec):
            names = (entry,) if isinstance(entry, str) else tuple(entry or ())
            entries[dim] = tuple(n for n in names if n not in mesh._axes)
    for axis, p in zip(mesh._axes, placements, strict=True):
        if isinstance(p, Shard):
            entries[p.dim] += (axis,)
    unset = FREE if free and not mesh._whole else None
    spec = [(e[0] if len(e) == 1 else e) if e else unset for e in entries]
    while spec and spec[-1] is None:
        spec.pop()
    return NamedSharding(mesh._mesh, PartitionSpec(*spec))


def placements_of(sharding: NamedSharding, mesh: DeviceMesh) -> tuple[Placement, ...]:
    """The placements of a JAX sharding along the dimensions of a mesh."""
    found: dict[str, Placement] = {}
    for dim, entry in enumerate(sharding.spec):
        for name in (entry,) if isinstance(entry, str) else tuple(entry or ()):
            found[name] = Shard(dim)
    return tuple(found.get(axis, Replicate()) for axis in mesh._axes)
