"""Collectives on tensors. Results are written into the tensors given, through views as well; no gradient flows.

All ranks of a group call the same collectives in the same order with tensors of the same shapes and dtypes. A
collective runs what was recorded before it. With ``async_op=True`` a :class:`~jtorch.distributed.work.Work` comes back
at once; without, CPU tensors are there on return, and GPU tensors as soon as something needs them.
"""

from __future__ import annotations

import contextlib
import functools
import inspect

from .. import dtypes
from ..tape.modes import no_grad
from ..tensor import Tensor
from ..tensor.dispatch import wrap
from ..trace.recorder import sync
from ..trace.value import of_array
from . import checking, programs
from .buckets import Buckets
from .constants import DistBackendError, PremulSum, RedOpType, ReduceOp
from .group import ProcessGroup, outside, resolve, root_of
from .store import seconds
from .work import Work

_BITWISE = (RedOpType.BAND, RedOpType.BOR, RedOpType.BXOR)


# --- arguments -----------------------------------------------------------------------------------------------------


def check_tensor(x, name: str) -> Tensor:
    """Raises:
    TypeError: ``x`` is no tensor.
    RuntimeError: it has no data.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor, got {type(x)}")
    if x.device.type == "meta":
        raise RuntimeError(f"{name} is on the meta device and holds no data")
    return x


def check_list(xs, name: str, count: int | None = None) -> list[Tensor]:
    """Raises:
    TypeError: ``xs`` is no list of tensors.
    ValueError: there are not ``count``, or their dtypes differ.
    """
    if not isinstance(xs, (list, tuple)) or not all(isinstance(x, Tensor) for x in xs):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor], got {type(xs)} with "
            f"elements of type {[type(x) for x in xs] if isinstance(xs, (list, tuple)) else None}"
        )
    if count is not None and len(xs) != count:
        raise ValueError(f"{name} must have one tensor for each of the {count} ranks of the group, but has {len(xs)}")
    if len({x.dtype for x in xs}) > 1:
        raise ValueError(f"tensors of {name} must have the same dtype, but got {[str(x.dtype) for x in xs]}")
    return [check_tensor(x, name) for x in xs]


def _check_dtypes(a: Tensor, b: Tensor, what: str) -> None:
    if a.dtype is not b.dtype:
        raise ValueError(f"{what} must have the same dtype, but got {a.dtype} and {b.dtype}")


def _reduction(op, tensor, name: str):
    """The reduction, and the tensor it is applied to."""
    if isinstance(op, PremulSum):
        return RedOpType.SUM, tensor * op.factor
    if not isinstance(op, RedOpType) or op in (RedOpType.UNUSED, RedOpType.PREMUL_SUM):
        raise ValueError(f"{name}: op must be a member of ReduceOp, SUM for instance, but got {op!r}")
    category = tensor.dtype.category
    if op in _BITWISE and category > dtypes.INT:
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with non-integral dtype {tensor.dtype}")
    if op in (RedOpType.MIN, RedOpType.MAX) and category == dtypes.COMPLEX:
        raise ValueError(f"{name} does not support {op} on complex tensors")
    if op is RedOpType.AVG and category == dtypes.BOOL:
        raise RuntimeError("Cannot use ReduceOp.AVG with boolean tensors")
    return op, tensor


def _collective(name: str):
    """Checks membership, replaces ``group`` by the one it means, and turns ``async_op`` into a Work or a wait.

    The function decorated returns ``(what to wait for, tensors written)``.
    """

    def decorate(fn):
        run = no_grad()(fn)
        signature = inspect.signature(fn)

        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            given = signature.bind(*args, **kwargs).arguments
            group, async_op = given.pop("group", None), given.pop("async_op", False)
            if outside(group, name):
                return None
            found = resolve(group)
            tokens, written = run(**given, group=found)
            work = Work(found, name, tokens, written)
            if async_op:
                return work
            if tokens and next(iter(tokens[0].devices())).platform == "cpu":
                work.wait()
            return None

        return wrapper

    return decorate


def _start(group: ProcessGroup, name: str, kind: str, tensors: list[Tensor], *static, check: str | None = None):
    """Run one program on tensors of at least one dimension; the results as tensors, and what to wait for."""
    what = ", ".join(f"{t.dtype}{list(t.shape)}" for t in tensors) if check is None else check
    checking.agree(group, name, what + "".join(f", {x}" for x in static))
    group._sequence += 1
    values = [t._value() for t in tensors]
    arrays = [v.concrete(name) for v in values]
    with group._job.during(name, group._ranks):
        results, token = programs.run(kind, arrays, group._ranks, values[0].device.platform, *static)
    if group._job.monitor is not None:
        group._job.monitor.started(name, group._ranks, token)
    return [wrap(of_array(a, v.device)) for a, v in zip(results, values, strict=True)], [token]


def _flat(tensor: Tensor) -> Tensor:
    """Outside autograd, and of at least one dimension."""
    t = tensor.detach()
    return t.reshape(1) if t.dim() == 0 else t


def write(tensor: Tensor, new: Tensor) -> None:
    """Make ``new`` the content of ``tensor``, a view perhaps, without history."""
    target = tensor.detach()
    target._assign(new if new.shape == target.shape else new.reshape(target.shape))


# --- reductions ----------------------------------------------------------------------------------------------------


@_collective("all_reduce")
def all_reduce(tensor, op=ReduceOp.SUM, group=None, async_op=False):
    """``tensor ← op over all ranks of tensor``.

    Raises:
        ValueError, RuntimeError: the reduction is not defined for the dtype.
    """
    check_tensor(tensor, "tensor")
    op, source = _reduction(op, tensor.detach(), "all_reduce")
    if tensor.numel() == 0:
        return [], [tensor]
    results, tokens = _start(group, "all_reduce", "reduce", [_flat(source)], op)
    write(tensor, results[0])
    return tokens, [tensor]


@_collective("all_reduce_coalesced")
def all_reduce_coalesced(tensors, op=ReduceOp.SUM, group=None, async_op=False):
    """:func:`all_reduce` of several tensors in one program."""
    tensors = list(tensors)
    for t in tensors:
        check_tensor(t, "tensors")
    sources = [_reduction(op, t.detach(), "all_reduce_coalesced") for t in tensors]
    return reduce_all(tensors, [s for _, s in sources], sources[0][0] if sources else op, group), tensors


def reduce_all(targets, sources, op: RedOpType, group: ProcessGroup, name: str = "all_reduce_coalesced") -> list:
    """Write the reductions of ``sources``, packed into buckets, to ``targets``; what to wait for."""
    buckets = Buckets(sources)
    if not buckets.parts:
        return []
    results, tokens = _start(group, name, "reduce", buckets.pack(sources), op)
    for i, t in buckets.unpack(results):
        write(targets[i], t)
    return tokens


@_collective("reduce")
def reduce(tensor, dst=None, op=ReduceOp.SUM, group=None, async_op=False, group_dst=None):
    """As :func:`all_reduce`, but only rank ``dst`` gets the result; the other ranks' tensors stay as they are."""
    check_tensor(tensor, "tensor")
    root = root_of(group, dst, group_dst, "dst")
    op, source = _reduction(op, tensor.detach(), "reduce")
    if tensor.numel() == 0:
        return [], [tensor]
    results, tokens = _start(group, "reduce", "reduce", [_flat(source)], op)
    if group.rank() == root:
        write(tensor, results[0])
    return tokens, [tensor]


@_collective("reduce_scatter_tensor")
def reduce_scatter_tensor(output, input, op=ReduceOp.SUM, group=None, async_op=False):  # noqa: A002
    """``output ← op over all ranks of this rank's part of input``; ``input`` is ``output``'s size times the ranks.

    Raises:
        RuntimeError, ValueError: sizes or dtypes do not fit.
    """
    check_tensor(output, "output"), check_tensor(input, "input")
    _check_dtypes(output, input, "reduce_scatter_tensor: input and output")
    if input.numel() != output.numel() * group.size():
        raise RuntimeError(
            f"input tensor must be the same size as output size times world size: got {list(input.shape)} and "
            f"{list(output.shape)} for {group.size()} ranks"
        )
    op, source = _reduction(op, input.detach(), "reduce_scatter_tensor")
    if output.numel() == 0:
        return [], [output]
    results, tokens = _start(group, "reduce_scatter_tensor", "reduce_scatter", [source.reshape(-1)], op)
    write(output, results[0])
    return tokens, [output]


@_collective("reduce_scatter")
def reduce_scatter(output, input_list, op=ReduceOp.SUM, group=None, async_op=False):
    """``output ← op over all ranks of input_list[this rank]``; all tensors have one size.

    Raises:
        ValueError: there is not one tensor for each rank, or sizes differ.
    """
    import jtorch

    check_tensor(output, "output")
    inputs = check_list(input_list, "input_list", group.size())
    _check_dtypes(output, inputs[0], "reduce_scatter: input and output")
    if any(t.numel() != output.numel() for t in inputs):
        raise ValueError(
            f"reduce_scatter: all tensors must have the size of the output, {list(output.shape)}, but got "
            f"{[list(t.shape) for t in inputs]}; reduce tensors of different sizes one by one, with reduce"
        )
    op, source = _reduction(op, jtorch.cat([t.detach().reshape(-1) for t in inputs]), "reduce_scatter")
    if output.numel() == 0:
        return [], [output]
    results, tokens = _start(group, "reduce_scatter", "reduce_scatter", [source], op)
    write(output, results[0])
    return tokens, [output]


# --- one rank's tensor to all --------------------------------------------------------------------------------------


@_collective("broadcast")
def broadcast(tensor, src=None, group=None, async_op=False, group_src=None):
    """``tensor`` of rank ``src`` to all ranks.

    Raises:
        ValueError: ``src`` is no member of the group.
    """
    check_tensor(tensor, "tensor")
    return broadcast_all([tensor], root_of(group, src, group_src, "src"), group, "broadcast"), [tensor]


def broadcast_all(tensors, root: int, group: ProcessGroup, name: str = "broadcast_coalesced") -> list:
    """Broadcast tensors, packed into buckets, from the group's ``root``-th rank; what to wait for."""
    with no_grad():
        sources = [t.detach() for t in tensors]
        buckets = Buckets(sources)
        if not buckets.parts:
            return []
        results, tokens = _start(group, name, "broadcast", buckets.pack(sources), root)
        if group.rank() != root:
            for i, t in buckets.unpack(results):
                write(tensors[i], t)
        return tokens


# --- every rank's tensor to all ------------------------------------------------------------------------------------


@_collective("all_gather_into_tensor")
def all_gather_into_tensor(output_tensor, input_tensor, group=None, async_op=False):
    """The ranks' tensors one after the other, along dimension 0 or along a new one, as ``output_tensor`` has room.

    Raises:
        RuntimeError, ValueError: sizes or dtypes do not fit.
    """
    check_tensor(output_tensor, "output_tensor"), check_tensor(input_tensor, "input_tensor")
    _check_dtypes(output_tensor, input_tensor, "all_gather_into_tensor: input and output")
    if output_tensor.numel() != input_tensor.numel() * group.size():
        raise RuntimeError(
            f"output tensor size must be equal to world_size times input tensor size: got {list(output_tensor.shape)} "
            f"and {list(input_tensor.shape)} for {group.size()} ranks"
        )
    if output_tensor.numel() == 0:
        return [], [output_tensor]
    results, tokens = _start(group, "all_gather_into_tensor", "gather", [_flat(input_tensor)])
    write(output_tensor, results[0])
    return tokens, [output_tensor]


@_collective("all_gather")
def all_gather(tensor_list, tensor, group=None, async_op=False):
    """``tensor_list[i] ← tensor of rank i``. Sizes may differ, if every rank gives the same list of sizes.

    Raises:
        ValueError: there is not one tensor for each rank, or dtypes differ.
        RuntimeError: ``tensor`` has another size than its place in the list.
    """
    import jtorch

    check_tensor(tensor, "tensor")
    outputs = check_list(tensor_list, "tensor_list", group.size())
    _check_dtypes(outputs[0], tensor, "all_gather: input and outputs")
    if outputs[group.rank()].numel() != tensor.numel():
        raise RuntimeError(
            f"all_gather: invalid tensor size at index {group.rank()} (expected {list(tensor.shape)}, got "
            f"{list(outputs[group.rank()].shape)})"
        )
    longest = max(t.numel() for t in outputs)
    if longest == 0:
        return [], outputs
    source = tensor.detach().reshape(-1)
    if tensor.numel() < longest:
        source = jtorch.cat([source, source.new_zeros(longest - tensor.numel())])
    results, tokens = _start(group, "all_gather", "gather", [source])
    for i, t in enumerate(outputs):
        write(t, results[0][i * longest : i * longest + t.numel()])
    return tokens, outputs


# --- every rank a part of every rank's tensor ----------------------------------------------------------------------


@_collective("all_to_all_single")
def all_to_all_single(output, input, output_split_sizes=None, input_split_sizes=None, group=None, async_op=False):  # noqa: A002
    """Part ``i`` of ``input`` goes to rank ``i``; ``output`` gets the parts from all ranks, one after the other.

    Args:
        output_split_sizes: how many rows of dimension 0 come from each rank (default: equal parts).
        input_split_sizes: how many rows go to each rank (default: equal parts).

    Raises:
        RuntimeError: sizes do not fit, here or between ranks.
    """
    check_tensor(output, "output"), check_tensor(input, "input")
    _check_dtypes(output, input, "all_to_all_single: input and output")
    n = group.size()
    to, of = _splits(input, input_split_sizes, n), _splits(output, output_split_sizes, n)
    if not output_split_sizes and not input_split_sizes:
        if output.numel() != input.numel():
            raise RuntimeError(
                f"all_to_all_single: input and output must have one size, but got {list(input.shape)} and "
                f"{list(output.shape)}"
            )
        if input.numel() == 0:
            return [], [output]
        results, tokens = _start(group, "all_to_all_single", "all_to_all", [input.detach()])
        write(output, results[0])
        return tokens, [output]
    received, tokens = _exchange(group, "all_to_all_single", input.detach(), to, of)
    write(output, received)
    return tokens, [output]


def _splits(tensor: Tensor, sizes, n: int) -> list[int]:
    rows = tensor.shape[0] if tensor.dim() else 1
    if not sizes:
        if rows % n:
            raise RuntimeError("Tensor's dim 0 does not divide equally across group size")
        return [rows // n] * n
    if len(sizes) != n:
        raise RuntimeError("Number of tensor splits not equal to group size")
    if sum(sizes) != rows:
        raise RuntimeError("Split sizes doesn't match total dim 0 size")
    return [int(s) for s in sizes]


def _exchange(group, name: str, source: Tensor, to: list[int], of: list[int]):
    """Parts of unequal size, padded to the largest of all ranks (rounded up, so that few programs are compiled)."""
    import jtorch

    n, row = group.size(), tuple(source.shape[1:])
    sizes = jtorch.tensor(to, device=source.device)
    table, _ = _start(group, name, "gather", [sizes], check=f"{source.dtype}, rows of {list(row)}")
    table = table[0].reshape(n, n).tolist()
    coming = [table[r][group.rank()] for r in range(n)]
    if coming != of:
        raise RuntimeError(f"{name}: output_split_sizes are {of}, but the other ranks send {coming}")
    largest = max(map(max, table))
    if largest == 0:
        return source.new_zeros((0, *row)), []
    room = 1 << (largest - 1).bit_length()
    parts = []
    for piece in source.split(to):
        parts += [piece, piece.new_zeros((room - piece.shape[0], *row))]
    results, tokens = _start(group, name, "all_to_all", [jtorch.cat(parts)], check="")
    return jtorch.cat([results[0][r * room : r * room + of[r]] for r in range(n)]), tokens


@_collective("all_to_all")
def all_to_all(output_tensor_list, input_tensor_list, group=None, async_op=False):
    """``output_tensor_list[i] ← input_tensor_list[this rank] of rank i``; sizes may differ.

    Raises:
        ValueError: there is not one tensor for each rank, or dtypes differ.
        RuntimeError: a rank sends another size than is expected of it.
    """
    import jtorch

    outputs = check_list(output_tensor_list, "output_tensor_list", group.size())
    inputs = check_list(input_tensor_list, "input_tensor_list", group.size())
    _check_dtypes(outputs[0], inputs[0], "all_to_all: inputs and outputs")
    source = jtorch.cat([t.detach().reshape(-1) for t in inputs])
    of = [t.numel() for t in outputs]
    received, tokens = _exchange(group, "all_to_all", source, [t.numel() for t in inputs], of)
    for t, piece in zip(outputs, received.split(of), strict=True):
        write(t, piece)
    return tokens, outputs


# --- waiting for each other ----------------------------------------------------------------------------------------


def barrier(group: ProcessGroup | None = None, async_op: bool = False, device_ids=None, timeout=None) -> Work | None:
    """Wait until all ranks of the group have come here, and until what they computed before is done.

    Args:
        device_ids: accepted.
        timeout: how long to wait, a ``timedelta`` (default: the group's).

    Raises:
        DistBackendError: a rank is gone, or does not come in time.
    """
    if outside(group, "barrier"):
        return None
    found = resolve(group)
    limit = found._timeout if timeout is None else seconds(timeout)
    sync()
    checking.agree(found, "barrier", "")
    key = found._next()

    def meet():
        missing = found._job.barrier(key, found._ranks, limit)
        if missing:
            raise DistBackendError(
                f"[rank {found._job.rank}] barrier: ranks {missing} did not come within {limit:.0f} s"
            )

    work = Work(found, "barrier", finish=meet)
    if async_op:
        return work
    work.wait()
    return None


def monitored_barrier(group: ProcessGroup | None = None, timeout=None, wait_all_ranks: bool = False) -> None:
    """As :func:`barrier`, naming the ranks that do not come in time.

    Raises:
        RuntimeError: ranks are missing.
    """
    if outside(group, "monitored_barrier"):
        return
    found = resolve(group)
    limit = found._timeout if timeout is None else seconds(timeout)
    sync()
    missing = found._job.barrier(found._next(), found._ranks, limit, "monitored_barrier")
    if missing:
        raise RuntimeError(
            f"[Rank {found._job.rank}]: Ranks {', '.join(map(str, missing))} failed to pass monitoredBarrier in "
            f"{limit * 1000:.0f} ms"
        )


# --- several at once -----------------------------------------------------------------------------------------------


class _CoalescingManager:
    """What :func:`_coalescing_manager` gives: the collectives of its block have been started one by one."""

    def __init__(self):
        self.works: list[Work] = []

    def append(self, work: Work | None = None) -> None:
        """Have :meth:`wait` wait for ``work``, too."""
        if work is not None:
            self.works.append(work)

    def wait(self) -> None:
        """Wait for what was appended; other results wait by themselves when they are read."""
        for work in self.works:
            work.wait()


@contextlib.contextmanager
def _coalescing_manager(group: ProcessGroup | None = None, device=None, async_ops: bool = False):
    """A block of collectives. They are started as they are called: what a program reads is there either way."""
    if not outside(group, "_coalescing_manager"):
        resolve(group)
    yield _CoalescingManager()
