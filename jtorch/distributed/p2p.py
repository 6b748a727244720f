"""Tensors from one rank to another: send and receive, scatter and gather.

They travel through the mailboxes of the ranks, so that a send never waits for its receive; tensors on an accelerator
go by way of the host.
"""

from __future__ import annotations

import numpy as np

from .. import devices, dtypes
from ..tape.modes import no_grad
from ..tensor.dispatch import wrap
from ..trace.value import put
from . import checking
from .collectives import check_list, check_tensor, write
from .group import ProcessGroup, get_global_rank, outside, resolve, root_of
from .work import Work


def _post(group: ProcessGroup, to: int, channel: str, tensor):
    """Start sending a tensor to a global rank."""
    array = np.asarray(tensor.detach()._value().concrete("send"))
    header = {"dtype": dtypes.of_numpy(array.dtype).name, "shape": list(array.shape)}
    payload = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return group._job.mailbox.send(to, channel, header, payload)


@no_grad()
def _fill(tensor, message, source: int) -> None:
    """Write a message into a tensor.

    Raises:
        RuntimeError: dtypes or sizes differ.
    """
    header, payload = message
    if header["dtype"] != tensor.dtype.name or int(np.prod(header["shape"])) != tensor.numel():
        raise RuntimeError(
            f"rank {source} sent a tensor of shape {header['shape']} and dtype torch.{header['dtype']}, but the one to "
            f"receive it has shape {list(tensor.shape)} and dtype {tensor.dtype}"
        )
    array = np.frombuffer(payload, dtypes.of_name(header["dtype"]).np).reshape(header["shape"])
    write(tensor, wrap(put(array, devices.resolve(tensor.device))))


def _peer(group: ProcessGroup, rank, group_rank, name: str) -> int:
    """The global rank of a partner."""
    other = get_global_rank(group, root_of(group, rank, group_rank, name))
    if other == group._job.rank:
        what = "destination" if name == "dst" else "source"
        raise ValueError(f"Invalid {what} rank: {what} rank should not be the same as the rank of the current process.")
    return other


def isend(
    tensor, dst: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_dst: int | None = None
):
    """Start sending ``tensor``, as it is now, to rank ``dst``.

    Raises:
        ValueError: ``dst`` is this rank, or no member.
    """
    check_tensor(tensor, "tensor")
    if outside(group, "isend"):
        return None
    found = resolve(group)
    to = _peer(found, dst, group_dst, "dst")
    message = _post(found, to, f"{found._name}/tag{tag}", tensor)
    work = Work(name="send", result=[tensor], finish=lambda: found._job.mailbox.sent(to, message))
    work.is_completed = lambda: message.done.is_set()
    return work


def send(tensor, dst: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_dst: int | None = None):
    """:func:`isend`, and wait until the tensor may be changed."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def irecv(
    tensor, src: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_src: int | None = None
):
    """Receive into ``tensor`` from rank ``src`` (None: from any); ``wait`` for it before reading.

    Raises:
        ValueError: ``src`` is this rank, or no member.
    """
    check_tensor(tensor, "tensor")
    if outside(group, "irecv"):
        return None
    found = resolve(group)
    box, channel = found._job.mailbox, f"{found._name}/tag{tag}"
    others = [r for r in found._ranks if r != found._job.rank]
    given = src is not None or group_src is not None
    source = _peer(found, src, group_src, "src") if given else None
    number = box.claim(source, channel) if given else None

    def finish():
        nonlocal source, number
        if source is None:
            source = box.any(others, channel, found._timeout)
            number = box.claim(source, channel)
        _fill(tensor, box.take(source, channel, number, found._timeout), source)

    work = Work(name="recv", result=[tensor], finish=finish)
    work._source_rank = lambda: source

    def is_completed():
        if not work._waited and source is not None and box.here(source, channel, number):
            work.wait()
        return work._waited

    work.is_completed = is_completed
    return work


def recv(tensor, src: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_src: int | None = None):
    """Receive into ``tensor`` from rank ``src`` (None: from any); the sender's rank, or -1 outside the group."""
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return work._source_rank()


class P2POp:
    """One operation for :func:`batch_isend_irecv`: ``P2POp(isend, tensor, peer)``.

    Raises:
        ValueError: ``op`` is neither ``isend`` nor ``irecv``.
    """

    def __init__(self, op, tensor, peer: int | None = None, group=None, tag: int = 0, group_peer: int | None = None):
        if op not in (isend, irecv):
            raise ValueError(
                "Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                "``torch.distributed.irecv``."
            )
        self.op, self.tensor, self.group, self.tag = op, check_tensor(tensor, "tensor"), group, tag
        self.peer, self.group_peer = peer, group_peer

    def __repr__(self) -> str:
        return f"P2POp({self.op.__name__}, peer={self.peer}, tag={self.tag}, {list(self.tensor.shape)})"


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Start several sends and receives.

    Raises:
        ValueError: the list is empty or holds something else.
    """
    if not p2p_op_list or not all(isinstance(p, P2POp) for p in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to to be of type ``torch.distributed.P2POp``.")
    works = [p.op(p.tensor, p.peer, p.group, p.tag, p.group_peer) for p in p2p_op_list]
    return [w for w in works if w is not None]


# --- one to all and all to one -------------------------------------------------------------------------------------


def _begin(group, name: str, tensor) -> str:
    checking.agree(group, name, f"{tensor.dtype}{list(tensor.shape)}")
    return group._next()


def _as_asked(work: Work, async_op: bool) -> Work | None:
    if async_op:
        return work
    work.wait()
    return None


def gather(
    tensor, gather_list=None, dst: int | None = None, group: ProcessGroup | None = None, async_op: bool = False,
    group_dst: int | None = None,
):  # fmt: skip
    """On rank ``dst`` (default: the first), ``gather_list[i] ← tensor of rank i``.

    Raises:
        ValueError: ``gather_list`` is missing there, or given elsewhere.
    """
    check_tensor(tensor, "tensor")
    if outside(group, "gather"):
        return None
    found = resolve(group)
    root = 0 if dst is None and group_dst is None else root_of(found, dst, group_dst, "dst")
    me = found.rank()
    if me != root and gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    if me == root:
        if not gather_list:
            raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
        gather_list = check_list(gather_list, "gather_list", found.size())
    channel = _begin(found, "gather", tensor)
    box = found._job.mailbox
    if me != root:
        message = _post(found, found._ranks[root], channel, tensor)
        return _as_asked(Work(name="gather", finish=lambda: box.sent(found._ranks[root], message)), async_op)

    def finish():
        for i, target in enumerate(gather_list):
            if i == me:
                with no_grad():
                    write(target, tensor.detach().clone())
            else:
                r = found._ranks[i]
                _fill(target, box.take(r, channel, 0, found._timeout), r)

    return _as_asked(Work(name="gather", result=gather_list, finish=finish), async_op)


def scatter(
    tensor, scatter_list=None, src: int | None = None, group: ProcessGroup | None = None, async_op: bool = False,
    group_src: int | None = None,
):  # fmt: skip
    """``tensor ← scatter_list[this rank]`` of rank ``src`` (default: the first).

    Raises:
        ValueError: ``scatter_list`` is missing there, or given elsewhere.
    """
    check_tensor(tensor, "tensor")
    if outside(group, "scatter"):
        return None
    found = resolve(group)
    root = 0 if src is None and group_src is None else root_of(found, src, group_src, "src")
    me = found.rank()
    if me != root and scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    if me == root:
        if not scatter_list:
            raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
        scatter_list = check_list(scatter_list, "scatter_list", found.size())
    channel = _begin(found, "scatter", tensor)
    box = found._job.mailbox
    if me == root:
        posted = [(r, _post(found, r, channel, t)) for r, t in zip(found._ranks, scatter_list, strict=True) if
                  r != found._job.rank]  # fmt: skip
        with no_grad():
            write(tensor, scatter_list[me].detach().clone())
        return _as_asked(Work(name="scatter", finish=lambda: [box.sent(r, m) for r, m in posted]), async_op)
    r = found._ranks[root]
    work = Work(name="scatter", result=[tensor],
                finish=lambda: _fill(tensor, box.take(r, channel, 0, found._timeout), r))  # fmt: skip
    return _as_asked(work, async_op)
