"""``DeviceMesh`` in a job of several processes: a grid of ranks, each of which has one device."""

from __future__ import annotations

import math
import os

import numpy as np

from .. import devices
from .group import (
    ProcessGroup,
    _get_default_group,
    get_process_group_ranks,
    get_world_size,
    init_process_group,
    is_initialized,
    new_group,
)  # fmt: skip


def several_processes(starting: bool = False) -> bool:
    """Whether meshes are grids of ranks: several processes have joined the job.

    Args:
        starting: join the job that the launcher's environment describes, as making a mesh does in PyTorch.
    """
    if starting and not is_initialized() and int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ:
        init_process_group()
    return is_initialized() and get_world_size() > 1


class RankMesh:
    """What :class:`~.device_mesh.DeviceMesh` is where each rank is a process of its own (made by way of it).

    Every rank makes the same meshes in the same order: each dimension has process groups. The rank's own groups, and
    its coordinates, are those of the lines of the grid that it lies on.
    """

    def _begin(self, device_type: str, numbers: np.ndarray, names: tuple[str, ...] | None, groups=None) -> None:
        world = get_world_size()
        if numbers.size > world:
            raise RuntimeError(
                f"Mesh should not be bigger than default world size {world}, but found {numbers.size} ranks!"
            )
        if len(np.unique(numbers)) != numbers.size or numbers.min() < 0 or numbers.max() >= world:
            raise RuntimeError(
                f"a mesh has each of the ranks 0 to {world - 1} at most once, but got {numbers.tolist()}"
            )
        self.device_type, self.mesh_dim_names = device_type, names
        self._ranks, self._root, self._kept = numbers, None, {}
        self._root_dims: tuple = tuple((d,) for d in range(numbers.ndim))
        rank = _get_default_group()._job.rank
        self._rank = rank
        where = np.argwhere(numbers == rank)
        self._coordinate = None if len(where) == 0 else tuple(int(i) for i in where[0])
        self._groups = [self._line_groups(dim) for dim in range(numbers.ndim)] if groups is None else list(groups)

    def _line_groups(self, dim: int):
        """This rank's group along a dimension; all ranks make all of them."""
        lines = np.moveaxis(self._ranks, dim, -1).reshape(-1, self._ranks.shape[dim])
        if len(lines) == 1 and lines[0].tolist() == list(_get_default_group()._ranks):
            return _get_default_group()
        own = None
        for line in lines.tolist():
            made = new_group(line, sort_ranks=False)
            if self._rank in line:
                own = made
        return own

    def _part(self, ranks: np.ndarray, names, groups, dims):
        """A mesh of some dimensions, of the ranks that share this one's other coordinates."""
        part = object.__new__(type(self))
        part.device_type, part.mesh_dim_names, part._ranks = self.device_type, names, ranks
        part._root, part._kept, part._rank, part._groups = self._get_root_mesh(), {}, self._rank, groups
        part._root_dims = dims
        where = np.argwhere(ranks == self._rank)
        part._coordinate = tuple(int(i) for i in where[0]) if len(where) else None
        return part

    @property
    def device(self) -> devices.device:
        """The device that tensors on this mesh report."""
        return devices.resolve(self.device_type)

    shape = property(lambda self: tuple(self._ranks.shape))
    ndim = property(lambda self: self._ranks.ndim)

    @property
    def mesh(self):
        """The ranks as a tensor."""
        import jtorch

        return jtorch.tensor(self._ranks.tolist(), dtype=jtorch.int32)

    def size(self, mesh_dim: int | str | None = None) -> int:
        """The number of ranks, of the mesh or along one dimension."""
        return math.prod(self.shape) if mesh_dim is None else self.shape[self._index(mesh_dim)]

    def _index(self, dim: int | str) -> int:
        if isinstance(dim, str):
            if dim not in (self.mesh_dim_names or ()):
                raise KeyError(
                    f"Invalid mesh_dim_name {dim!r}: valid mesh_dim_names are {list(self.mesh_dim_names or ())}"
                )
            return self.mesh_dim_names.index(dim)
        if not -self.ndim <= dim < self.ndim:
            raise IndexError(f"Dimension out of range (expected to be in [{-self.ndim}, {self.ndim - 1}], got {dim})")
        return dim % self.ndim

    def __getitem__(self, names: str | tuple[str, ...]):
        """The mesh of the named dimensions through this rank.

        Raises:
            KeyError: there is no dimension of that name.
            RuntimeError: the dimensions have no names.
        """
        if self.mesh_dim_names is None:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        names = (names,) if isinstance(names, str) else tuple(names)
        if names == self.mesh_dim_names:
            return self
        root = self._get_root_mesh()
        key = names
        if key in self._kept:
            return self._kept[key]
        if len(names) == 1 and names[0] not in self.mesh_dim_names and names[0] in root._kept:
            return root._kept[names[0]]  # made by _flatten
        dims = [self._index(name) for name in names]
        if sorted(dims) != dims:
            raise KeyError(f"mesh_dim_names {names} must be in the order of the mesh, {self.mesh_dim_names}")
        at = self._coordinate or [0] * self.ndim
        ranks = self._ranks[tuple(slice(None) if d in dims else at[d] for d in range(self.ndim))]
        part = self._part(ranks, names, [self._groups[d] for d in dims], tuple(self._root_dims[d] for d in dims))
        self._kept[key] = part
        return part

    def _flatten(self, mesh_dim_name: str | None = None, backend_override=None):
        """This mesh with its dimensions made one, which its root then knows by name."""
        root = self._get_root_mesh()
        name = mesh_dim_name or "_".join(self.mesh_dim_names or ("flat",))
        if name in root._kept:
            return root._kept[name]
        if self.ndim == 1 and self.mesh_dim_names == (name,):
            return self
        # every rank makes the groups of all copies of this mesh
        flat_dims = [d for dims in self._root_dims for d in dims]
        others = [d for d in range(root.ndim) if d not in flat_dims]
        lines = np.transpose(root._ranks, (*others, *flat_dims)).reshape(-1, self.size())
        own = None
        for line in lines.tolist():
            made = new_group(line, sort_ranks=False)
            if self._rank in line:
                own = made
        part = self._part(self._ranks.reshape(-1), (name,), [own], (tuple(flat_dims),))
        root._kept[name] = part
        return part

    def _get_root_mesh(self):
        """The mesh that this one is a part of, or itself."""
        return self._root or self

    def get_rank(self) -> int:
        """This process's rank in the job."""
        return self._rank

    def get_coordinate(self) -> tuple[int, ...] | None:
        """Where this rank stands in the grid; None if it does not."""
        return self._coordinate

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This rank's coordinate along a dimension.

        Raises:
            RuntimeError: the mesh has several dimensions and none is named, or the rank is not part of it.
        """
        if self._coordinate is None:
            raise RuntimeError(f"rank {self._rank} is not part of {self!r}")
        return self._coordinate[self._only(mesh_dim)]

    def _only(self, mesh_dim) -> int:
        if mesh_dim is None:
            if self.ndim > 1:
                raise RuntimeError(
                    f"Found the DeviceMesh have {self.ndim} dimensions. Optional kwarg `mesh_dim` needs to be "
                    "specified when device_mesh.ndim > 1."
                )
            return 0
        return self._index(mesh_dim)

    def get_group(self, mesh_dim: int | str | None = None) -> ProcessGroup:
        """The process group of this rank along a dimension.

        Raises:
            RuntimeError: the mesh has several dimensions and none is named.
        """
        return self._groups[self._only(mesh_dim)]

    def get_all_groups(self) -> list[ProcessGroup]:
        """The process groups of this rank along all dimensions."""
        return list(self._groups)

    def __eq__(self, other) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, RankMesh) and self.device_type == other.device_type
            and self.mesh_dim_names == other.mesh_dim_names and np.array_equal(self._ranks, other._ranks)
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.device_type, self.mesh_dim_names, self.shape, self._ranks.tobytes()))

    def __repr__(self) -> str:
        names = self.mesh_dim_names
        inner = f"({', '.join(f'{a}={n}' for a, n in zip(names, self.shape, strict=True))})" if names else self.shape
        first = self._ranks[(0,) * self.ndim]
        steps = [self._ranks[tuple(int(i == d) for i in range(self.ndim))] - first if n > 1 else 1
                 for d, n in enumerate(self.shape)]  # fmt: skip
        return f"DeviceMesh({inner}, '{self.device_type}', stride={tuple(map(int, steps))})"

    def __enter__(self):
        return self

    def __exit__(self, *exc) -> None:
        pass


def from_groups(cls, group, device_type: str, mesh, names) -> RankMesh:
    """A mesh whose dimensions have the process groups given (see ``DeviceMesh.from_group``)."""
    groups = [group] if isinstance(group, ProcessGroup) else list(group)
    if mesh is None:
        if len(groups) != 1:
            raise ValueError("Must pass mesh if passing multiple ProcessGroups")
        mesh = get_process_group_ranks(groups[0])
    ranks = np.asarray(mesh.tolist() if hasattr(mesh, "tolist") else mesh)
    if ranks.ndim != len(groups):
        raise ValueError(f"a mesh of {ranks.ndim} dimensions needs as many process groups, but got {len(groups)}")
    made = object.__new__(cls)
    made._begin(device_type, ranks, None if names is None else tuple(names), groups)
    return made
