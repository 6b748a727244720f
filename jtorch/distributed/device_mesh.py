"""``DeviceMesh``: devices in a grid whose dimensions have names."""

from __future__ import annotations

import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .. import devices
from . import pacing
from .group import get_world_size
from .rank_mesh import RankMesh, from_groups, several_processes

_PLATFORMS = {"cpu": "cpu", "cuda": "cuda", "tpu": "tpu"}
_known: dict[Mesh, DeviceMesh] = {}


def local_devices(device_type: str) -> list:
    """This process's JAX devices of a type (``"xla"``: of JAX's default backend).

    Raises:
        RuntimeError: no such type, or there are none.
    """
    pacing.prepare()
    if device_type == "xla":
        return jax.local_devices()
    if device_type not in _PLATFORMS:
        raise RuntimeError(f"device_type must be one of cpu, cuda, tpu, xla, but got {device_type!r}")
    try:
        return jax.local_devices(backend=_PLATFORMS[device_type])
    except RuntimeError:
        raise RuntimeError(f"no {device_type} device is available to JAX on this machine") from None


class DeviceMesh:
    """A grid of this process's devices; in a job of several processes, of ranks (:class:`~.rank_mesh.RankMesh`).

    Args:
        device_type: ``"cpu"``, ``"cuda"``, ``"tpu"`` or ``"xla"``.
        mesh: device numbers, or ranks, as a (nested) list, array or tensor.
        mesh_dim_names: a name for each dimension of the grid.

    ``mesh["tp"]`` is the mesh of some dimensions: a tensor laid out over it is the same along the others.

    Raises:
        RuntimeError: a device does not exist or occurs twice, or the names do not fit.
    """

    def __new__(cls, *args, **kwargs):
        return object.__new__(_DeviceMeshOfRanks if several_processes(True) else cls)

    def __init__(self, device_type: str, mesh, *, mesh_dim_names: tuple[str, ...] | None = None):
        numbers = np.asarray(mesh.tolist() if hasattr(mesh, "tolist") else mesh)
        if numbers.dtype.kind not in "iu":
            raise RuntimeError(f"DeviceMesh: mesh must hold device numbers, but its dtype is {numbers.dtype}")
        numbers = numbers.reshape(-1) if numbers.ndim == 0 else numbers
        available = local_devices(device_type)
        if numbers.size > len(available):
            raise RuntimeError(
                f"Mesh should not be bigger than the number of {device_type} devices, {len(available)}, but found "
                f"{numbers.size} in a mesh of shape {tuple(numbers.shape)}"
            )
        if numbers.size == 0 or len(np.unique(numbers)) != numbers.size:
            raise RuntimeError(f"DeviceMesh cannot be empty or have a device twice, but found {numbers.tolist()}")
        if numbers.min() < 0 or numbers.max() >= len(available):
            raise RuntimeError(f"device numbers must lie in [0, {len(available)}), but found {numbers.tolist()}")
        names = _checked_names(mesh_dim_names, numbers.shape, "mesh")
        grid = np.empty(numbers.shape, object)
        for where, number in np.ndenumerate(numbers):
            grid[where] = available[number]
        self.device_type = device_type
        self._named = mesh_dim_names is not None
        self._numbers = numbers
        self._mesh = Mesh(grid, names)
        self._axes: tuple[str, ...] = names
        _known.setdefault(self._mesh, self)

    @property
    def device(self) -> devices.device:
        """The device that tensors on this mesh report."""
        return devices.resolve(self.device_type)

    # --- PyTorch's interface

    @property
    def mesh_dim_names(self) -> tuple[str, ...] | None:
        return self._axes if self._named else None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._mesh.shape[a] for a in self._axes)

    @property
    def ndim(self) -> int:
        return len(self._axes)

    @property
    def mesh(self):
        """The device numbers as a tensor (of a submesh: those of its first copy)."""
        import jtorch

        where = tuple(slice(None) if a in self._axes else 0 for a in self._mesh.axis_names)
        return jtorch.tensor(self._numbers[where].tolist(), dtype=jtorch.int32)

    def size(self, mesh_dim: int | str | None = None) -> int:
        """The number of devices, of the mesh or along one dimension."""
        if mesh_dim is None:
            return math.prod(self.shape)
        return self._mesh.shape[self._axis(mesh_dim)]

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        """The mesh of the named dimensions.

        Raises:
            KeyError: there is no dimension of that name.
            RuntimeError: the dimensions have no names.
        """
        if not self._named:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        names = (names,) if isinstance(names, str) else tuple(names)
        for name in names:
            if name not in self._axes:
                raise KeyError(f"Invalid mesh_dim_name {name!r}: valid mesh_dim_names are {list(self._axes)}")
        if sorted(names, key=self._axes.index) != list(names):
            raise KeyError(f"mesh_dim_names {names} must be in the order of the mesh, {self._axes}")
        if names == self._axes:
            return self
        part = object.__new__(DeviceMesh)
        part.__dict__.update(self.__dict__)
        part._axes = names
        return part

    @classmethod
    def from_group(cls, group, device_type: str, mesh=None, *, mesh_dim_names: tuple[str, ...] | None = None):
        """A mesh of ranks whose dimensions have process groups already.

        Args:
            group: a process group, or one for each dimension.
            mesh: the ranks; for one group they are its own.

        Raises:
            RuntimeError: there is one process only, which has no groups along dimensions.
            ValueError: the number of groups is not that of dimensions.
        """
        if not several_processes():
            raise RuntimeError("DeviceMesh.from_group: one process has no process groups to make a mesh of")
        return from_groups(_DeviceMeshOfRanks, group, device_type, mesh, mesh_dim_names)

    def get_rank(self) -> int:
        """0: one process drives every device of the mesh."""
        return 0

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """0: one process drives every device of the mesh."""
        if mesh_dim is not None:
            self._axis(mesh_dim)
        elif self.ndim > 1:
            raise RuntimeError(f"mesh_dim is needed: the mesh has {self.ndim} dimensions")
        return 0

    def get_coordinate(self) -> list[int]:
        """Zeros: one process drives every device of the mesh."""
        return [0] * self.ndim

    def get_group(self, mesh_dim: int | str | None = None):
        """Process groups belong to programs of one process per device.

        Raises:
            RuntimeError: always; the mesh is driven by one process.
        """
        raise RuntimeError(
            "DeviceMesh.get_group: one process drives all devices of this mesh, so there are no process groups. Lay "
            "tensors out with distribute_tensor or redistribute, or run one process per device with init_process_group"
        )

    get_all_groups = get_group

    # --- what layouts are made from

    def _axis(self, dim: int | str) -> str:
        if isinstance(dim, str):
            if dim not in self._axes:
                raise KeyError(f"Invalid mesh_dim_name {dim!r}: valid mesh_dim_names are {list(self._axes)}")
            return dim
        if not -self.ndim <= dim < self.ndim:
            raise IndexError(f"Dimension out of range (expected to be in [{-self.ndim}, {self.ndim - 1}], got {dim})")
        return self._axes[dim]

    @property
    def _whole(self) -> bool:
        """Whether this is no submesh."""
        return self._axes == self._mesh.axis_names

    def _sharding(self, *entries) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec(*entries))

    def __eq__(self, other) -> bool:
        return isinstance(other, DeviceMesh) and self._mesh == other._mesh and self._axes == other._axes

    def __hash__(self) -> int:
        return hash((self._mesh, self._axes))

    def __repr__(self) -> str:
        if self._named:
            return f"DeviceMesh(({', '.join(f'{a}={n}' for a, n in zip(self._axes, self.shape, strict=True))}), " \
                f"'{self.device_type}')"  # fmt: skip
        return f"DeviceMesh({self.shape}, '{self.device_type}')"

    def __deepcopy__(self, memo) -> DeviceMesh:
        return self


class _DeviceMeshOfRanks(RankMesh, DeviceMesh):
    def __init__(self, device_type: str, mesh, *, mesh_dim_names: tuple[str, ...] | None = None):
        local_devices(device_type)  # there is one
        numbers = np.asarray(mesh.tolist() if hasattr(mesh, "tolist") else mesh)
        if numbers.dtype.kind not in "iu":
            raise RuntimeError(f"DeviceMesh: mesh must hold ranks, but its dtype is {numbers.dtype}")
        numbers = numbers.reshape(-1) if numbers.ndim == 0 else numbers
        names = None if mesh_dim_names is None else _checked_names(mesh_dim_names, numbers.shape, "mesh")
        self._begin(device_type, numbers, names)

    mesh_dim_names = None  # an attribute here


_DeviceMeshOfRanks.__name__ = _DeviceMeshOfRanks.__qualname__ = "DeviceMesh"


def _checked_names(names, shape, what: str) -> tuple[str, ...]:
    if names is None:
        return tuple(f"dim_{i}" for i in range(len(shape)))
    names = tuple(names)
    if len(set(names)) != len(names):
        raise RuntimeError(f"Each mesh_dim_name must be unique. Found repeated mesh_dim_name in {names}")
    if len(names) != len(shape):
        raise RuntimeError(
            f"{what} and mesh_dim_names should have same length! Found len({what}): {len(shape)} and "
            f"len(mesh_dim_names): {len(names)}"
        )
    return names


def init_device_mesh(
    device_type: str,
    mesh_shape: tuple[int, ...],
    *,
    mesh_dim_names: tuple[str, ...] | None = None,
    backend_override=None,
) -> DeviceMesh:
    """A mesh of this process's first devices, or of the job's first ranks.

    Under a launcher this joins the job, if :func:`init_process_group` has not.

    Args:
        device_type: ``"cpu"``, ``"cuda"``, ``"tpu"`` or ``"xla"``, without an index.
        mesh_shape: how many devices there are along each dimension.
        mesh_dim_names: names for the dimensions.
        backend_override: accepted; XLA chooses who carries the messages of each dimension.

    Raises:
        RuntimeError: the machine has fewer devices, or the names do not fit.
    """
    shape = (mesh_shape,) if isinstance(mesh_shape, int) else tuple(mesh_shape)
    _checked_names(mesh_dim_names, shape, "mesh_shape")
    if ":" in device_type:
        raise RuntimeError(f"Device type with index is not supported but got {device_type}.")
    if any(n < 1 for n in shape):
        raise RuntimeError(f"mesh_shape must be positive, but got {shape}")
    count = math.prod(shape)
    if several_processes(True):
        if count > get_world_size():
            raise RuntimeError(
                f"Mesh should not be bigger than default world size {get_world_size()}, but found {count} ranks!"
            )
        return DeviceMesh(device_type, np.arange(count).reshape(shape), mesh_dim_names=mesh_dim_names)
    available = len(local_devices(device_type))
    if count > available:
        raise RuntimeError(
            f"Mesh should not be bigger than the number of {device_type} devices, {available}, but found {count} in "
            f"mesh_shape {shape}. On the CPU set XLA_FLAGS=--xla_force_host_platform_device_count={count} before the "
            "first use of JAX"
        )
    return DeviceMesh(device_type, np.arange(count).reshape(shape), mesh_dim_names=mesh_dim_names)


def all_local(device_type: str) -> DeviceMesh:
    """The one-dimensional mesh of all this process's devices of a type; in a job of several processes, of all ranks."""
    if several_processes():
        return DeviceMesh(device_type, np.arange(get_world_size()))
    return DeviceMesh(device_type, np.arange(len(local_devices(device_type))))


def local_mesh(device_type: str, numbers, names: tuple[str, ...] | None = None) -> DeviceMesh:
    """A mesh of this process's devices, in a job of several processes too."""
    made = object.__new__(DeviceMesh)
    made.__init__(device_type, numbers, mesh_dim_names=names)
    return made


def of_jax(mesh: Mesh, device: devices.device) -> DeviceMesh:
    """The DeviceMesh of a JAX mesh."""
    found = _known.get(mesh)
    if found is None:
        numbers = np.vectorize(local_devices(device.type).index)(mesh.devices)
        found = local_mesh(device.type, numbers, mesh.axis_names)
    return found
