"""One pass over a loader whose batches are made by worker processes: the main process's side.

Every worker has a connection of its own, on which it is sent numbered indices and answers with numbered batches. Tasks
go round the workers in turn, ``prefetch_factor`` of them ahead for each; batches are handed out in the order of their
numbers, whoever was quicker.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
import warnings
import weakref
from multiprocessing import connection as mp_connection

from jtorch.utils.data.iteration import _BaseDataLoaderIter, _DatasetKind
from jtorch.utils.data.sampler import random_seed
from jtorch.utils.data.worker import Failure, Job, Word, main, rank_and_world

#: Seconds a worker may go on after it was told to finish.
GRACE = 5.0


class _Worker:
    """A worker process and the connection to it."""

    def __init__(self, context, worker_id: int, others: list):
        self.connection, theirs = mp_connection.Pipe()
        forked = context.get_start_method() == "fork"
        try:
            self.process = context.Process(
                target=main, args=(theirs, [*others, self.connection] if forked else []), daemon=True,
                name=f"DataLoader-{worker_id}",
            )  # fmt: skip
            self.process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()
        self.active = True  # it has not reported the end of its stream
        self.outstanding = 0

    def fate(self) -> str:
        """How the process ended, in words."""
        self.process.join(1)
        code, pid = self.process.exitcode, self.process.pid
        if code is not None and code < 0:
            try:
                name = signal.strsignal(-code) or f"signal {-code}"
            except ValueError:
                name = f"signal {-code}"
            hint = " It is possible that the machine is out of memory." if -code == signal.SIGKILL else ""
            return f"DataLoader worker (pid {pid}) is killed by signal: {name}.{hint}"
        return f"DataLoader worker (pid(s) {pid}) exited unexpectedly with exit code {code}"


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.connection.send(Word.FINISH)
    deadline = time.monotonic() + GRACE
    for worker in workers:
        # A worker in the middle of an answer ends only when somebody reads it, or nobody can.
        worker.connection.close()
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.exitcode is None:
            worker.process.terminate()
            worker.process.join(1)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
    workers.clear()


class WorkersIterator(_BaseDataLoaderIter):
    """The iterator of a loader with ``num_workers`` > 0."""

    def __init__(self, loader, base_seed: int | None = None, pipe_seed: int | None = None):
        from jtorch import multiprocessing
        from jtorch.multiprocessing.transport import Packed

        self._loader, self._iterable = loader, loader._dataset_kind == _DatasetKind.Iterable
        base_seed = random_seed(loader.generator) if base_seed is None else base_seed
        self._persistent = loader.persistent_workers
        context = multiprocessing.context_of(loader.multiprocessing_context)
        job = Job(
            loader.dataset, loader.collate_fn, loader.worker_init_fn, loader.num_workers, base_seed,
            self._iterable, loader._auto_collation, loader.drop_last, pipe_seed, rank_and_world(loader.dataset),
        )  # fmt: skip
        self._workers: list[_Worker] = []
        self.shutdown = weakref.finalize(self, _stop, self._workers)
        packed = Packed(job)  # once for all workers: what is large in it lies in memory they share, copied on write
        try:
            for worker_id in range(loader.num_workers):
                others = [worker.connection for worker in self._workers]
                self._workers.append(_Worker(context, worker_id, others))
            for worker_id, worker in enumerate(self._workers):
                with self._watched(worker):
                    worker.connection.send(worker_id)
                    packed.send(worker.connection, worker.process.pid)
        except BaseException:
            self.shutdown()
            raise
        finally:
            packed.close()
        self._begin()

    def restart(self, pipe_seed: int | None = None) -> WorkersIterator:
        """Begin another pass with the same worker processes (``persistent_workers``)."""
        while self._tasks:  # what was fetched ahead of a pass that was broken off
            self._collect(self._wait())
        for worker in self._workers:
            self._put(worker, (Word.RESUME, pipe_seed))
        self._begin()
        return self

    @property
    def alive(self) -> bool:
        return self.shutdown.alive

    def _begin(self) -> None:
        loader = self._loader
        self._indices = iter(loader._index_sampler)
        self._turns = itertools.cycle(self._workers)
        self._sent = self._next = self._yielded = 0
        self._tasks: dict[int, _Worker] = {}  # number of each batch under way, and who makes it
        self._done: dict[int, object] = {}  # batches that came before their turn
        self._announced = getattr(loader, "_IterableDataset_len_called", None) if self._iterable else None
        for worker in self._workers:
            worker.active, worker.outstanding = True, 0
        for _ in range(loader.prefetch_factor * loader.num_workers):
            self._ask()

    def _shutdown_workers(self) -> None:
        """End the workers; the pass is over."""
        self.shutdown()

    def __next__(self):
        if not self.alive:
            raise StopIteration
        try:
            batch = self._take()
            if isinstance(batch, Failure):
                batch.reraise()
        except StopIteration:
            if not self._persistent:
                self.shutdown()
            raise
        except RuntimeError:
            if any(worker.process.exitcode is not None for worker in self._workers):
                self.shutdown()  # one of them is gone
            raise
        self._yielded += 1
        if self._announced is not None and self._yielded > self._announced:
            warnings.warn(
                f"Length of IterableDataset {self._loader.dataset} was reported to be {self._announced} (when "
                f"accessing len(dataloader)), but {self._yielded} samples have been fetched. For multiprocessing "
                "data-loading, this could be caused by not properly configuring the IterableDataset replica at each "
                "worker. Please see https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for "
                "examples.",
                stacklevel=2,
            )
        return batch

    def _take(self):
        """The next batch to hand out; asks for another one in its place."""
        in_order = self._loader.in_order
        while True:
            if in_order:
                while self._next < self._sent and self._next not in self._tasks and self._next not in self._done:
                    self._next += 1  # of a worker whose stream had ended
                if self._next in self._done:
                    batch = self._done.pop(self._next)
                    self._next += 1
                    break
            elif self._done:
                batch = self._done.pop(next(iter(self._done)))
                break
            if not self._tasks:
                raise StopIteration
            self._collect(self._wait())
        self._ask()
        return batch

    def _wait(self) -> _Worker:
        """A worker that has an answer for us.

        Raises:
            RuntimeError: a worker is gone, or none answered within the loader's ``timeout``.
        """
        timeout = self._loader.timeout
        busy = {worker.connection: worker for worker in self._workers if worker.outstanding}
        ends = {worker.process.sentinel: worker for worker in busy.values()}
        ready = mp_connection.wait([*busy, *ends], timeout if timeout > 0 else None)
        if not ready:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
        for which in ready:
            if which in busy:
                return busy[which]
        raise RuntimeError(ends[ready[0]].fate())

    def _collect(self, worker: _Worker) -> None:
        from jtorch.multiprocessing import transport

        with self._watched(worker):
            number, batch = transport.receive(worker.connection)
        worker.outstanding -= 1
        del self._tasks[number]
        if batch is Word.ENDED:
            worker.active, worker.outstanding = False, 0
            self._tasks = {n: w for n, w in self._tasks.items() if w is not worker}
            self._ask()
        else:
            self._done[number] = batch

    def _ask(self) -> None:
        """Send the next index to the worker whose turn it is."""
        try:
            index = next(self._indices)
        except StopIteration:
            return
        active = sum(worker.active for worker in self._workers)
        share = self._loader.prefetch_factor * self._loader.num_workers // max(active, 1)
        for worker in itertools.islice(self._turns, len(self._workers)):
            if worker.active and (self._loader.in_order or worker.outstanding < share):
                break
        else:
            return
        self._put(worker, (self._sent, index))
        worker.outstanding += 1
        self._tasks[self._sent] = worker
        self._sent += 1

    def _put(self, worker: _Worker, task) -> None:
        with self._watched(worker):
            worker.connection.send(task)

    @contextlib.contextmanager
    def _watched(self, worker: _Worker):
        """A connection that breaks means that the worker is gone."""
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(worker.fate()) from error
