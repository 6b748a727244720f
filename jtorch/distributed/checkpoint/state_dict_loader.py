"""``load``."""

from __future__ import annotations

import os
from typing import Any

from ..group import ProcessGroup
from .api import deprecated
from .coordination import Ranks
from .default_planner import DefaultLoadPlanner, _EmptyStateDictLoadPlanner
from .filesystem import FileSystemReader, given_or_folder
from .planner import LoadPlanner
from .stateful import Stateful
from .storage import StorageReader


def load(
    state_dict: dict[str, Any], *, checkpoint_id: str | os.PathLike | None = None,
    storage_reader: StorageReader | None = None, planner: LoadPlanner | None = None,
    process_group: ProcessGroup | None = None, no_dist: bool = False,
) -> None:  # fmt: skip
    """Fill a (nested) state dict from a checkpoint, in place.

    Tensors keep their layout: whatever blocks the checkpoint has, each device gets its part. Other objects are
    replaced. Objects are read as ``jtorch.load`` reads them by default: nothing in the files is run, and classes must
    be allowed with ``jtorch.serialization.add_safe_globals``.

    Args:
        state_dict: tensors of the right sizes, :class:`~.stateful.Stateful` objects, which are given what was loaded
            into their ``state_dict()``, and anything else.
        checkpoint_id: the folder.
        storage_reader: where to read instead.
        planner: what is read (default: :class:`~.default_planner.DefaultLoadPlanner`).
        process_group: the ranks that load together; each of them calls this.
        no_dist: this process loads alone.

    Raises:
        CheckpointException: something failed, on any rank: a name is missing in the checkpoint, a size differs, a file
            is damaged or names what is not allowed.
        RuntimeError: neither ``checkpoint_id`` nor ``storage_reader`` is given.
    """
    reader = given_or_folder(storage_reader, checkpoint_id, FileSystemReader, "storage_reader")
    plain = {key: state_dict[key].state_dict() if isinstance(state_dict[key], Stateful) else state_dict[key]
             for key in sorted(state_dict)}  # fmt: skip
    _load_state_dict(plain, reader, process_group, no_dist=no_dist, planner=planner)
    for key, value in plain.items():
        if isinstance(state_dict[key], Stateful):
            state_dict[key].load_state_dict(value)
        else:
            state_dict[key] = value


def load_state_dict(
    state_dict: dict[str, Any], storage_reader: StorageReader, process_group: ProcessGroup | None = None,
    coordinator_rank: int = 0, no_dist: bool = False, planner: LoadPlanner | None = None,
) -> None:  # fmt: skip
    """:func:`load` under its older name, without stateful objects.

    Raises:
        NotImplementedError: ``coordinator_rank`` other than 0.
    """
    deprecated("load_state_dict", "load")
    storage_reader.reset()
    _load_state_dict(state_dict, storage_reader, process_group, coordinator_rank, no_dist, planner)


def _load_state_dict(
    state_dict: dict[str, Any], storage_reader: StorageReader, process_group: ProcessGroup | None = None,
    coordinator_rank: int = 0, no_dist: bool = False, planner: LoadPlanner | None = None,
) -> None:  # fmt: skip
    if coordinator_rank:
        raise NotImplementedError(f"coordinator_rank={coordinator_rank} is not supported: rank 0 coordinates")
    ranks, planner = Ranks(process_group, no_dist, "load"), planner or DefaultLoadPlanner()

    def local_plan():
        metadata = storage_reader.read_metadata()
        planner.set_up_planner(state_dict, metadata, ranks.is_coordinator)
        storage_reader.set_up_storage_reader(metadata, ranks.is_coordinator, rank=ranks.rank)
        return storage_reader.prepare_local_plan(planner.create_local_plan())

    def global_plan(plans):
        return storage_reader.prepare_global_plan(planner.create_global_plan(plans))

    plan = planner.finish_plan(ranks.together("plan", local_plan, global_plan))

    def read():
        planner.begin(plan)
        storage_reader.read_data(plan, planner).wait()

    ranks.together("read", read, lambda done: done)


def _load_state_dict_from_keys(
    keys: set[str] | str | None = None, *, checkpoint_id: str | os.PathLike | None = None,
    storage_reader: StorageReader | None = None, process_group: ProcessGroup | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A new state dict of what ``keys`` name in a checkpoint (names or their beginnings), or of everything in it."""
    keys = {keys} if isinstance(keys, str) else keys
    state_dict: dict[str, Any] = {}
    reader = given_or_folder(storage_reader, checkpoint_id, FileSystemReader, "storage_reader")
    _load_state_dict(state_dict, reader, process_group, planner=_EmptyStateDictLoadPlanner(keys))
    return state_dict
