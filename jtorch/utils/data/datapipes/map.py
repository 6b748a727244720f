"""Pipes by key."""

from __future__ import annotations

import copy
import warnings

from jtorch.utils.data.datapipes.datapipe import IterDataPipe, MapDataPipe, functional_datapipe
from jtorch.utils.data.datapipes.iter.combinatorics import Shuffled
from jtorch.utils.data.datapipes.iter.grouping import Batches


class SequenceWrapperMapDataPipe(MapDataPipe):
    """The elements of a sequence or mapping, copied deeply where ``deepcopy``."""

    def __init__(self, sequence, deepcopy: bool = True):
        if deepcopy:
            try:
                sequence = copy.deepcopy(sequence)
            except TypeError:
                warnings.warn(
                    "The input sequence can not be deepcopied, please be aware of in-place modification would affect "
                    "source data",
                    stacklevel=2,
                )
        self.sequence = sequence

    def __getitem__(self, index):
        return self.sequence[index]

    def __len__(self) -> int:
        return len(self.sequence)


def default_fn(data):
    """The sample itself."""
    return data


@functional_datapipe("map")
class MapperMapDataPipe(MapDataPipe):
    """``fn`` of each sample."""

    def __init__(self, datapipe, fn=default_fn):
        self.datapipe, self.fn = datapipe, fn

    def __getitem__(self, index):
        return self.fn(self.datapipe[index])

    def __len__(self) -> int:
        return len(self.datapipe)


class ShufflerIterDataPipe(Shuffled, IterDataPipe):
    """A stream of the samples in random order, of ``indices`` (default: 0 to the length)."""

    def __init__(self, datapipe, *, indices: list | None = None):
        self.datapipe = datapipe
        self.indices = list(range(len(datapipe))) if indices is None else indices
        self._unseeded()
        self._order = self.indices

    def reset(self) -> None:
        if self._enabled:
            self._seed_pass()
            self._order = self._rng.sample(self.indices, len(self.indices))[::-1]
        else:
            self._order = self.indices

    def __iter__(self):
        for index in self._order:
            yield self.datapipe[index]

    def __len__(self) -> int:
        return len(self.datapipe)


MapDataPipe.register_datapipe_as_function("shuffle", ShufflerIterDataPipe)


def _check_sources(datapipes) -> None:
    if not datapipes:
        raise ValueError("Expected at least one DataPipe, but got nothing")
    if not all(isinstance(pipe, MapDataPipe) for pipe in datapipes):
        raise TypeError("Expected all inputs to be `MapDataPipe`")
    if not all(hasattr(type(pipe), "__len__") for pipe in datapipes):
        raise TypeError("Expected all inputs to be `Sized`")


@functional_datapipe("concat")
class ConcaterMapDataPipe(MapDataPipe):
    """Pipes one after another, keys counted on."""

    def __init__(self, *datapipes):
        _check_sources(datapipes)
        self.datapipes = datapipes

    def __getitem__(self, index):
        at = index
        for pipe in self.datapipes:
            if at < len(pipe):
                return pipe[at]
            at -= len(pipe)
        raise IndexError(f"Index {index} is out of range.")

    def __len__(self) -> int:
        return sum(len(pipe) for pipe in self.datapipes)


@functional_datapipe("zip")
class ZipperMapDataPipe(MapDataPipe):
    """Tuples of the samples with one key."""

    def __init__(self, *datapipes):
        _check_sources(datapipes)
        self.datapipes = datapipes

    def __getitem__(self, index):
        samples = []
        for pipe in self.datapipes:
            try:
                samples.append(pipe[index])
            except IndexError as error:
                raise IndexError(f"Index {index} is out of range for one of the input MapDataPipes {pipe}.") from error
        return tuple(samples)

    def __len__(self) -> int:
        return min(len(pipe) for pipe in self.datapipes)


@functional_datapipe("batch")
class BatcherMapDataPipe(Batches, MapDataPipe):
    """Batches of ``batch_size`` samples, as ``wrapper_class`` makes them of a list; ``drop_last`` leaves out a shorter
    last one."""

    def __getitem__(self, index):
        batch: list = []
        try:
            for i in range(index * self.batch_size, (index + 1) * self.batch_size):
                batch.append(self.datapipe[i])  # noqa: PERF401 (what there is before the end is kept)
        except IndexError as error:
            if self.drop_last or not batch:
                raise IndexError(f"Index {index} is out of bound.") from error
        return self.wrapper_class(batch)


Batcher, Concater, Mapper = BatcherMapDataPipe, ConcaterMapDataPipe, MapperMapDataPipe
SequenceWrapper, Shuffler, Zipper = SequenceWrapperMapDataPipe, ShufflerIterDataPipe, ZipperMapDataPipe

__all__ = ["Batcher", "Concater", "Mapper", "SequenceWrapper", "Shuffler", "Zipper"]
