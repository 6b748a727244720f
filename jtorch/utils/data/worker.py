"""What a loader's worker process does: fetch and collate the batches it is asked for."""

from __future__ import annotations

import enum
import itertools
import os
import queue
import random
import sys
import threading
import traceback
from dataclasses import dataclass

import numpy as np


class Word(enum.Enum):
    """What the two sides say to each other besides tasks and batches."""

    FINISH = enum.auto()  # the worker may end
    RESUME = enum.auto()  # another pass begins
    ENDED = enum.auto()  # the worker's stream has ended


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker process knows about itself.

    Attributes:
        id: from 0 to ``num_workers - 1``.
        num_workers: how many there are.
        seed: what this worker's generators were seeded with, the loader's base seed + ``id``.
        dataset: this worker's copy of the data set.
    """

    id: int
    num_workers: int
    seed: int
    dataset: object


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """The :class:`WorkerInfo` of this worker process; None in the main process."""
    return _info


@dataclass
class Job:
    """What all workers of a loader share."""

    dataset: object
    collate_fn: object
    worker_init_fn: object
    num_workers: int
    base_seed: int
    iterable: bool
    batched: bool
    drop_last: bool
    pipe_seed: int | None = None  # of data pipes that draw
    rank_and_world: tuple[int, int] = (0, 1)


def rank_and_world(dataset) -> tuple[int, int]:
    """This process's place in the default process group, where the data set is a pipe that it shares."""
    from jtorch.utils.data.datapipes.datapipe import IterDataPipe, MapDataPipe

    distributed = sys.modules.get("jtorch.distributed")
    if distributed is None or not isinstance(dataset, (IterDataPipe, MapDataPipe)):
        return 0, 1
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def set_up(dataset, pipe_seed: int | None, place: tuple[int, int] | None = None, worker: tuple[int, int] = (0, 1)):
    """Before a pass over a data pipe: seed the pipes that draw, and take this process's share."""
    from jtorch.utils.data.datapipes.datapipe import IterDataPipe, MapDataPipe

    if not isinstance(dataset, (IterDataPipe, MapDataPipe)):
        return
    import jtorch
    from jtorch.utils.data.datapipes.iter.sharding import SHARDING_PRIORITIES
    from jtorch.utils.data.graph_settings import apply_random_seed, apply_sharding

    if pipe_seed is not None:
        apply_random_seed(dataset, jtorch.Generator().manual_seed(pipe_seed))
    rank, world = place or rank_and_world(dataset)
    number, workers = worker
    if world > 1:
        apply_sharding(dataset, world, rank, SHARDING_PRIORITIES.DISTRIBUTED)
    if workers > 1:
        apply_sharding(dataset, workers, number, SHARDING_PRIORITIES.MULTIPROCESSING)


class Failure:
    """An exception of a worker, on its way to the main process."""

    def __init__(self, error: BaseException, where: str):
        self.kind, self.where = type(error), where
        self.text = "".join(traceback.format_exception(error))

    def reraise(self):
        """Raise it again here, with the worker's traceback in the message.

        Raises:
            Exception: of the original type; RuntimeError where that cannot be made from a message.
        """
        message = f"Caught {self.kind.__name__} {self.where}.\nOriginal {self.text}"
        if issubclass(self.kind, KeyError):
            message = _Verbatim(message)
        try:
            error = self.kind(message)
        except Exception:
            raise RuntimeError(message) from None
        raise error


class _Verbatim(str):
    """KeyError prints the repr of its argument, which would hide the lines of a traceback."""

    __repr__ = str.__str__


def fetcher(job: Job):
    """A function from an index (or list of indices) to a batch; at a stream's end it raises StopIteration."""
    from jtorch.utils.data.collate import default_collate
    from jtorch.utils.data.dataset import fetch, fetch_collated

    collate = job.collate_fn
    if job.iterable:
        stream = iter(job.dataset)
        if not job.batched:
            return lambda index: collate(next(stream))

        def from_stream(indices):
            samples = list(itertools.islice(stream, len(indices)))
            if not samples or (job.drop_last and len(samples) < len(indices)):
                raise StopIteration
            return collate(samples)

        return from_stream
    if not job.batched:
        return lambda index: collate(job.dataset[index])

    def by_index(indices):
        batch = fetch_collated(job.dataset, indices) if collate is default_collate else None
        return collate(fetch(job.dataset, indices)) if batch is None else batch

    return by_index


def main(connection, others: list) -> None:
    """The worker's life. ``others``: connections that a forked worker has inherited and does not use."""
    for other in others:
        other.close()
    # Batches are made in host memory, by one thread: the machine's other cores belong to the other workers.
    os.environ["NPROC"] = "1"
    os.environ.pop("XLA_FLAGS", None)
    import jax

    jax.config.update("jax_platforms", "cpu")
    try:
        _work(connection)
    except (KeyboardInterrupt, BrokenPipeError, EOFError, ConnectionResetError):
        pass  # the main process raises the first, and the others mean that it is gone


def _generate_state(base_seed: int, worker_id: int) -> list[int]:
    """What NumPy is seeded with in a worker."""
    words = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    return np.random.SeedSequence(words).generate_state(4).tolist()


def _seed(job: Job, worker_id: int) -> None:
    import jtorch

    global _info
    seed = job.base_seed + worker_id
    random.seed(seed)
    jtorch.manual_seed(seed)
    np.random.seed(_generate_state(job.base_seed, worker_id))
    _info = WorkerInfo(worker_id, job.num_workers, seed, job.dataset)


def _work(connection) -> None:
    from jtorch.multiprocessing import transport

    worker_id = connection.recv()
    where = f"in DataLoader worker process {worker_id}"
    failure = fetch = job = None
    try:
        job = transport.receive(connection)
        _seed(job, worker_id)
        set_up(job.dataset, job.pipe_seed, job.rank_and_world, (worker_id, job.num_workers))
        if job.worker_init_fn is not None:
            job.worker_init_fn(worker_id)
        fetch = fetcher(job)
    except Exception as error:
        failure = Failure(error, where)

    tasks: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    ended = False
    while (task := tasks.get()) is not Word.FINISH:
        number, index = task
        if number is Word.RESUME:
            ended = False
            try:
                set_up(job.dataset, index, job.rank_and_world)
                fetch = fetcher(job)
            except Exception as error:
                failure = Failure(error, where)
            continue
        if ended:
            continue
        if failure is not None:
            result, failure = failure, None
        else:
            try:
                result = fetch(index)
            except StopIteration as error:
                ended = job.iterable
                result = Word.ENDED if ended else Failure(error, where)
            except Exception as error:
                result = Failure(error, where)
        _answer(connection, number, result, where)
        del result


def _answer(connection, number: int, result, where: str) -> None:
    from jtorch.multiprocessing import transport

    try:
        packed = transport.Packed((number, result))
    except Exception as error:  # what cannot be pickled
        packed = transport.Packed((number, Failure(error, where)))
    try:
        packed.send(connection)
    finally:
        packed.close()


def _listen(connection, tasks: queue.SimpleQueue) -> None:
    """Take tasks off the connection at once, so that the main process never waits to put one."""
    try:
        while True:
            task = connection.recv()
            tasks.put(task)
            if task is Word.FINISH:
                return
    except (EOFError, OSError):
        # The main process is gone. Whatever is being computed, nobody will want it.
        sys.stderr.flush()
        os._exit(0)
