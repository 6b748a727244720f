"""The loader: batches of a data set, one pass per ``for``."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar

from jtorch.trace import recorder
from jtorch.utils.data.collate import default_collate, default_convert
from jtorch.utils.data.datapipes.datapipe import IterDataPipe
from jtorch.utils.data.dataset import Dataset, IterableDataset, fetch, fetch_collated
from jtorch.utils.data.iteration import _BaseDataLoaderIter, _DatasetKind
from jtorch.utils.data.sampler import (
    BatchSampler,
    InfiniteConstantSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    random_seed,
)
from jtorch.utils.data.worker import get_worker_info, set_up  # noqa: F401 (PyTorch has the first here too)
from jtorch.utils.data.workers import WorkersIterator

T_co = TypeVar("T_co", covariant=True)
_T = TypeVar("_T")
#: What makes a batch of a list of samples, for annotations.
_collate_fn_t: TypeAlias = Callable[[list[_T]], Any]
_MultiProcessingDataLoaderIter, _InfiniteConstantSampler = WorkersIterator, InfiniteConstantSampler

#: What the loader derived from them cannot follow a change.
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[T_co]):
    """Iterates over a data set in batches, made in the calling process or by worker processes.

    Both give the same batches in the same order. Random numbers that the data set draws in a worker are PyTorch's for
    the same seed: worker ``i`` seeds ``random``, NumPy and jtorch from the pass's base seed and ``i``.

    Args:
        batch_size: samples per batch; None hands out single samples, not collated.
        shuffle: a new random order at each pass.
        sampler, batch_sampler: own orders, of indices or of lists of indices.
        collate_fn: makes a batch of a list of samples (default: :func:`default_collate`).
        drop_last: leave out a shorter last batch.
        generator: source of the random order and of each pass's base seed; default: the default generator.
        pin_memory, pin_memory_device: accepted; XLA stages host memory by itself.
        num_workers: how many processes load; 0 loads in this one.
        timeout: seconds to wait for a batch of a worker; 0 waits as long as the worker lives.
        worker_init_fn: called in each worker with its number, after seeding.
        multiprocessing_context: a start method (``"forkserver"``, which is the default, ``"spawn"`` or ``"fork"``) or a
            context of :mod:`multiprocessing`. A child is never forked from a process in which XLA runs.
        prefetch_factor: batches each worker is ahead (default 2).
        persistent_workers: keep the workers from one pass to the next.
        in_order: False hands out batches as they come.

    Data set, ``collate_fn`` and ``worker_init_fn`` are sent to workers by value where the script itself defines them:
    lambdas and local classes are fine, and the script needs no ``if __name__ == "__main__"``.

    Raises:
        ValueError: options that exclude each other.
        RuntimeError: while iterating, a worker was killed or was too slow. What the data set raises in a worker is
            raised here as the same type, with the worker's traceback in its message.
    """

    _initialized = False

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler[list] | Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ):
        _check_worker_options(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        if num_workers > 0 and prefetch_factor is None:
            prefetch_factor = 2
        iterable = isinstance(dataset, IterableDataset)
        if isinstance(dataset, IterDataPipe):
            from jtorch.utils.data.graph_settings import apply_shuffle_settings

            dataset = apply_shuffle_settings(dataset, shuffle)
            shuffle = None
        if iterable:
            if shuffle not in (False, None):
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}"
                )
            for name, given in (("sampler", sampler), ("batch_sampler", batch_sampler)):
                if given is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={given}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            if iterable:
                sampler = InfiniteConstantSampler()
            else:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate

        self.dataset = dataset
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.generator, self.collate_fn = generator, collate_fn
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.prefetch_factor, self.persistent_workers = prefetch_factor, persistent_workers
        self.multiprocessing_context = multiprocessing_context
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self._workers = None  # the iterator whose processes are kept
        self._initialized = True
        if num_workers > 0:
            _prepare_workers(multiprocessing_context)
            _warn_of_many_workers(num_workers)

    def __setattr__(self, name, value):
        if self._initialized and name in _FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def _auto_collation(self) -> bool:
        """Whether samples are collated into batches."""
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Sampler | Iterable:
        """What gives the index of a sample, or the indices of a batch."""
        return self.batch_sampler if self._auto_collation else self.sampler

    @property
    def _dataset_kind(self) -> int:
        """How the data set is read, in :class:`_DatasetKind`'s numbers."""
        return _DatasetKind.Iterable if isinstance(self.dataset, IterableDataset) else _DatasetKind.Map

    def __iter__(self) -> Iterator:
        recorder.boundary("a pass over a DataLoader")
        if self.timeout > 0 and self.num_workers == 0:
            raise AssertionError(f"timeout is for worker processes (num_workers > 0), but got timeout={self.timeout}")
        pipe_seed = None
        if isinstance(self.dataset, IterDataPipe):
            pipe_seed = random_seed(self.generator)  # of the pipes that draw, alike in all workers
        if self._workers is not None and self._workers.alive:
            return self._workers.restart(pipe_seed)
        # Drawn at every pass, used or not: shuffles and whatever the program draws next depend on it.
        base_seed = random_seed(self.generator)
        if self.num_workers > 0:
            _warn_of_many_workers(self.num_workers)
            made = WorkersIterator(self, base_seed, pipe_seed)
            if self.persistent_workers:
                self._workers = made
            return made
        set_up(self.dataset, pipe_seed)
        return _SingleProcessDataLoaderIter(self, base_seed)

    _IterableDataset_len_called = None  # the length that a stream gave for itself, once len() asked for it

    def __len__(self) -> int:
        """The number of batches.

        Raises:
            TypeError: an :class:`IterableDataset` without ``__len__``.
        """
        if not isinstance(self.dataset, IterableDataset):
            return len(self._index_sampler)
        length = self._IterableDataset_len_called = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)


def _check_worker_options(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers > 0:
        if prefetch_factor is not None and prefetch_factor < 0:
            raise ValueError("prefetch_factor option should be non-negative")
        return
    if prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if persistent_workers:
        raise ValueError("persistent_workers option needs num_workers > 0")
    if multiprocessing_context is not None:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
            f"num_workers={num_workers}"
        )


def _warn_of_many_workers(num_workers: int) -> None:
    """Warn of more workers than this process has processors: they only wait for each other."""
    affine = hasattr(os, "sched_getaffinity")
    processors = len(os.sched_getaffinity(0)) if affine else os.cpu_count()
    if processors is None or num_workers > processors:
        warnings.warn(
            f"This DataLoader will create {num_workers} worker processes in total, but this process may run on "
            f"{processors or 'an unknown number of'} processors: loading may be slow or stall; use fewer workers.",
            stacklevel=3,
        )


def _prepare_workers(multiprocessing_context) -> None:
    """Check the context, and let the fork server import what workers need while the program goes on."""
    from jtorch import multiprocessing

    context = multiprocessing.context_of(multiprocessing_context)
    if context is multiprocessing.get_context("forkserver") and not multiprocessing.current_process().daemon:
        multiprocessing.start_server()


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """One pass over a loader in this process: one of the two classes below."""

    def __new__(cls, loader, base_seed: int | None = None):
        if cls is _SingleProcessDataLoaderIter:
            cls = _StreamIterator if loader._dataset_kind == _DatasetKind.Iterable else _IndexedIterator
        return super().__new__(cls)

    def __init__(self, loader, base_seed: int | None = None):
        self._loader, self._dataset = loader, loader.dataset
        self._collate_fn = loader.collate_fn
        self._base_seed = random_seed(loader.generator) if base_seed is None else base_seed


class _IndexedIterator(_SingleProcessDataLoaderIter):
    """Batches by index. The sampler is advanced one batch at a time, because it may draw as it goes."""

    def __init__(self, loader, base_seed: int | None = None):
        super().__init__(loader, base_seed)
        self._indices = iter(loader._index_sampler)

    def __next__(self):
        index = next(self._indices)
        if not self._loader._auto_collation:
            return self._collate_fn(self._dataset[index])
        if self._collate_fn is default_collate:
            batch = fetch_collated(self._dataset, index)
            if batch is not None:
                return batch
        return self._collate_fn(fetch(self._dataset, index))


class _StreamIterator(_SingleProcessDataLoaderIter):
    """Batches from a stream, cut as they come."""

    def __init__(self, loader, base_seed: int | None = None):
        super().__init__(loader, base_seed)
        self._stream = iter(self._dataset)
        self._yielded = 0
        self._announced = getattr(loader, "_IterableDataset_len_called", None)

    def __next__(self):
        if self._loader._auto_collation:
            samples = list(itertools.islice(self._stream, self._loader.batch_size))
            if not samples or (self._loader.drop_last and len(samples) < self._loader.batch_size):
                raise StopIteration
        else:
            samples = next(self._stream)
        self._yielded += 1
        if self._announced is not None and self._yielded > self._announced:
            warnings.warn(
                f"Length of IterableDataset {self._dataset} was reported to be {self._announced} (when accessing "
                f"len(dataloader)), but {self._yielded} samples have been fetched.",
                stacklevel=2,
            )
        return self._collate_fn(samples)
