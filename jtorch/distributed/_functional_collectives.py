"""Collectives that return new tensors, and that gradients flow through.

A ``group`` is a process group or its name, None (all ranks), or a list of ranks that there is a group of. Reductions
are named as strings: ``"sum"``, ``"avg"``, ``"product"``, ``"min"``, ``"max"``, ``"band"``, ``"bor"``, ``"bxor"``.
``tag`` is accepted and changes nothing.

Results can be used at once: whoever reads them waits. So no result is an :class:`AsyncCollectiveTensor`, and
:func:`wait_tensor` returns what it is given.
"""

from __future__ import annotations

from ..autograd.function import Function
from ..tensor import Tensor
from . import collectives
from .constants import RedOpType, ReduceOp
from .device_mesh import DeviceMesh
from .group import ProcessGroup, _get_default_group, _world, resolve
from .nn.functional import _AllReduce, _AllToAllSingle, _Broadcast

REDUCE_OP_TO_STR = {getattr(ReduceOp, name): name.lower()
                    for name in ("SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR")}  # fmt: skip
_OPS = {name: op for op, name in REDUCE_OP_TO_STR.items()}


class AsyncCollectiveTensor(Tensor):
    """In PyTorch, a result that is not there yet. Here results wait by themselves, and none is of this class."""

    def __new__(cls, *args, **kwargs):
        raise TypeError("AsyncCollectiveTensor cannot be made: the results of collectives are ordinary tensors")

    def wait(self) -> Tensor:
        """The tensor."""
        return self

    trigger_wait = wait


def _group(group) -> ProcessGroup:
    """Raises:
    TypeError, ValueError: there is no such group.
    RuntimeError: a mesh, whose devices belong to one process.
    """
    if isinstance(group, tuple) and group and isinstance(group[0], DeviceMesh):
        group = group[0].get_group(group[1])  # (mesh, dimension)
    if isinstance(group, DeviceMesh):
        group = group.get_group()  # in one process it raises, and says what to do
    groups = [_get_default_group(), *_world.subgroups]
    if isinstance(group, str):
        found = [g for g in groups if g.group_name == group]
        if not found:
            raise ValueError(f"there is no process group called {group!r}, only {[g.group_name for g in groups]}")
        return found[0]
    if isinstance(group, list | tuple):
        rank = groups[0]._job.rank
        ranks = next((r for r in group if rank in r), None) if group and isinstance(group[0], list | tuple) else group
        found = [g for g in groups if ranks is not None and list(g._ranks) == list(ranks)]
        if not found:
            raise ValueError(f"there is no process group of the ranks {group}; make it first, with new_group")
        return found[0]
    return resolve(group)


def _op(name) -> RedOpType:
    """Raises:
    ValueError: there is no such reduction.
    """
    if isinstance(name, str) and name.lower() in _OPS:
        return _OPS[name.lower()]
    if name in REDUCE_OP_TO_STR:
        return name
    raise ValueError(f"reduceOp must be one of {sorted(_OPS)}, but got {name!r}")


def _differentiable(op: RedOpType, what: str) -> None:
    if op is not RedOpType.SUM:
        raise RuntimeError(f"{what} backward only supports 'sum' reduction, got '{REDUCE_OP_TO_STR[op]}'")


class _Reduce(_AllReduce):
    """The differentiable reduction, whose gradient is refused for all but sums."""

    @staticmethod
    def backward(ctx, grad):
        _differentiable(ctx.op, "all_reduce")
        return None, None, _Reduce.apply(ctx.op, ctx.group, grad)


class _Gather(Function):
    @staticmethod
    def forward(ctx, group, tensor):
        ctx.group = group
        out = tensor.new_empty((group.size() * tensor.shape[0], *tensor.shape[1:]))
        collectives.all_gather_into_tensor(out, tensor.contiguous(), group)
        return out

    @staticmethod
    def backward(ctx, grad):
        return None, _Scatter.apply(RedOpType.SUM, ctx.group, grad)


class _Scatter(Function):
    @staticmethod
    def forward(ctx, op, group, tensor):
        ctx.op, ctx.group = op, group
        out = tensor.new_empty((tensor.shape[0] // group.size(), *tensor.shape[1:]))
        collectives.reduce_scatter_tensor(out, tensor.contiguous(), op, group)
        return out

    @staticmethod
    def backward(ctx, grad):
        _differentiable(ctx.op, "reduce_scatter_tensor")
        return None, None, _Gather.apply(ctx.group, grad)


def wait_tensor(tensor) -> Tensor:
    """The tensor: whoever reads it waits."""
    return tensor


def broadcast(self, src: int, group, tag: str = "") -> Tensor:
    """The tensor of the group's ``src``-th rank."""
    found = _group(group)
    return _Broadcast.apply(found._ranks[src], found, self)


def all_reduce(self, reduceOp: str, group, tag: str = "") -> Tensor:
    """The reduction over all ranks.

    Raises:
        RuntimeError: (in backward) the reduction is no sum.
    """
    return _Reduce.apply(_op(reduceOp), _group(group), self)


def all_gather_single(self, gather_dim: int, group, tag: str = "") -> Tensor:
    """The ranks' tensors, one after the other along ``gather_dim``."""
    moved = self if gather_dim == 0 else self.movedim(gather_dim, 0)
    out = _Gather.apply(_group(group), moved)
    return out if gather_dim == 0 else out.movedim(0, gather_dim)


def reduce_scatter_single(self, reduceOp: str, scatter_dim: int, group, tag: str = "") -> Tensor:
    """This rank's part, along ``scatter_dim``, of the reduction over all ranks.

    Raises:
        AssertionError: the dimension cannot be shared evenly.
        RuntimeError: (in backward) the reduction is no sum.
    """
    found = _group(group)
    if self.shape[scatter_dim] % found.size():
        raise AssertionError(
            f"input dimension {scatter_dim} ({self.shape[scatter_dim]}) must be a multiple of group_size {found.size()}"
        )
    moved = self if scatter_dim == 0 else self.movedim(scatter_dim, 0)
    out = _Scatter.apply(_op(reduceOp), found, moved)
    return out if scatter_dim == 0 else out.movedim(0, scatter_dim)


def all_to_all_single(
    self, output_split_sizes: list[int] | None, input_split_sizes: list[int] | None, group, tag: str = ""
) -> Tensor:
    """Rows of the tensor to each rank, and those of each rank one after the other.

    Args:
        output_split_sizes, input_split_sizes: how many rows come from each rank, and go to it; None, both: equal parts.

    Raises:
        AssertionError: one of them is given and the other is not.
        RuntimeError: sizes do not fit.
    """
    if (output_split_sizes is None) != (input_split_sizes is None):
        raise AssertionError(
            "output_split_sizes and input_split_sizes must either be specified together or both set to None"
        )
    rows = self.shape[0] if output_split_sizes is None else sum(output_split_sizes)
    shape = (rows, *self.shape[1:])
    return _AllToAllSingle.apply(_group(group), shape, output_split_sizes, input_split_sizes, self)


def permute_tensor(self, src_dst: list[int], group, tag: str = "") -> Tensor:
    """The tensor of the rank whose destination, ``src_dst[rank]``, is this one.

    Raises:
        AssertionError: some rank is nobody's destination.
    """
    found = _group(group)
    if sorted(src_dst) != list(range(found.size())):
        raise AssertionError(f"src_dst must name each of {found.size()} ranks once, but is {src_dst}")
    here, rows = found.rank(), self.shape[0]
    coming = [rows if dst == here else 0 for dst in src_dst]
    going = [rows if r == src_dst[here] else 0 for r in range(found.size())]
    return all_to_all_single(self, coming, going, found)


def all_reduce_coalesced(self: list, reduceOp: str, group, tag: str = "") -> list[Tensor]:
    """:func:`all_reduce` of each tensor."""
    return [all_reduce(t, reduceOp, group) for t in self]


def all_gather_single_coalesced(self: list, group, tag: str = "") -> list[Tensor]:
    """:func:`all_gather_single` of each tensor along dimension 0."""
    return [all_gather_single(t, 0, group) for t in self]


def reduce_scatter_single_coalesced(
    inputs: list, reduceOp: str, scatter_dim: list[int], group, tag: str = ""
) -> list[Tensor]:
    """:func:`reduce_scatter_single` of each tensor along its dimension."""
    return [reduce_scatter_single(t, reduceOp, dim, group) for t, dim in zip(inputs, scatter_dim, strict=True)]


# Older names, and those of the forms that gradients flow through, which are all of them.
all_gather_tensor = all_gather_tensor_autograd = all_gather_single_autograd = all_gather_single
reduce_scatter_tensor = reduce_scatter_tensor_autograd = reduce_scatter_single_autograd = reduce_scatter_single
all_to_all_single_autograd = all_to_all_single
all_gather_into_tensor_coalesced = all_gather_single_coalesced
reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced
