"""From one layout over ranks to another: what each rank's part goes through, and its gradient.

Along a dimension of the mesh a gradient lies as its tensor does, but for the gradient of terms (``Partial``), which is
whole on every rank (``Replicate``). So each move is the derivative of another one.
"""

from __future__ import annotations

import functools

from ...autograd.function import Function
from ...tensor import Tensor
from .. import collectives
from ..constants import RedOpType
from .placements import Partial, Replicate, Shard, _NormPartial, _StridedShard

_OPS = {
    "sum": RedOpType.SUM, "avg": RedOpType.AVG, "max": RedOpType.MAX, "min": RedOpType.MIN,
    "product": RedOpType.PRODUCT,
}  # fmt: skip


def extents(shape, mesh, placements, mesh_dim: int | None = None) -> tuple[list[int], list[int]]:
    """The shape of this rank's part, and where it begins in the whole.

    Args:
        mesh_dim: leave out this mesh dimension and those that cut after it.
    """
    sizes, offsets = list(shape), [0] * len(shape)
    at = mesh.get_coordinate()
    for d in cutting_order(placements):
        p = placements[d]
        if mesh_dim is not None and d == mesh_dim:
            break
        if isinstance(p, Shard):
            sizes[p.dim], offset = Shard.local_shard_size_and_offset(sizes[p.dim], mesh.shape[d], at[d])
            offsets[p.dim] += offset
    return sizes, offsets


def cutting_order(placements) -> list[int]:
    """The mesh dimensions in the order in which they cut: those of ``_StridedShard`` after all others."""
    return sorted(range(len(placements)), key=lambda d: isinstance(placements[d], _StridedShard))


def _padded(x: Tensor, dim: int, size: int) -> Tensor:
    import jtorch

    missing = size - x.shape[dim]
    if missing == 0:
        return x
    shape = list(x.shape)
    shape[dim] = missing
    return jtorch.cat([x, x.new_zeros(shape)], dim)


def gather(x: Tensor, dim: int, size: int, group) -> Tensor:
    """The ranks' parts along a dimension of ``size`` elements, which were cut as ``chunk`` cuts, in one."""
    n = group.size()
    x = _padded(x.detach(), dim, -(-size // n))
    moved = x.movedim(dim, 0)
    if moved.numel() == 0:
        return x.new_zeros((*x.shape[:dim], size, *x.shape[dim + 1 :]))
    (found,), _ = collectives._start(group, "all_gather", "gather", [moved.contiguous()])
    return found.narrow(0, 0, size).movedim(0, dim).contiguous()


def scatter_sum(x: Tensor, dim: int, group, op: RedOpType) -> Tensor:
    """This rank's part along a dimension of the reduction of all ranks' tensors."""
    n, size = group.size(), x.shape[dim]
    each = -(-size // n)
    moved = _padded(x.detach(), dim, each * n).movedim(dim, 0)
    mine, _ = Shard.local_shard_size_and_offset(size, n, group.rank())
    if moved.numel() == 0:
        return x.new_zeros((*x.shape[:dim], mine, *x.shape[dim + 1 :]))
    (found,), _ = collectives._start(group, "reduce_scatter", "reduce_scatter", [moved.contiguous()], op)
    return found.narrow(0, 0, mine).movedim(0, dim).contiguous()


def reduced(x: Tensor, group, op: RedOpType) -> Tensor:
    """The reduction of all ranks' tensors."""
    x = x.detach()
    if x.numel() == 0:
        return x
    (found,), _ = collectives._start(group, "all_reduce", "reduce", [x.reshape(1) if x.dim() == 0 else x], op)
    return found.reshape(x.shape)


def exchange(x: Tensor, source: int, target: int, size: int, group) -> Tensor:
    """Parts along ``source``, a dimension of ``size`` elements, as parts along ``target``."""
    n, across = group.size(), x.shape[target]
    if size % n or across % n:
        whole = gather(x, source, size, group)
        mine, begin = Shard.local_shard_size_and_offset(across, n, group.rank())
        return whole.narrow(target, begin, mine).contiguous()
    moved = x.detach().movedim(target, 0).contiguous()
    if moved.numel() == 0:
        shape = list(x.shape)
        shape[source], shape[target] = size, across // n
        return x.new_zeros(shape)
    (found,), _ = collectives._start(group, "all_to_all", "all_to_all", [moved])
    parts = found.unflatten(0, (n, across // n)).movedim(1, target + 1)  # (from rank, ..., part of target, ...)
    return parts.movedim(0, source).flatten(source, source + 1).contiguous()


def move(x: Tensor, group, source, target, size: int) -> Tensor:
    """This rank's part of a tensor that lies as ``source`` along one mesh dimension, as it lies as ``target``.

    Args:
        size: of the tensor dimension that ``source`` cuts, before it cuts it.
    """
    if source == target:
        return x
    n = group.size()
    if isinstance(source, Partial):
        if isinstance(source, _NormPartial):
            return source.total(x, lambda t, op: reduced(t, group, op))
        op = _OPS[source.reduce_op]
        if isinstance(target, Shard):
            return scatter_sum(x, target.dim, group, op)
        return reduced(x, group, op)
    if isinstance(source, Shard) and isinstance(target, Shard):
        if source.dim == target.dim:
            return x
        return exchange(x, source.dim, target.dim, size, group)
    if isinstance(source, Shard):
        whole = gather(x, source.dim, size, group)
        return move(whole, group, Replicate(), target, 0)
    if isinstance(target, Shard):
        mine, begin = Shard.local_shard_size_and_offset(x.shape[target.dim], n, group.rank())
        return x.narrow(target.dim, begin, mine).contiguous()
    if isinstance(target, Partial) and target.reduce_op == "sum":
        return x / n if x.is_floating_point() or x.is_complex() else x * int(group.rank() == 0)
    return x  # the mean, greatest or least of equal terms


def _of_gradient(placement):
    return Replicate() if isinstance(placement, Partial) else placement


class _Move(Function):
    @staticmethod
    def forward(ctx, x, group, source, target, size):
        ctx.group, ctx.source, ctx.target = group, source, target
        ctx.size = x.shape[target.dim] if isinstance(target, Shard) else 0
        out = move(x, group, source, target, size)
        return out.detach() if out is x else out

    @staticmethod
    def backward(ctx, grad):
        source = ctx.source
        if isinstance(source, Partial) and source.reduce_op not in ("sum", "avg"):
            raise RuntimeError(f"the gradient of {source!r} terms is not defined: redistribute before reducing")
        factor = 1 / ctx.group.size() if isinstance(source, Partial) and source.reduce_op == "avg" else 1
        back = _Move.apply(grad, ctx.group, _of_gradient(ctx.target), _of_gradient(source), ctx.size)
        return (back if factor == 1 else back * factor), None, None, None, None


class _SumGradients(Function):
    """The same tensor; its gradient is the sum of the ranks' along some mesh dimensions."""

    @staticmethod
    def forward(ctx, x, groups):
        ctx.groups = groups
        return x.detach()

    @staticmethod
    def backward(ctx, grad):
        return functools.reduce(_Reduced.apply, ctx.groups, grad), None


class _Reduced(Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return reduced(x, group, RedOpType.SUM)

    @staticmethod
    def backward(ctx, grad):
        return _Reduced.apply(grad, ctx.group), None


def sum_gradients(x: Tensor, groups) -> Tensor:
    """``x``, whose gradient is summed over groups of ranks."""
    return _SumGradients.apply(x, tuple(groups)) if x.requires_grad else x


def redistribute_local(x: Tensor, shape, mesh, source, target) -> Tensor:
    """This rank's part of a tensor of a (global) shape, from one list of placements to another; differentiable."""
    if tuple(source) == tuple(target):
        return x
    source = list(source)

    def step(d: int, to) -> None:
        nonlocal x
        if source[d] == to:
            return
        if mesh.shape[d] > 1:
            size = 0
            if isinstance(source[d], Shard):
                size = extents(shape, mesh, source, d)[0][source[d].dim]
            x = _Move.apply(x, mesh.get_group(d), source[d], to, size)
        source[d] = to

    # A tensor dimension that several mesh dimensions cut is put together from the inside out, and cut again.
    before, after = _cuts(source), _cuts(target)
    nested = {
        dim for dim in {*before, *after}
        if before.get(dim) != after.get(dim) and max(len(before.get(dim, ())), len(after.get(dim, ()))) > 1
    }  # fmt: skip
    for d in reversed(cutting_order(source)):
        if isinstance(source[d], Shard) and source[d].dim in nested:
            step(d, Replicate())
    for d in cutting_order(target):
        step(d, target[d])
    return x


def _cuts(placements) -> dict[int, list[int]]:
    """The mesh dimensions that cut each tensor dimension, the outer before the inner."""
    out: dict[int, list[int]] = {}
    for d in cutting_order(placements):
        if isinstance(placements[d], Shard):
            out.setdefault(placements[d].dim, []).append(d)
    return out
