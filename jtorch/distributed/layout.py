"""How a tensor lies on a mesh of devices, and the one operation that changes it.

A :class:`~jtorch.trace.value.Value` is a global array; its ``sharding`` says which device holds which part. Everything
in this package says where things should lie and leaves the communication to XLA.
"""

from __future__ import annotations

import functools
import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .. import devices
from ..ops.registry import Array, op
from ..tensor import dispatch
from ..trace.aval import aval_of
from ..trace.jaxapi import x64
from ..trace.value import Value, move, shard
from . import pacing

FREE = PartitionSpec.UNCONSTRAINED  # XLA chooses how this dimension lies


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _constrained(x, sharding, gradient):
    return jax.lax.with_sharding_constraint(x, sharding)


def _forward(x, sharding, gradient):
    return jax.lax.with_sharding_constraint(x, sharding), None


def _backward(sharding, gradient, _, g):
    return (jax.lax.with_sharding_constraint(g, gradient),)


# The transpose of a sharding constraint is the same constraint; the gradient of a gathered parameter should instead
# lie as the parameter does.
_constrained.defvjp(_forward, _backward)


@op(name="_lay_out", namespaces=(), grad_name="RedistributeBackward0")
def _lay_out(input: Array, anchor: Array, *, sharding, gradient):
    """``input`` laid out as ``sharding`` says, its gradient as ``gradient`` says.

    ``anchor`` lies on the mesh: a trace runs on the mesh that its inputs lie on.
    """
    return _constrained(input, sharding, gradient)


@op(name="_tick", namespaces=(), differentiable=False)
def _tick(anchor: Array):
    """A result of no interest in itself: it is there when the program that it is part of has run."""
    return anchor + 1


@functools.cache
def anchor(mesh: Mesh, device: devices.device):
    """A number that lies on every device of the mesh."""
    with x64(True):
        array = jax.device_put(np.zeros((), np.float32), NamedSharding(mesh, PartitionSpec()))
    value = Value(aval_of(array), device, array)
    value.sharding = array.sharding
    pacing.watch_steps(mesh)
    return dispatch.wrap(value)


def tick(mesh: Mesh, device: devices.device) -> Value:
    """A value that exists when the program now being recorded has run."""
    return dispatch.call("_tick", anchor(mesh, device))._value()


def mesh_of(value: Value) -> Mesh | None:
    """The mesh a value lies on, or will lie on once its trace has run; None for one device."""
    if value.array is None and value.trace is not None:
        return value.trace.mesh
    return getattr(value.sharding, "mesh", None)


def sharding_of(value: Value) -> NamedSharding | None:
    """The layout of a value; XLA chooses that of a result, so a pending trace runs first."""
    if mesh_of(value) is None:
        return None
    if value.array is None:
        value.concrete("the layout of a tensor")
    return value.sharding


def lay_out(tensor, sharding: NamedSharding, gradient: NamedSharding | None = None):
    """A tensor with the same elements in another layout (recorded, and differentiable)."""
    return dispatch.call(
        "_lay_out", tensor, anchor(sharding.mesh, tensor.device), sharding=sharding, gradient=gradient or sharding
    )


def place(tensor, sharding: NamedSharding, device: devices.device):
    """As :func:`lay_out`, at once where there is no history to keep: each device receives its own part only."""
    anchor(sharding.mesh, device)
    if tensor.requires_grad and not tensor.is_leaf:
        return lay_out(tensor.to(device), sharding)
    return dispatch.wrap(shard(move(tensor._value(), device), sharding))


def relocate(tensor, sharding: NamedSharding, device: devices.device) -> None:
    """Lay out a leaf (a parameter or buffer) in place: its identity, and what refers to it, stay."""
    anchor(sharding.mesh, device)
    tensor._storage.write(shard(move(tensor._value(), device), sharding))


def keep_on_load(module, layouts: dict[str, NamedSharding], device: devices.device) -> None:
    """Lay out a module's own parameters and buffers again whenever a ``state_dict`` was loaded into it."""

    def again(module, keys):
        for name, sharding in layouts.items():
            t = getattr(module, name)
            if t._value().sharding != sharding:
                relocate(t, sharding, device)

    module.register_load_state_dict_post_hook(again)


def parts(mesh: Mesh, entry) -> int:
    """Into how many parts one entry of a PartitionSpec cuts a dimension."""
    if entry is None or entry is FREE:
        return 1
    return math.prod(mesh.shape[name] for name in ((entry,) if isinstance(entry, str) else entry))


def check_even(shape, sharding: NamedSharding, what: str) -> None:
    """Raises:
    RuntimeError: a dimension cannot be cut into equal parts.
    """
    for dim, entry in enumerate(sharding.spec):
        n = parts(sharding.mesh, entry)
        if shape[dim] % n:
            raise RuntimeError(
                f"{what}: dimension {dim} of shape {list(shape)} has {shape[dim]} elements, which {n} devices cannot "
                f"share evenly; pad it to {-(-shape[dim] // n) * n}, shard another dimension, or use Replicate()"
            )


def split_batch(tensor, mesh: Mesh, axes: tuple[str, ...], dim: int, device: devices.device):
    """An input with dimension ``dim`` spread over mesh axes, so that each device computes on its part of the batch.

    A batch that cannot be cut into equal parts is padded by XLA, which leaves the padding out of every result; one of
    fewer elements than devices is computed whole on each. Tensors that are cut over devices already stay as they are.
    """
    value = tensor._value()
    if mesh.devices.size == 1 or value.array is not None and _is_cut(value, mesh):
        return tensor
    n = parts(mesh, axes)
    if not -tensor.dim() <= dim < tensor.dim() or tensor.shape[dim] < n:
        return lay_out(tensor.to(device), NamedSharding(mesh, PartitionSpec()))
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * (dim % tensor.dim()), axes))
    if value.array is not None and not tensor.requires_grad and tensor.shape[dim] % n == 0:
        return place(tensor, sharding, device)
    return lay_out(tensor.to(device), sharding)


def _is_cut(value: Value, mesh: Mesh) -> bool:
    sharding = value.sharding
    return sharding is not None and (sharding.mesh != mesh or any(parts(mesh, entry) > 1 for entry in sharding.spec))
