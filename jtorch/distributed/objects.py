"""Collectives on any Python objects that can be pickled.

Unpickling runs code that the sender chooses, so all ranks must trust each other, as in PyTorch.
"""

from __future__ import annotations

import pickle

from . import checking
from .group import ProcessGroup, outside, resolve, root_of
from .p2p import _peer


def _send(group: ProcessGroup, to: int, channel: str, obj):
    return to, group._job.mailbox.send(to, channel, {}, pickle.dumps(obj, pickle.HIGHEST_PROTOCOL))


def _take(group: ProcessGroup, source: int, channel: str, number: int = 0):
    return pickle.loads(group._job.mailbox.take(source, channel, number, group._timeout)[1])


def _settle(group: ProcessGroup, posted) -> None:
    for to, message in posted:
        group._job.mailbox.sent(to, message)


def _begin(group: ProcessGroup, name: str) -> str:
    checking.agree(group, name, "")
    return group._next()


def _others(group: ProcessGroup) -> list[int]:
    return [r for r in group._ranks if r != group._job.rank]


def _root(group: ProcessGroup, rank, group_rank, name: str) -> int:
    """The global rank of the root; the first one by default."""
    return group._ranks[0 if rank is None and group_rank is None else root_of(group, rank, group_rank, name)]


def all_gather_object(object_list: list, obj, group: ProcessGroup | None = None) -> None:
    """``object_list[i] ← obj of rank i``.

    Raises:
        ValueError: the list has another length than the group.
    """
    if outside(group, "all_gather_object"):
        return
    found = resolve(group)
    if len(object_list) != found.size():
        raise ValueError(f"object_list must have {found.size()} elements, one for each rank, not {len(object_list)}")
    channel = _begin(found, "all_gather_object")
    posted = [_send(found, r, channel, obj) for r in _others(found)]
    for i, r in enumerate(found._ranks):  # our own goes through pickle too: a copy, as all others are
        object_list[i] = pickle.loads(pickle.dumps(obj)) if r == found._job.rank else _take(found, r, channel)
    _settle(found, posted)


def gather_object(
    obj, object_gather_list: list | None = None, dst: int | None = None, group: ProcessGroup | None = None,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """On rank ``dst`` (default: the first), ``object_gather_list[i] ← obj of rank i``.

    Raises:
        ValueError: the list is missing there, given elsewhere, or of another length than the group.
    """
    if outside(group, "gather_object"):
        return
    found = resolve(group)
    root = _root(found, dst, group_dst, "dst")
    here = root == found._job.rank
    if here and not object_gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    if not here and object_gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    if here and len(object_gather_list) != found.size():
        raise ValueError(f"object_gather_list must have {found.size()} elements, but has {len(object_gather_list)}")
    channel = _begin(found, "gather_object")
    if not here:
        _settle(found, [_send(found, root, channel, obj)])
        return
    for i, r in enumerate(found._ranks):
        object_gather_list[i] = pickle.loads(pickle.dumps(obj)) if r == root else _take(found, r, channel)


def broadcast_object_list(
    object_list: list, src: int | None = None, group: ProcessGroup | None = None, device=None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """The objects of ``object_list`` on rank ``src`` (default: the first) to all ranks; the lists have one length."""
    if outside(group, "broadcast_object_list"):
        return
    found = resolve(group)
    root = _root(found, src, group_src, "src")
    channel = _begin(found, "broadcast_object_list")
    if root == found._job.rank:
        _settle(found, [_send(found, r, channel, list(object_list)) for r in _others(found)])
    else:
        _fill(object_list, _take(found, root, channel), root)


def _fill(target: list, objects: list, source: int) -> None:
    if len(objects) != len(target):
        raise ValueError(f"object_list has {len(target)} elements here, but {len(objects)} on rank {source}")
    target[:] = objects


def scatter_object_list(
    scatter_object_output_list: list, scatter_object_input_list: list | None = None, src: int | None = None,
    group: ProcessGroup | None = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """``scatter_object_output_list[0] ← scatter_object_input_list[this rank]`` of rank ``src`` (default: the first).

    Raises:
        ValueError: the input list is missing there, or of another length than the group; the output list is empty.
    """
    if outside(group, "scatter_object_list"):
        return
    found = resolve(group)
    if not isinstance(scatter_object_output_list, list) or len(scatter_object_output_list) < 1:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    root = _root(found, src, group_src, "src")
    here = root == found._job.rank
    if here and (scatter_object_input_list is None or len(scatter_object_input_list) != found.size()):
        raise ValueError(f"scatter_object_input_list must have {found.size()} elements, one for each rank")
    channel = _begin(found, "scatter_object_list")
    if not here:
        scatter_object_output_list[0] = _take(found, root, channel)
        return
    pairs = list(zip(found._ranks, scatter_object_input_list, strict=True))
    posted = [_send(found, r, channel, obj) for r, obj in pairs if r != root]
    scatter_object_output_list[0] = pickle.loads(pickle.dumps(dict(pairs)[root]))
    _settle(found, posted)


def send_object_list(
    object_list: list, dst: int | None = None, group: ProcessGroup | None = None, device=None,
    group_dst: int | None = None, use_batch: bool = False,
) -> None:  # fmt: skip
    """Send the objects of a list to rank ``dst``."""
    if outside(group, "send_object_list"):
        return
    found = resolve(group)
    to = _peer(found, dst, group_dst, "dst")
    _settle(found, [_send(found, to, f"{found._name}/objects", list(object_list))])


def recv_object_list(
    object_list: list, src: int | None = None, group: ProcessGroup | None = None, device=None,
    group_src: int | None = None, use_batch: bool = False,
) -> int:  # fmt: skip
    """Receive objects into a list of the same length from rank ``src`` (None: from any); the sender's rank."""
    if outside(group, "recv_object_list"):
        return -1
    found = resolve(group)
    box, channel = found._job.mailbox, f"{found._name}/objects"
    if src is None and group_src is None:
        source = box.any(_others(found), channel, found._timeout)
    else:
        source = _peer(found, src, group_src, "src")
    _fill(object_list, _take(found, source, channel, box.claim(source, channel)), source)
    return source
