"""Collectives that gradients flow through: results are new tensors, and backward communicates the other way.

All ranks must run backward through the same collectives in the same order.
"""

from __future__ import annotations

import jtorch

from ...autograd.function import Function
from .. import collectives, p2p
from ..constants import ReduceOp
from ..group import resolve


def _everyone(group, t):
    out = [jtorch.empty_like(t) for _ in range(group.size())]
    collectives.all_gather(out, t.contiguous(), group=group)
    return out


class _AllReduce(Function):
    @staticmethod
    def forward(ctx, op, group, tensor):
        ctx.op, ctx.group = op, group
        out = tensor.clone()
        collectives.all_reduce(out, op, group)
        return out

    @staticmethod
    def backward(ctx, grad):
        return None, None, _AllReduce.apply(ctx.op, ctx.group, grad)


class _Broadcast(Function):
    @staticmethod
    def forward(ctx, src, group, tensor):
        ctx.src, ctx.group = src, group
        out = tensor.clone()
        collectives.broadcast(out, src, group)
        return out

    @staticmethod
    def backward(ctx, grad):
        return None, None, _Reduce.apply(ctx.src, ReduceOp.SUM, ctx.group, grad)


class _Reduce(Function):
    @staticmethod
    def forward(ctx, dst, op, group, tensor):
        ctx.dst, ctx.group = dst, group
        out = tensor.clone()
        collectives.reduce(out, dst, op, group)
        return out if group._job.rank == dst else jtorch.zeros_like(out)

    @staticmethod
    def backward(ctx, grad):
        return None, None, None, _Broadcast.apply(ctx.dst, ctx.group, grad)


class _AllGather(Function):
    @staticmethod
    def forward(ctx, group, tensor):
        ctx.group = group
        return tuple(_everyone(group, tensor))

    @staticmethod
    def backward(ctx, *grads):
        return None, _ReduceScatter.apply(ReduceOp.SUM, ctx.group, *grads)


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx, op, group, *parts):
        ctx.group = group
        out = jtorch.empty_like(parts[0])
        collectives.reduce_scatter(out, list(parts), op, group)
        return out

    @staticmethod
    def backward(ctx, grad):
        return None, None, *_AllGather.apply(ctx.group, grad)


class _Gather(Function):
    @staticmethod
    def forward(ctx, dst, group, tensor):
        ctx.dst, ctx.group = dst, group
        out = [jtorch.zeros_like(tensor) for _ in range(group.size())]
        p2p.gather(tensor.contiguous(), out if group._job.rank == dst else None, dst, group)
        return tuple(out)

    @staticmethod
    def backward(ctx, *grads):
        return None, None, _Scatter.apply(ctx.dst, ctx.group, *grads)


class _Scatter(Function):
    @staticmethod
    def forward(ctx, src, group, *tensors):
        ctx.src, ctx.group = src, group
        out = jtorch.empty_like(tensors[0])
        p2p.scatter(out, [t.contiguous() for t in tensors] if group._job.rank == src else None, src, group)
        return out

    @staticmethod
    def backward(ctx, grad):
        return None, None, *_Gather.apply(ctx.src, ctx.group, grad)


class _AllToAll(Function):
    @staticmethod
    def forward(ctx, group, shapes, *tensors):
        ctx.group, ctx.shapes = group, [tuple(t.shape) for t in tensors]
        out = [tensors[0].new_empty(s) for s in shapes]
        collectives.all_to_all(out, [t.contiguous() for t in tensors], group)
        return tuple(out)

    @staticmethod
    def backward(ctx, *grads):
        return None, None, *_AllToAll.apply(ctx.group, ctx.shapes, *grads)


class _AllToAllSingle(Function):
    @staticmethod
    def forward(ctx, group, shape, coming, going, tensor):
        ctx.group, ctx.splits, ctx.shape = group, (coming, going), tuple(tensor.shape)
        out = tensor.new_empty(shape)
        collectives.all_to_all_single(out, tensor.contiguous(), coming, going, group)
        return out

    @staticmethod
    def backward(ctx, grad):
        coming, going = ctx.splits
        return None, None, None, None, _AllToAllSingle.apply(ctx.group, ctx.shape, going, coming, grad)


def all_reduce(tensor, op=ReduceOp.SUM, group=None):
    """The reduction over all ranks, as a new tensor."""
    return _AllReduce.apply(op, resolve(group), tensor)


def broadcast(tensor, src: int, group=None):
    """Rank ``src``'s tensor; its gradient is the sum of all ranks'."""
    return _Broadcast.apply(src, resolve(group), tensor)


def reduce(tensor, dst: int, op=ReduceOp.SUM, group=None):
    """The reduction on rank ``dst``, zeros elsewhere."""
    return _Reduce.apply(dst, op, resolve(group), tensor)


def all_gather(tensor, group=None) -> tuple:
    """All ranks' tensors."""
    return _AllGather.apply(resolve(group), tensor)


def gather(tensor, dst: int = 0, group=None) -> tuple:
    """All ranks' tensors on rank ``dst``, zeros elsewhere."""
    return _Gather.apply(dst, resolve(group), tensor)


def scatter(tensors, src: int = 0, group=None):
    """``tensors[this rank]`` of rank ``src``."""
    return _Scatter.apply(src, resolve(group), *tensors)


def reduce_scatter(output, input_list, op=ReduceOp.SUM, group=None):
    """The reduction over all ranks of ``input_list[this rank]``; ``output`` only gives PyTorch's order of arguments."""
    return _ReduceScatter.apply(op, resolve(group), *input_list)


def all_to_all(output_tensor_list, input_tensor_list, group=None) -> tuple:
    """``input_tensor_list[this rank]`` of each rank; the other list says how large those are."""
    return _AllToAll.apply(resolve(group), [tuple(t.shape) for t in output_tensor_list], *input_tensor_list)


def all_to_all_single(output, input, output_split_sizes=None, input_split_sizes=None, group=None):  # noqa: A002
    """Rows of ``input`` to each rank, and those of each rank one after the other, of ``output``'s shape."""
    return _AllToAllSingle.apply(resolve(group), tuple(output.shape), output_split_sizes, input_split_sizes, input)
