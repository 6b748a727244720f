"""Fully sharded parameters where each rank is a process: each keeps a part, and gathers the whole to run a module.

The parameter is a ``DTensor`` of this rank's part. While the module runs, its attributes are the gathered tensors.
Their gradients are collected until backward has ended, and then summed over the ranks, each of which gets its part. So
the forward and backward of a step stay one recorded program between two communications (docs/decisions/0014).
"""

from __future__ import annotations

import contextlib
import functools

import jax
import jax.numpy as jnp

import jtorch

from ...autograd.function import Function
from ...nn.parameter import Parameter
from ...tape import engine, modes
from ...tensor import Tensor
from ...tensor.dispatch import wrap
from ...trace.jaxapi import x64
from ...trace.value import of_array
from .. import checking, collectives, programs
from ..constants import RedOpType
from ..rank_mesh import RankMesh
from ..state_names import modules
from ..tensor.placements import Placement, Replicate, Shard, _StridedShard
from ..tensor.ranked import RankDTensor, make


class ShardedParameter:
    """A parameter that is cut, and where modules have it.

    Args:
        p: the parameter whole: a tensor, or a ``DTensor`` that tensor parallelism has cut.
        mesh: one dimension, or ``(copies, parts)``.
        placement: which dimension to cut (None: leave it whole).
        convert: whether it is gathered in the dtype of the policy.
    """

    def __init__(self, p, mesh: RankMesh, placement: Shard | None, convert: bool = True):
        self.uses: list[tuple[dict, str]] = []
        self.convert, self.mesh = convert, mesh
        self.inner = (p._mesh, p._placements) if isinstance(p, RankDTensor) else None
        part = p._stored if self.inner else p
        self.whole, self.shape = tuple(p.shape), tuple(part.shape)  # of the parameter, and of what is gathered
        self.dtype = p.dtype
        self.dim = None if placement is None else placement.dim % max(len(self.shape), 1)
        n, here = mesh.shape[-1], mesh.get_local_rank(mesh.ndim - 1)
        lead: list[Placement] = [Replicate()] * (mesh.ndim - 1)
        if self.dim is None:
            own, last = part.detach().clone(), Replicate()
        else:
            size, begin = Shard.local_shard_size_and_offset(self.shape[self.dim], n, here)
            own, last = part.detach().narrow(self.dim, begin, size).clone(), Shard(self.dim)
        placements = (*lead, last)
        if self.inner:
            mesh, placements = _both(mesh, placements, *self.inner)
        self.sharded = Parameter(make(own, mesh, placements, self.whole), p.requires_grad)

    def refresh(self) -> None:
        """Take the tensor that the module has now, after ``load_state_dict`` perhaps."""
        table, name = self.uses[0]
        if isinstance(table[name], RankDTensor) and table[name] is not self.sharded:
            self.sharded = table[name]
            for other, key in self.uses[1:]:
                other[key] = self.sharded

    # --- what goes over the ranks: dimension `dim` first, as many rows on each rank

    @property
    def rows(self) -> int:
        return -(-self.shape[self.dim] // self.mesh.shape[-1])

    def sent(self):
        """This rank's part as an array."""
        array = self.sharded._stored._value().concrete("fully_shard")
        if array.shape[self.dim] == self.rows and self.dim == 0:
            return array
        with x64(True):
            return _front(array, self.dim, self.rows)

    def received(self, array) -> Tensor:
        """The whole (of what tensor parallelism has left here) from the ranks' parts."""
        t = wrap(of_array(array, self.sharded._stored.device))
        size = self.shape[self.dim]
        if t.shape[0] != size:
            t = t.narrow(0, 0, size)
        return t if self.dim == 0 else t.movedim(0, self.dim).contiguous()

    def dressed(self, t: Tensor):
        """A gathered tensor as modules see it."""
        if self.inner is None:
            return t
        return make(t, *self.inner, self.whole)

    def reduced(self, array) -> Tensor:
        """This rank's part of a gradient from what came of the reduction."""
        g = wrap(of_array(array, self.sharded._stored.device))
        size = self.sharded._stored.shape[self.dim]
        if g.shape[0] != size:
            g = g.narrow(0, 0, size)
        return g if self.dim == 0 else g.movedim(0, self.dim).contiguous()


@functools.partial(jax.jit, static_argnums=(1, 2))
def _front(a, dim: int, rows: int):
    a = jnp.moveaxis(a, dim, 0)
    return jnp.pad(a, [(0, rows - a.shape[0]), *[(0, 0)] * (a.ndim - 1)])


def _both(mesh: RankMesh, placements, inner_mesh: RankMesh, inner):
    """The mesh and placements of a parameter that two submeshes of one mesh have cut."""
    root = mesh._get_root_mesh()
    if inner_mesh._get_root_mesh() != root or root.mesh_dim_names is None:
        raise ValueError(
            "fully_shard: the parameter lies on another mesh. Take both from one mesh with names: "
            'mesh = init_device_mesh(..., mesh_dim_names=("dp", "tp")); fully_shard(..., mesh=mesh["dp"])'
        )
    names = (*mesh.mesh_dim_names, *inner_mesh.mesh_dim_names)
    found = root if names == root.mesh_dim_names else root[names]
    out = list(placements)
    for i, p in enumerate(out):
        if isinstance(p, Shard):
            cuts = [n for q, n in zip(inner, inner_mesh.shape, strict=True) if isinstance(q, Shard) and q.dim == p.dim]
            if cuts:
                factor = functools.reduce(lambda a, b: a * b, cuts)
                out[i] = _StridedShard(p.dim, split_factor=factor)
    return found, (*out, *inner)


class _Unshard(Function):
    """Gathered tensors of the parts; gradients go to the group."""

    @staticmethod
    def forward(ctx, group, *parts):
        ctx.group = group
        ctx.set_materialize_grads(False)
        return tuple(group._gathered_now)

    @staticmethod
    def backward(ctx, *grads):
        ctx.group.collect(grads)
        return (None, *[None] * len(grads))


class RankGroup:
    """The parameters that one call of ``fully_shard`` has taken; see the module docstring.

    Args:
        parameters: ``(owner, name, parameter)`` of every use.
        precision: a ``MixedPrecisionPolicy``.
        placement: ``placement(parameter) -> Shard | None``.
        keep: ``keep(owner)``: parameters of these are gathered in their own dtype.
    """

    def __init__(self, parameters, mesh: RankMesh, precision, placement, keep=lambda owner: False):
        self.mesh, self.precision = mesh, precision
        self.params: list[ShardedParameter] = []
        self.sync, self.reshard_after_forward = True, True
        self.factor: float | None = None  # what gradients are divided by, if not by the number of ranks
        self.running = 0
        self.full: list | None = None  # gathered: of each parameter what modules see
        self._full_of: tuple = ()  # of which contents they were gathered, and whether with history
        self._gathered_now: list = []
        self.held = False  # unshard() was called: parameters stay gathered
        self._shown = False
        self.grads: dict[int, Tensor] = {}
        self.kept: dict[int, Tensor] = {}  # gradients of the whole that wait for set_requires_gradient_sync(True)
        self._queued = False
        made: dict[int, ShardedParameter] = {}
        with jtorch.no_grad():
            for owner, name, p in parameters:
                if id(p) not in made:
                    made[id(p)] = ShardedParameter(p, mesh, placement(p), not keep(owner))
                    self.params.append(made[id(p)])
                made[id(p)].uses.append((owner._parameters, name))
                owner._parameters[name] = made[id(p)].sharded
        self._originals = [p for _, _, p in parameters]  # their ids must stay theirs until all modules are cut

    # --- gathering

    @property
    def ranks(self) -> int:
        return self.mesh.size()

    def _dtype(self, sp: ShardedParameter):
        wanted = self.precision.param_dtype
        return wanted if wanted is not None and sp.convert and sp.sharded.is_floating_point() else sp.sharded.dtype

    def gather(self, dtype_of=None) -> list[Tensor]:
        """The whole of every parameter, in one program."""
        dtype_of = dtype_of or self._dtype
        out: list = [None] * len(self.params)
        cut = [i for i, sp in enumerate(self.params) if sp.dim is not None]
        cut = [i for i in cut if self.mesh.shape[-1] > 1 and self.params[i].rows and 0 not in self.params[i].shape]
        for i, sp in enumerate(self.params):
            if sp.sharded.is_meta:
                raise RuntimeError(
                    f"the parameter {sp.uses[0][1]!r} is on the meta device: give it content first, for example with "
                    "module.to_empty(device=...) and reset_parameters()"
                )
            if i not in cut:
                part = sp.sharded._stored.detach()
                out[i] = part.to(dtype_of(sp)) if part.dtype is not dtype_of(sp) else part
        if cut:
            group = self.mesh.get_group(self.mesh.ndim - 1)
            arrays = [self.params[i].sent() for i in cut]
            dtypes = tuple(jnp.dtype(dtype_of(self.params[i]).np) for i in cut)
            results = _communicate(group, "fully_shard: all_gather", "gather_parts", arrays, dtypes)
            for i, array in zip(cut, results, strict=True):
                out[i] = self.params[i].received(array)
        return out

    def unshard(self) -> None:
        """Gather what is not gathered already."""
        for sp in self.params:
            sp.refresh()
        recorded = modes.state.grad
        contents = tuple((id(sp.sharded), sp.sharded._stored._storage.writes) for sp in self.params)
        if self.full is not None and self._full_of == (contents, recorded):
            return
        with jtorch.no_grad():
            found = self.gather()
        trained = [i for i, sp in enumerate(self.params) if sp.sharded.requires_grad]
        if recorded and trained:
            self._gathered_now = [found[i] for i in trained]
            with_history = _Unshard.apply(self, *[self.params[i].sharded._stored for i in trained])
            self._gathered_now = []
            for i, t in zip(trained, with_history, strict=True):
                found[i] = t
        self._trained = trained
        self.full = [sp.dressed(t) for sp, t in zip(self.params, found, strict=True)]
        self._full_of = contents, recorded

    def show(self, whole: bool) -> None:
        """Let modules have the gathered tensors, or the parts."""
        if whole == self._shown:
            return
        for i, sp in enumerate(self.params):
            for table, name in sp.uses:
                if whole:
                    if table[name] is sp.sharded:  # else functional_call has put something there
                        table[name] = self.full[i]
                elif table[name] is self.full[i]:
                    table[name] = sp.sharded
        self._shown = whole

    def reshard(self) -> None:
        """Forget what is gathered; the graph holds what backward needs."""
        self.show(False)
        self.full, self.held = None, False

    # --- around a module's forward

    def enter(self, module, args, kwargs):
        self.running += 1
        if self.running == 1:
            self.unshard()
            self.show(True)
        if self.precision.cast_forward_inputs:
            args, kwargs = cast((args, kwargs), self.precision.param_dtype)
        return args, kwargs

    def leave(self, module, args, output):
        self.running -= 1
        if self.running == 0 and not self.held:
            self.show(False)
            if not modes.state.grad:
                self.full = None
            else:
                _before_backward(output, self)
        return cast(output, self.precision.output_dtype)

    # --- gradients

    def before_backward(self) -> None:
        """A module may run again in backward (checkpointing): it then needs what it was run with."""
        if self.full is not None and not self._shown:
            self.show(True)
            self._queue()

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            engine.queue_callback(self._ended)

    def collect(self, grads) -> None:
        """Gradients of gathered tensors."""
        for i, g in zip(self._trained, grads, strict=True):
            if g is not None:
                self.grads[i] = g if i not in self.grads else self.grads[i] + g
        self._queue()

    def _ended(self) -> None:
        """Backward has ended."""
        self._queued = False
        if self.running == 0:
            self.reshard()
        grads, self.grads = self.grads, {}
        with jtorch.no_grad():
            for i, g in self.kept.items():
                grads[i] = grads[i] + g if i in grads else g
            self.kept = {}
            if not self.sync:
                self.kept = grads
                return
            if grads:
                self._reduce(grads)

    def _reduce(self, grads: dict[int, Tensor]) -> None:
        """Each parameter's gradient: the mean over the ranks, of which each gets its part."""
        order = sorted(grads)
        cut = [i for i in order if self.params[i].dim is not None and 0 not in self.params[i].shape]
        found: dict[int, Tensor] = {}
        factor = 1.0 / (self.factor or self.ranks)
        reduce_dtype = self.precision.reduce_dtype

        def dtype(i: int):
            return reduce_dtype if reduce_dtype is not None else grads[i].dtype

        groups = self.mesh.get_all_groups()
        if cut and groups[-1].size() > 1:
            arrays = []
            for i in cut:
                sp, g = self.params[i], grads[i]
                array = g._value().concrete("fully_shard: reduce_scatter")
                rows = sp.rows * groups[-1].size()
                if sp.dim or array.shape[0] != rows:
                    with x64(True):
                        array = _front(array, sp.dim, rows)
                arrays.append(array)
            terms = tuple(jnp.dtype(dtype(i).np) for i in cut)
            last = len(groups) == 1 or groups[0].size() == 1
            results = tuple(jnp.dtype(self.params[i].sharded.dtype.np) for i in cut) if last else terms
            parts = _communicate(
                groups[-1], "fully_shard: reduce_scatter", "reduce_parts", arrays, terms, results, factor
            )
            for i, array in zip(cut, parts, strict=True):
                found[i] = self.params[i].reduced(array)
            left = [i for i in order if i not in found]
        else:
            left = order
        for i in left:
            g = grads[i].to(dtype(i)) * factor
            for group in groups[-1:]:
                g = _all_reduced(g, group)
            found[i] = g
        for group in groups[:-1]:
            if group.size() > 1:
                found = {i: _all_reduced(g, group) for i, g in found.items()}
        for i, g in found.items():
            p = self.params[i].sharded
            g = g.to(p.dtype) if g.dtype is not p.dtype else g
            if p._stored.grad is None:
                p._stored.grad = g
            else:
                p._stored.grad = p._stored.grad + g
            for hook in list(p._stored.__dict__.get("_post_accumulate_hooks", {}).values()):
                hook(p._stored)


def _all_reduced(g: Tensor, group) -> Tensor:
    if group.size() == 1:
        return g
    (found,), _ = collectives._start(group, "fully_shard: all_reduce", "reduce", [g.contiguous()], RedOpType.SUM)
    return found


def _communicate(group, name: str, kind: str, arrays: list, *static) -> list:
    """Run one program over a group's ranks on arrays; this rank's results."""
    checking.agree(group, name, ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays))
    group._sequence += 1
    platform = next(iter(arrays[0].devices())).platform
    with group._job.during(name, group._ranks):
        results, token = programs.run(kind, arrays, group._ranks, platform, *static)
    if group._job.monitor is not None:
        group._job.monitor.started(name, group._ranks, token)
    return results


def _before_backward(output, group: RankGroup) -> None:
    """Tell the group when a gradient arrives at a module's output."""
    from ...utils._pytree import tree_leaves

    for t in tree_leaves(output):
        if isinstance(t, Tensor) and t.requires_grad and not t.is_leaf:
            t.register_hook(lambda g, group=group: group.before_backward())


def cast(tree, dtype):
    """The floating tensors of a tree converted."""
    from .fully_shard import _cast

    return _cast(tree, dtype)


@contextlib.contextmanager
def summoned(groups: list[RankGroup], writeback: bool, rank0_only: bool, with_grads: bool):
    """Let modules have whole parameters, as ordinary ones, for the length of a block."""
    replaced = []
    with jtorch.no_grad():
        for group in groups:
            here = not rank0_only or group.mesh.get_rank() == 0
            group.reshard()
            for sp, t in zip(group.params, group.gather(lambda sp: sp.sharded.dtype), strict=True):
                grad = sp.sharded.grad
                grad = grad.full_tensor() if with_grads and grad is not None else None
                if not here:
                    continue
                if sp.inner is not None:
                    raise NotImplementedError("summon_full_params of parameters that tensor parallelism has cut")
                found = Parameter(t.clone(), sp.sharded.requires_grad)
                found.grad = grad
                for table, name in sp.uses:
                    table[name] = found
                replaced.append((sp, found))
    try:
        yield
    finally:
        for sp, found in replaced:
            with jtorch.no_grad():
                if writeback:
                    sp.sharded._stored.copy_(sp.sharded._share(found.detach())._stored)
            for table, name in sp.uses:
                table[name] = sp.sharded


def shared_out(module, state: dict, prefix: str) -> None:
    """Let the tensors of a ``state_dict`` that are whole be distributed as a module's parameters are."""
    for _, key, m in modules(module):
        for name, p in m._parameters.items():
            t = state.get(f"{prefix}{key}{name}")
            if isinstance(p, RankDTensor) and isinstance(t, Tensor) and tuple(t.shape) == tuple(p.shape):
                state[f"{prefix}{key}{name}"] = p._share(t.detach().to(p.device))
