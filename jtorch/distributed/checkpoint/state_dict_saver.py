"""``save`` and ``async_save``."""

from __future__ import annotations

import enum
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ..group import ProcessGroup
from .api import deprecated
from .coordination import Ranks
from .default_planner import DefaultSavePlanner
from .filesystem import FileSystemWriter, given_or_folder
from .metadata import Metadata
from .planner import SavePlanner
from .staging import AsyncStager, BlockingAsyncStager
from .stateful import Stateful
from .storage import StorageWriter


class AsyncCheckpointerType(enum.Enum):
    """What writes an asynchronous save: a thread, or (not supported) a process."""

    THREAD = "thread"
    PROCESS = "process"


@dataclass
class AsyncSaveResponse:
    """What ``async_save`` returns where the stager gives a future: both are ``concurrent.futures.Future``."""

    staging_completion: Future
    upload_completion: Future


def save(
    state_dict: dict, *, checkpoint_id: str | os.PathLike | None = None, storage_writer: StorageWriter | None = None,
    planner: SavePlanner | None = None, process_group: ProcessGroup | None = None, no_dist: bool = False,
    use_collectives: bool = True,
) -> Metadata:  # fmt: skip
    """Write a (nested) state dict to a folder, in PyTorch's format.

    A tensor that lies on several devices is written in the blocks that they hold. What several ranks hold is written
    by one of them. A checkpoint that is there already stays valid until the new one is whole.

    Args:
        state_dict: tensors, :class:`~.stateful.Stateful` objects, whose ``state_dict()`` is saved, and what can be
            pickled.
        checkpoint_id: the folder.
        storage_writer: where to write instead.
        planner: what is written (default: :class:`~.default_planner.DefaultSavePlanner`).
        process_group: the ranks that save together; each of them calls this.
        no_dist: this process saves alone.

    Returns:
        The metadata (on the first rank; on the others None).

    Raises:
        CheckpointException: something failed, on any rank.
        RuntimeError: neither ``checkpoint_id`` nor ``storage_writer`` is given.
        NotImplementedError: ``use_collectives=False``.
    """
    _check_collectives(use_collectives)
    plain = _stateful_to_state_dict(state_dict)
    writer = given_or_folder(storage_writer, checkpoint_id, FileSystemWriter, "storage_writer")
    return _save_state_dict(plain, writer, process_group, no_dist, planner)


def async_save(
    state_dict: dict, *, checkpoint_id: str | os.PathLike | None = None, storage_writer: StorageWriter | None = None,
    planner: SavePlanner | None = None, process_group: ProcessGroup | None = None,
    async_checkpointer_type: AsyncCheckpointerType = AsyncCheckpointerType.THREAD,
    async_stager: AsyncStager | None = None, no_dist: bool = False, use_collectives: bool = True,
) -> Future | AsyncSaveResponse:  # fmt: skip
    """As :func:`save`, but only the copy to the host is made before it returns; a thread writes it.

    Args:
        async_stager: makes the copy (default: the writer, or :class:`~.staging.BlockingAsyncStager`).

    Returns:
        A ``concurrent.futures.Future`` of the metadata. Wait for it before the next save to the same folder, and before
        the program ends.

    Raises:
        NotImplementedError: ``AsyncCheckpointerType.PROCESS``, or ``use_collectives=False``.
    """
    _check_collectives(use_collectives)
    if async_checkpointer_type is not AsyncCheckpointerType.THREAD:
        raise NotImplementedError(
            "async_save: a process of its own is not supported; use AsyncCheckpointerType.THREAD (the default)"
        )
    stager = async_stager or (storage_writer if isinstance(storage_writer, AsyncStager) else BlockingAsyncStager())
    staged = stager.stage(_stateful_to_state_dict(state_dict))
    writer = given_or_folder(storage_writer, checkpoint_id, FileSystemWriter, "storage_writer")
    ranks = Ranks(process_group, no_dist, "async_save")
    pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def write():
        copy = staged.result() if isinstance(staged, Future) else staged
        return _save(copy, writer, ranks, planner or DefaultSavePlanner())

    upload = pool.submit(write)
    pool.shutdown(wait=False)
    if not isinstance(staged, Future):
        return upload
    staging: Future = Future()
    staged.add_done_callback(
        lambda f: staging.set_exception(f.exception()) if f.exception() else staging.set_result(None)
    )
    return AsyncSaveResponse(staging, upload)


def save_state_dict(
    state_dict: dict, storage_writer: StorageWriter, process_group: ProcessGroup | None = None,
    coordinator_rank: int = 0, no_dist: bool = False, planner: SavePlanner | None = None,
) -> Metadata:  # fmt: skip
    """:func:`save` under its older name; stateful objects are saved as they are.

    Raises:
        NotImplementedError: ``coordinator_rank`` other than 0.
    """
    deprecated("save_state_dict", "save")
    if coordinator_rank:
        raise NotImplementedError(f"coordinator_rank={coordinator_rank} is not supported: rank 0 coordinates")
    storage_writer.reset()
    return _save_state_dict(state_dict, storage_writer, process_group, no_dist, planner)


def _check_collectives(use_collectives: bool) -> None:
    if not use_collectives:
        raise NotImplementedError(
            "use_collectives=False (metadata of each rank's own) is not supported: leave it out, or save in each "
            "process to a folder of its own with no_dist=True"
        )


def _stateful_to_state_dict(state_dict: dict) -> dict:
    return {key: value.state_dict() if isinstance(value, Stateful) else value for key, value in state_dict.items()}


def _save_state_dict(
    state_dict: dict, storage_writer: StorageWriter, process_group: ProcessGroup | None = None, no_dist: bool = False,
    planner: SavePlanner | None = None,
) -> Metadata:  # fmt: skip
    return _save(state_dict, storage_writer, Ranks(process_group, no_dist, "save"), planner or DefaultSavePlanner())


def _save(state_dict: dict, writer: StorageWriter, ranks: Ranks, planner: SavePlanner) -> Metadata:
    metadata: list[Metadata] = []  # of the coordinator

    def local_plan():
        planner.set_up_planner(
            state_dict=state_dict, storage_meta=writer.storage_meta(), is_coordinator=ranks.is_coordinator
        )
        writer.set_up_storage_writer(ranks.is_coordinator, rank=ranks.rank)
        return writer.prepare_local_plan(planner.create_local_plan())

    def global_plan(plans):
        plans, made = planner.create_global_plan(plans)
        metadata.append(made)
        return writer.prepare_global_plan(plans)

    def finish(results):
        writer.finish(metadata[0], results)
        return [metadata[0]] + [None] * (len(results) - 1)

    plan = planner.finish_plan(ranks.together("plan", local_plan, global_plan))
    return ranks.together("write", lambda: writer.write_data(plan, planner).wait(), finish)
