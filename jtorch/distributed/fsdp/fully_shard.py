"""``fully_shard``: each device keeps a part of every parameter, and gathers the whole where it is used.

The parameter itself lies in parts, so its gradient and optimizer state do. While the module runs, its attributes are
gathered copies: one recorded operation each, whose gradient is laid out in parts again. Without that operation XLA
would be free to cut the activations instead.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import jax

import jtorch

from ... import dtypes
from ...tensor import Tensor
from .. import layout
from ..device_mesh import DeviceMesh, all_local
from ..tensor.placements import Shard


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """Which dtypes ``fully_shard`` computes and reduces in. Only the default, which changes nothing, is supported."""

    param_dtype: dtypes.dtype | None = None
    reduce_dtype: dtypes.dtype | None = None
    output_dtype: dtypes.dtype | None = None
    cast_forward_inputs: bool = True


@dataclass
class OffloadPolicy:
    """No offloading."""


@dataclass
class CPUOffloadPolicy(OffloadPolicy):
    """Keeping parameters in host memory: not supported."""

    pin_memory: bool = True


class FSDPModule:
    """A module that :func:`fully_shard` was applied to."""


class _Depth(threading.local):
    """How many fully sharded modules are running: the outermost one spreads the batch."""

    running = 0


_depth = _Depth()


def fully_shard(
    module, *, mesh: DeviceMesh | None = None, reshard_after_forward: bool | int | None = None,
    shard_placement_fn=None, mp_policy: MixedPrecisionPolicy | None = None,
    offload_policy: OffloadPolicy | None = None, ignored_params: set | None = None,
):  # fmt: skip
    """Keep a module's parameters in parts, one on each device; returns the module.

    A parameter is cut along dimension 0, or where the devices cannot share that evenly along its largest dimension
    that they can; one without such a dimension is replicated. Apply it to submodules first and to the whole model
    last: each call takes the parameters that no earlier one has taken. The outermost module also spreads its inputs'
    first dimension over the devices; a batch that they cannot share evenly is padded by XLA, which leaves the padding
    out of every result.

    Make the optimizer afterwards or before: parameters keep their identity, and state is laid out like them.

    Args:
        mesh: one dimension (default: all local devices), or ``(replicate, shard)`` for copies of sharded groups. A
            submesh, ``mesh["dp"]``, keeps what tensor parallelism has cut along the others.
        reshard_after_forward: True or None. Whether a gathered copy lives until backward is XLA's decision.
        shard_placement_fn: ``fn(parameter)`` gives the ``Shard(dim)`` to use, or None for the rule above.
        ignored_params: parameters to leave alone.

    Raises:
        NotImplementedError: mixed precision, offloading, or ``reshard_after_forward`` other than True or None.
        ValueError: the mesh has more than two dimensions, or the module is fully sharded already.
        RuntimeError: the dimension ``shard_placement_fn`` asks for cannot be shared evenly.
    """
    if mp_policy is not None and mp_policy != MixedPrecisionPolicy():
        raise NotImplementedError(
            "fully_shard: mixed precision policies are not supported; use torch.autocast, or convert the module with "
            ".to(dtype)"
        )
    if isinstance(offload_policy, CPUOffloadPolicy):
        raise NotImplementedError("fully_shard: CPU offloading is not supported; leave offload_policy out")
    if reshard_after_forward not in (None, True) or type(reshard_after_forward) is int:
        raise NotImplementedError(
            f"fully_shard: reshard_after_forward={reshard_after_forward} is not supported: XLA decides how long a "
            "gathered parameter lives; leave it out"
        )
    if isinstance(module, FSDPModule):
        raise ValueError("fully_shard has been applied to this module already")
    mesh = mesh or all_local(next((p.device.type for p in module.parameters()), "cpu"))
    if mesh.ndim > 2:
        raise ValueError(f"fully_shard expects a 1D or 2D DeviceMesh but got {mesh!r}")
    group = _Group(module, mesh, shard_placement_fn, ignored_params or set())
    module.register_forward_pre_hook(group.enter, prepend=True, with_kwargs=True)
    module.register_forward_hook(group.leave, always_call=True)
    module.register_load_state_dict_post_hook(group.cut_again)
    cls = type(module)
    module.__class__ = type(f"FSDP{cls.__name__}", (FSDPModule, cls), {})
    module.__dict__["_fsdp_group"] = group
    return module


class _Group:
    """The parameters one call of :func:`fully_shard` has taken, and where they are used."""

    def __init__(self, module, mesh: DeviceMesh, placement_fn, ignored: set):
        self.mesh = mesh
        self.uses: list = []  # (the dict that holds the parameter, its key, the parameter, whole, parts)
        self.running = 0
        self.replaced: list = []  # (dict, key, parameter) while the module runs
        layouts: dict[int, tuple] = {}
        for owner in _own_modules(module):
            for name, p in owner._parameters.items():
                if p is None or any(p is q for q in ignored):
                    continue
                if id(p) not in layouts:
                    layouts[id(p)] = self._cut(p, placement_fn)
                self.uses.append((owner._parameters, name, p, *layouts[id(p)]))

    def _cut(self, p, placement_fn):
        """Lay out a parameter in parts; returns the layout of the whole and of the parts."""
        before = layout.sharding_of(p._value())
        spec = list(before.spec if before is not None and before.mesh == self.mesh._mesh else ())
        spec += [None] * (p.dim() - len(spec))
        whole = self.mesh._sharding(*spec)
        axis, n = self.mesh._axes[-1], self.mesh.shape[-1]
        if any(axis in ((e,) if isinstance(e, str) else e or ()) for e in spec):
            return self._gathered(spec, axis), whole  # another group has cut it
        wanted = placement_fn(p) if placement_fn is not None else None
        sizes = {d: p.shape[d] // layout.parts(self.mesh._mesh, spec[d]) for d in range(p.dim())}
        if wanted is not None:
            dim = wanted.dim % p.dim() if isinstance(wanted, Shard) else None
            if dim is None or sizes[dim] % n:
                raise RuntimeError(
                    f"fully_shard: {wanted!r} of a parameter of shape {list(p.shape)} cannot be shared evenly by {n} "
                    "devices"
                )
        else:
            even = [d for d in sizes if sizes[d] % n == 0 and sizes[d] > 0]
            dim = None if not even else 0 if 0 in even else max(even, key=sizes.get)
        if dim is not None:
            entry = spec[dim]
            spec[dim] = axis if entry is None else (*((entry,) if isinstance(entry, str) else entry), axis)
        parts = self.mesh._sharding(*spec)
        with jtorch.no_grad():
            layout.relocate(p, parts, self.mesh.device)
        return whole, parts

    def _gathered(self, spec, axis):
        names = [tuple(a for a in ((e,) if isinstance(e, str) else e or ()) if a != axis) for e in spec]
        return self.mesh._sharding(*(n if len(n) > 1 else n[0] if n else None for n in names))

    def cut_again(self, module, keys) -> None:
        """A ``state_dict`` was loaded: cut what it brought."""
        for i, (table, name, _, whole, parts) in enumerate(self.uses):
            p = table[name]
            if p._value().sharding != parts:
                layout.relocate(p, parts, self.mesh.device)
            self.uses[i] = (table, name, p, whole, parts)

    def enter(self, module, args, kwargs):
        """Put gathered copies in the parameters' places, and spread the batch if this is the outermost module."""
        outermost = _depth.running == 0
        _depth.running += 1
        self.running += 1
        if self.running == 1:
            gathered: dict[int, Tensor] = {}
            for table, name, p, whole, parts in self.uses:
                if whole == parts or table[name] is not p:  # replaced for this call by functional_call
                    continue
                if id(p) not in gathered:
                    gathered[id(p)] = layout.lay_out(p, whole, parts)
                table[name] = gathered[id(p)]
                self.replaced.append((table, name, p))
        if outermost:
            args, kwargs = self._spread((args, kwargs))
        return args, kwargs

    def _spread(self, tree):
        def spread(x):
            if not isinstance(x, Tensor):
                return x
            return layout.split_batch(x, self.mesh._mesh, self.mesh._axes, 0, self.mesh.device)

        return jax.tree.map(spread, tree, is_leaf=lambda x: isinstance(x, Tensor))

    def leave(self, module, args, output) -> None:
        """Put the parameters back."""
        _depth.running -= 1
        self.running -= 1
        if self.running == 0:
            for table, name, p in self.replaced:
                table[name] = p
            self.replaced.clear()


def _own_modules(module):
    """The module and those below it, but for the insides of others that are fully sharded already."""
    yield module
    for child in module.children():
        if not isinstance(child, FSDPModule):
            yield from _own_modules(child)
