"""``fully_shard``: each device keeps a part of every parameter, and gathers the whole where it is used.

The parameter itself lies in parts, so its gradient and optimizer state do. While the module runs, its attributes are
gathered copies: one recorded operation each, whose gradient is laid out in parts again. Without that operation XLA
would be free to cut the activations instead.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

import jtorch

from ... import dtypes
from ...tensor import Tensor
from ...utils._pytree import tree_map
from .. import layout
from ..device_mesh import DeviceMesh, all_local
from ..rank_mesh import RankMesh, several_processes
from ..tensor.placements import Shard


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """Which dtypes a fully sharded module computes in; its parameters, gradients and state keep theirs.

    Args:
        param_dtype: of the gathered copies that the module computes with, and of its floating inputs.
        reduce_dtype: accepted. Gradients are reduced by the program that computes them, in the dtype that XLA chooses
            for their terms.
        output_dtype: of the module's floating outputs.
        cast_forward_inputs: whether ``param_dtype`` concerns inputs.
    """

    param_dtype: dtypes.dtype | None = None
    reduce_dtype: dtypes.dtype | None = None
    output_dtype: dtypes.dtype | None = None
    cast_forward_inputs: bool = True


@dataclass(frozen=True)
class DataParallelMeshDims:
    """Which dimensions of a mesh are data parallel.

    Args:
        shard: the dimension parameters are cut along.
        replicate: the dimension along which there are copies.

    Raises:
        ValueError: neither is given.
    """

    shard: str | tuple[str, ...] | None = None
    replicate: str | tuple[str, ...] | None = None

    def __post_init__(self):
        if self.shard is None and self.replicate is None:
            raise ValueError("At least one of shard or replicate must be set in DataParallelMeshDims")


@dataclass
class OffloadPolicy:
    """No offloading."""


@dataclass
class CPUOffloadPolicy(OffloadPolicy):
    """Keeping parameters in host memory: not supported."""

    pin_memory: bool = True


class FSDPModule:
    """A module that :func:`fully_shard` was applied to.

    In one process XLA schedules communication, and gradients of all devices are one tensor, so there is nothing for the
    methods below to decide: they are accepted and change nothing. In a job of several processes they do what they say.
    """

    def _apply(self, fn, recurse: bool = True):
        super()._apply(fn, recurse)
        if isinstance(self._fsdp_group, _Group):
            self._fsdp_group.cut_again(self, None)
        return self

    def _groups(self, recurse: bool) -> list:
        """The groups of this module, and of those in it, over ranks."""
        found = [m._fsdp_group for m in (self.modules() if recurse else (self,)) if isinstance(m, FSDPModule)]
        return [g for g in found if not isinstance(g, _Group)]

    def set_requires_gradient_sync(self, requires_gradient_sync: bool, *, recurse: bool = True) -> None:
        """Whether backward sums gradients over the ranks; those kept meanwhile join the next sum. In one process a
        gradient is that of the whole batch after each backward, and accumulates as on one device.
        """
        for group in self._groups(recurse):
            group.sync = requires_gradient_sync

    def set_requires_all_reduce(self, requires_all_reduce: bool, *, recurse: bool = True) -> None:
        """With copies of parts: whether backward sums gradients over the copies. Without, they are kept whole."""
        for group in self._groups(recurse):
            if group.mesh.ndim > 1:
                group.sync = requires_all_reduce

    def set_is_last_backward(self, is_last_backward: bool) -> None:
        """Accepted: no backward leaves anything pending."""

    def set_reshard_after_forward(self, reshard_after_forward: bool, recurse: bool = True) -> None:
        """Accepted; a gathered parameter lives until backward has ended. (In one process XLA decides how long.)"""

    def set_reshard_after_backward(self, reshard_after_backward: bool, *, recurse: bool = True) -> None:
        """Accepted: parameters lie in parts after backward, and are gathered again by the next forward."""

    def set_modules_to_forward_prefetch(self, modules: list) -> None:
        """Accepted: communication is started as soon as it can be."""

    def set_modules_to_backward_prefetch(self, modules: list) -> None:
        """Accepted: backward gathers nothing."""

    def set_unshard_in_backward(self, unshard_in_backward: bool) -> None:
        """Accepted: backward gathers nothing."""

    def set_reduce_scatter_divide_factor(self, factor: float) -> None:
        """:meth:`set_gradient_divide_factor`."""
        self.set_gradient_divide_factor(factor)

    def set_gradient_divide_factor(self, factor: float) -> None:
        """What the sum of the ranks' gradients is divided by (default: the number of ranks).

        Raises:
            NotImplementedError: in one process gradients are those of the loss over the whole batch, and nothing
                divides them.
        """
        groups = self._groups(True)
        if not groups:
            raise NotImplementedError(
                "set_gradient_divide_factor: gradients are those of the loss over the whole batch, which nothing "
                "divides; multiply the loss instead"
            )
        for group in groups:
            group.factor = factor

    def reshard(self) -> None:
        """Let parameters lie in parts again, after :meth:`unshard`."""
        for group in self._groups(False):
            group.reshard()

    def unshard(self, async_op: bool = False) -> UnshardHandle | None:
        """Gather the module's own parameters until :meth:`reshard`. In one process they can be read as they are."""
        for group in self._groups(False):
            group.unshard()
            group.show(True)
            group.held = True
        return UnshardHandle() if async_op else None


class UnshardHandle:
    """What ``unshard(async_op=True)`` returns."""

    def wait(self) -> None:
        """Nothing to wait for."""


def register_fsdp_forward_method(module, method_name: str) -> None:
    """Let a method of a fully sharded module run as ``forward`` does: with gathered parameters.

    Raises:
        AttributeError: there is no such method.
    """
    method = getattr(module, method_name)
    group = module.__dict__.get("_fsdp_group")
    if group is None:
        return

    @functools.wraps(method)
    def run(*args, **kwargs):
        args, kwargs = group.enter(module, args, kwargs)
        output = None
        try:
            output = method(*args, **kwargs)
        finally:
            output = group.leave(module, args, output)
        return output

    setattr(module, method_name, run)


class _Depth(threading.local):
    """How many fully sharded modules are running: the outermost one spreads the batch."""

    running = 0


_depth = _Depth()


def fully_shard(
    module, *, mesh: DeviceMesh | None = None, reshard_after_forward: bool | int | None = None,
    shard_placement_fn=None, mp_policy: MixedPrecisionPolicy | None = None,
    offload_policy: OffloadPolicy | None = None, ignored_params: set | None = None,
    dp_mesh_dims: DataParallelMeshDims | None = None,
):  # fmt: skip
    """Keep a module's (or each module's of a list) parameters in parts, one on each device; returns the module.

    In a job of several processes (``ranked.py``) each rank runs the module on its own batch, the parameters become
    ``DTensor`` s cut along dimension 0 (or as ``shard_placement_fn`` says), unevenly if need be, gradients are the mean
    over the ranks, and the optimizer is made afterwards. The rest of this text is about one process.

    A parameter is cut along dimension 0, or where the devices cannot share that evenly along its largest dimension
    that they can; one without such a dimension is replicated. Apply it to submodules first and to the whole model
    last: each call takes the parameters that no earlier one has taken. The outermost module also spreads its inputs'
    first dimension over the devices; a batch that they cannot share evenly is padded by XLA, which leaves the padding
    out of every result.

    Make the optimizer afterwards or before: parameters keep their identity, and state is laid out like them.

    Args:
        mesh: one dimension (default: all local devices), or ``(replicate, shard)`` for copies of sharded groups. A
            submesh, ``mesh["dp"]``, keeps what tensor parallelism has cut along the others.
        reshard_after_forward: accepted. Whether a gathered copy lives until backward is XLA's decision.
        shard_placement_fn: ``fn(parameter)`` gives the ``Shard(dim)`` to use, or None for the rule above.
        mp_policy: which dtypes the module computes in.
        ignored_params: parameters to leave alone.
        dp_mesh_dims: which dimensions of ``mesh`` to use, instead of a submesh.

    Raises:
        NotImplementedError: offloading; several dimensions taken for one.
        ValueError: the mesh has more than two dimensions, or the module is fully sharded already.
        RuntimeError: the dimension ``shard_placement_fn`` asks for cannot be shared evenly; or several processes have
            joined a job.
    """
    if isinstance(module, list | tuple):
        for m in module:
            fully_shard(
                m, mesh=mesh, reshard_after_forward=reshard_after_forward, shard_placement_fn=shard_placement_fn,
                mp_policy=mp_policy, offload_policy=offload_policy, ignored_params=ignored_params,
                dp_mesh_dims=dp_mesh_dims,
            )  # fmt: skip
        return module
    if isinstance(offload_policy, CPUOffloadPolicy) and not (several_processes() and _device_type(module) == "cpu"):
        raise NotImplementedError("fully_shard: CPU offloading is not supported; leave offload_policy out")
    if isinstance(module, FSDPModule):
        raise ValueError("fully_shard has been applied to this module already")
    mesh = mesh or all_local(_device_type(module))
    mesh = mesh if dp_mesh_dims is None else _submesh(mesh, dp_mesh_dims)
    if mesh.ndim > 2:
        raise ValueError(f"fully_shard expects a 1D or 2D DeviceMesh but got {mesh!r}")
    if isinstance(mesh, RankMesh):
        scalar = next((name for name, p in module.named_parameters() if p.dim() == 0), None)
        if scalar is not None:
            raise ValueError(
                f"fully_shard doesn't support scalar parameters. Change {scalar} to a 1D tensor with numel equal to 1."
            )
        group = _of_ranks(module, mesh, shard_placement_fn, ignored_params or set(), mp_policy)
        if reshard_after_forward is not None:
            group.reshard_after_forward = bool(reshard_after_forward)
    else:
        group = _Group(module, mesh, shard_placement_fn, ignored_params or set(), mp_policy)
    attach(module, group)
    cls = type(module)
    module.__class__ = type(f"FSDP{cls.__name__}", (FSDPModule, cls), {})
    return module


def _submesh(mesh: DeviceMesh, dims: DataParallelMeshDims) -> DeviceMesh:
    names = [(name,) if isinstance(name, str) else name for name in (dims.replicate, dims.shard) if name is not None]
    if any(len(name) != 1 for name in names) or dims.shard is None:
        raise NotImplementedError(
            f"fully_shard: {dims} is not supported: name one dimension to shard along, and perhaps one with copies; "
            "make the mesh with those dimensions"
        )
    return mesh[tuple(name for (name,) in names)]


def _device_type(module) -> str:
    kinds = [p.device.type for p in module.parameters()]
    kind = kinds[0] if kinds else "cpu"
    return jtorch.get_default_device().type if kind == "meta" else kind


def _of_ranks(module, mesh: RankMesh, placement_fn, ignored, precision, keep=lambda module: False, cut: bool = True):
    """The group of a module's parameters in a job of several processes."""
    from .ranked import RankGroup

    def placement(p):
        if p.dim() == 0:
            return None
        wanted = placement_fn(p) if placement_fn is not None else None
        if wanted is None:
            return Shard(0) if cut else None
        if not isinstance(wanted, Shard) or wanted.dim % p.dim() and p.shape[wanted.dim] % mesh.shape[-1]:
            raise NotImplementedError(
                f"fully_shard: {wanted!r} of a parameter of shape {list(p.shape)}: only dimension 0 may be shared "
                f"unevenly by {mesh.shape[-1]} ranks"
            )
        return wanted

    found = [
        (owner, name, p) for owner in _own_modules(module) for name, p in owner._parameters.items()
        if p is not None and not any(p is q for q in ignored)
    ]  # fmt: skip
    return RankGroup(found, mesh, precision or MixedPrecisionPolicy(), placement, keep)


def attach(module, group: _Group) -> None:
    """Let a group gather its parameters whenever ``module`` runs."""
    module.register_forward_pre_hook(group.enter, prepend=True, with_kwargs=True)
    module.register_forward_hook(group.leave, always_call=True)
    if isinstance(group, _Group):
        module.register_load_state_dict_post_hook(group.cut_again)
    module.__dict__["_fsdp_group"] = group


class _Group:
    """The parameters one call of :func:`fully_shard` has taken, and where they are used.

    Args:
        keep: ``keep(module)`` says whether a module's parameters are to be used as they are, whatever the policy.
    """

    def __init__(
        self, module, mesh: DeviceMesh, placement_fn=None, ignored: set = frozenset(),
        precision: MixedPrecisionPolicy | None = None, keep=lambda module: False,
    ):  # fmt: skip
        self.mesh, self.precision = mesh, precision or MixedPrecisionPolicy()
        self.kept: set[int] = set()  # ids of parameters that are not converted
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
                if keep(owner):
                    self.kept.add(id(p))
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
        """Parameters have new content, from a ``state_dict`` perhaps: cut it.

        Raises:
            RuntimeError: it is on another type of device.
        """
        for i, (table, name, _, whole, parts) in enumerate(self.uses):
            p = table[name]
            if p.is_meta:
                continue
            if p.device.type != self.mesh.device.type:
                raise RuntimeError(
                    f"the parameter {name!r} of a fully sharded module went to {p.device}, but is cut over "
                    f"{self.mesh.device_type} devices; move the module there before it is cut"
                )
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
                if table[name] is not p:  # replaced for this call by functional_call
                    continue
                if id(p) not in gathered:
                    gathered[id(p)] = self._gather(p, whole, parts)
                if gathered[id(p)] is not p:
                    table[name] = gathered[id(p)]
                    self.replaced.append((table, name, p))
        if outermost:
            args, kwargs = self._spread((args, kwargs))
        if self.precision.cast_forward_inputs:
            args, kwargs = _cast((args, kwargs), self.precision.param_dtype)
        return args, kwargs

    def _gather(self, p, whole, parts):
        out = p if whole == parts else layout.lay_out(p, whole, parts)
        return out if id(p) in self.kept else _cast(out, self.precision.param_dtype)

    def _spread(self, tree):
        def spread(x):
            if not isinstance(x, Tensor):
                return x
            return layout.split_batch(x, self.mesh._mesh, self.mesh._axes, 0, self.mesh.device)

        return tree_map(spread, tree)

    def leave(self, module, args, output):
        """Put the parameters back; returns the output."""
        _depth.running -= 1
        self.running -= 1
        if self.running == 0:
            for table, name, p in self.replaced:
                table[name] = p
            self.replaced.clear()
        return _cast(output, self.precision.output_dtype)


def _cast(tree, dtype: dtypes.dtype | None):
    """The floating tensors of a tree converted."""
    if dtype is None:
        return tree

    def cast(x):
        return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x

    return tree_map(cast, tree)


def _own_modules(module):
    """The module and those below it, but for the insides of others that are fully sharded already."""
    yield module
    for child in module.children():
        if "_fsdp_group" not in child.__dict__:
            yield from _own_modules(child)
