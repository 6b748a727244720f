"""``DTensor``: a tensor that lies on a mesh.

In one process a distributed tensor is an ordinary Tensor: its shape is the global one, every operation takes it, and
XLA decides how results lie. So ``DTensor`` is not a second class with operations of its own. ``isinstance(t, DTensor)``
asks whether ``t`` lies on a mesh, and the attributes below answer on tensors that do.
"""

from __future__ import annotations

import jax
import numpy as np

import jtorch

from ... import devices
from ...nn.parameter import Parameter
from ...tensor import Tensor, dispatch
from ...trace.jaxapi import x64
from ...trace.value import Value
from .. import layout
from ..device_mesh import DeviceMesh, all_local, of_jax
from ..rank_mesh import RankMesh
from .placements import Partial, Replicate, Shard, normalized, placements_of, sharding_for


def ranked():
    """Distributed tensors of several processes, which most programs do not need."""
    from . import ranked

    return ranked


class _LiesOnMesh(type):
    def __instancecheck__(cls, instance) -> bool:
        if is_ranked(instance):
            return True
        dense = isinstance(instance, Tensor) and instance._handler is None
        return dense and layout.mesh_of(instance._value()) is not None


def is_ranked(x) -> bool:
    """Whether ``x`` is distributed over the ranks of a job."""
    return isinstance(x, Tensor) and hasattr(type(x), "_placements")


class DTensor(metaclass=_LiesOnMesh):
    """Tensors that lie on a mesh; made by :func:`distribute_tensor`, :meth:`from_local` and operations on others.

    Such tensors also have ``device_mesh``, ``placements``, ``redistribute()``, ``full_tensor()`` and ``to_local()``.
    """

    def __new__(cls, *args, **kwargs):
        raise RuntimeError("DTensor cannot be constructed directly: use distribute_tensor() or DTensor.from_local()")

    @staticmethod
    def from_local(
        local_tensor, device_mesh: DeviceMesh | None = None, placements=None, *, run_check: bool = False, shape=None,
        stride=None,
    ):  # fmt: skip
        """The tensor whose parts the devices hold.

        Args:
            local_tensor: the part, which is the same on every device; or a list of one part for each device of the
                mesh, in its order.
            run_check, shape, stride: (in several processes) whether ranks that are to have the same take it from the
                first; the shape of the whole, where the parts differ in size.
            placements: how the parts make up the whole. Along a ``Shard(dim)`` they are concatenated, along a
                ``Replicate()`` the first is taken, along a ``Partial()`` they are reduced, at once.

        Raises:
            ValueError: the number of parts is not that of the devices, or a reduction is unknown.
            RuntimeError: the parts' shapes differ.
        """
        mesh = device_mesh or all_local("cpu")
        if isinstance(mesh, RankMesh):
            return ranked().from_local(local_tensor, mesh, placements, run_check, shape, stride)
        several = isinstance(local_tensor, list | tuple)
        parts = list(local_tensor) if several else [local_tensor] * mesh.size()
        if len(parts) != mesh.size():
            raise ValueError(f"from_local: {mesh.size()} devices need as many parts, but got {len(parts)}")
        if any(p.shape != parts[0].shape for p in parts):
            raise RuntimeError(f"from_local: parts must have one shape, but got {[list(p.shape) for p in parts]}")
        placements = normalized(placements, mesh, parts[0].dim(), "from_local")
        grid = np.empty(len(parts), object)
        for i, p in enumerate(parts):
            grid[i] = p
        whole = _assembled(grid.reshape(mesh.shape), placements)
        final = tuple(Replicate() if isinstance(p, Partial) else p for p in placements)
        return distribute_tensor(whole, mesh, final)


_REDUCTIONS = {
    "sum": lambda x: x.sum(0), "avg": lambda x: x.mean(0), "max": lambda x: x.amax(0), "min": lambda x: x.amin(0),
    "product": lambda x: x.prod(0),
}  # fmt: skip


def _assembled(grid: np.ndarray, placements):
    if not placements:
        return grid
    first, rest = placements[0], placements[1:]
    inner = [_assembled(part, rest) for part in grid]
    if isinstance(first, Replicate):
        return inner[0]
    if isinstance(first, Shard):
        return jtorch.cat(inner, first.dim)
    if first.reduce_op not in _REDUCTIONS:
        raise ValueError(f"Partial({first.reduce_op!r}): the reduction must be one of {sorted(_REDUCTIONS)}")
    return _REDUCTIONS[first.reduce_op](jtorch.stack(inner))


def distribute_tensor(tensor, device_mesh: DeviceMesh | None = None, placements=None, *, src_data_rank: int | None = 0):
    """``tensor`` laid out over a mesh.

    Args:
        device_mesh: default: all local devices of the tensor's type.
        placements: one for each dimension of the mesh (default: ``Replicate()`` along all).

    A leaf gives a leaf with the same ``requires_grad`` (a Parameter gives a Parameter); on anything else this is
    differentiable.

    Raises:
        RuntimeError: the devices cannot share a dimension evenly, or a placement is ``Partial()``.
        ValueError, TypeError, IndexError: the placements do not fit the mesh or the tensor.
    """
    device_mesh = device_mesh or all_local(tensor.device.type)
    if isinstance(device_mesh, RankMesh):
        return ranked().distribute(tensor, device_mesh, placements, src_data_rank)
    sharding = _wanted(tensor, device_mesh, placements, "distribute_tensor")
    out = layout.place(tensor, sharding, device_mesh.device)
    if tensor.is_leaf:
        if isinstance(tensor, Parameter):
            return Parameter(out, tensor.requires_grad)
        out.requires_grad = tensor.requires_grad
    return out


def _wanted(tensor, mesh: DeviceMesh, placements, what: str):
    placements = normalized(placements, mesh, tensor.dim(), what)
    if any(isinstance(p, Partial) for p in placements):
        raise RuntimeError(
            f"{what}: a tensor cannot be laid out as Partial(): in one process reductions are never left pending; use "
            "Replicate() or Shard(dim)"
        )
    sharding = sharding_for(mesh, placements, tensor.dim(), layout.sharding_of(tensor._value()))
    layout.check_even(tensor.shape, sharding, what)
    return sharding


# --- what tensors that lie on a mesh can be asked -------------------------------------------------------------------


def _require_mesh(t, name: str):
    sharding = layout.sharding_of(t._value())
    if sharding is None:
        raise AttributeError(f"'{type(t).__name__}' object has no attribute '{name}': it does not lie on a mesh")
    return sharding


def _device_mesh(self) -> DeviceMesh:
    """The mesh this tensor lies on."""
    mesh = layout.mesh_of(self._value())
    if mesh is None:
        _require_mesh(self, "device_mesh")
    return of_jax(mesh, self.device)


def _placements(self) -> tuple:
    """How it lies along each dimension of the mesh (of a result, this is XLA's choice: the pending trace runs)."""
    return placements_of(_require_mesh(self, "placements"), _device_mesh(self))


def redistribute(self, device_mesh: DeviceMesh | None = None, placements=None, *, async_op: bool = False):
    """The same tensor in another layout; differentiable. Tensors on one device are distributed.

    Raises:
        RuntimeError: the devices cannot share a dimension evenly, or a placement is ``Partial()``.
        ValueError, TypeError, IndexError: the placements do not fit the mesh or the tensor.
    """
    mesh = device_mesh or _device_mesh(self)
    if isinstance(mesh, RankMesh):
        raise RuntimeError("redistribute: this is no DTensor; make one with distribute_tensor or DTensor.from_local")
    sharding = _wanted(self, mesh, placements, "redistribute")
    if self.requires_grad:
        return layout.lay_out(self, sharding, layout.sharding_of(self._value()))
    return layout.place(self, sharding, mesh.device)


def full_tensor(self):
    """The whole as a plain tensor on one device; with a history, whole on every device of the mesh (differentiable)."""
    sharding = _require_mesh(self, "full_tensor")
    if self.requires_grad and jtorch.is_grad_enabled():
        return layout.lay_out(self, of_jax(sharding.mesh, self.device)._sharding(), sharding)
    value = self._value()
    with x64(True):
        array = jax.device_put(value.concrete("full_tensor()"), devices.jax_device(value.device))
    return dispatch.wrap(Value(value.aval, value.device, array))


def to_local(self):
    """The part that the mesh's first device holds, as a plain tensor without history."""
    _require_mesh(self, "to_local")
    value = self._value()
    array = value.concrete("to_local()")
    with x64(True):
        part = jax.device_put(np.asarray(array.addressable_shards[0].data), devices.jax_device(value.device))
    return dispatch.wrap(Value(layout.aval_of(part), value.device, part))


def _install() -> None:
    Tensor.device_mesh, Tensor.placements = property(_device_mesh), property(_placements)
    for name, method in (("full_tensor", full_tensor), ("to_local", to_local)):
        setattr(Tensor, name, _only_on_mesh(name, method))
    Tensor.redistribute = redistribute


def _only_on_mesh(name: str, method):
    def get(self):
        if layout.mesh_of(self._value()) is None:
            _require_mesh(self, name)
        return method.__get__(self)

    return property(get, doc=method.__doc__)


_install()


# --- factories -----------------------------------------------------------------------------------------------------


def _factory(name: str):
    make = getattr(jtorch, name)

    def build(*args, device_mesh: DeviceMesh | None = None, placements=None, requires_grad=False, dtype=None, **kwargs):
        device_mesh = device_mesh or all_local("cpu")
        if isinstance(device_mesh, RankMesh):
            kwargs["device"] = device_mesh.device
            t = ranked().distribute(make(*args, dtype=dtype, **kwargs), device_mesh, placements, None)
            return t.requires_grad_(requires_grad)
        t = distribute_tensor(make(*args, dtype=dtype, **kwargs), device_mesh, placements)
        return t.requires_grad_(requires_grad)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"``jtorch.{name}`` (the same elements), laid out over ``device_mesh`` as ``placements`` say."
    return build


zeros, ones, empty, full = _factory("zeros"), _factory("ones"), _factory("empty"), _factory("full")
rand, randn = _factory("rand"), _factory("randn")
