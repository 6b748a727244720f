"""One stream read by several: ``fork`` gives each reader all samples, ``demux`` each its own.

The source is read once. What one reader has taken and another has yet to read waits in that reader's queue.
"""

from __future__ import annotations

import copy
import warnings
from collections import deque

from jtorch.utils.data.datapipes.datapipe import IterDataPipe, functional_datapipe, length_of
from jtorch.utils.data.datapipes.utils.common import StreamWrapper


class _Splitter(IterDataPipe):
    """The source and the queues of its readers; ``_deliver`` puts a new sample where it belongs."""

    name = ""

    def __init__(self, datapipe, num_instances: int, buffer_size: int):
        if buffer_size < 0:
            warnings.warn(
                f"Unlimited buffer size is set for `{self.name}`, please be aware of OOM at random places",
                stacklevel=4,
            )
        self.main_datapipe, self.num_instances, self.buffer_size = datapipe, num_instances, buffer_size
        self.reset()

    def reset(self) -> None:
        self._source = None
        self._exhausted = False
        self._queues = [deque() for _ in range(self.num_instances)]
        self._finished = [False] * self.num_instances

    def _deliver(self, sample, reader: int) -> None:
        raise NotImplementedError

    def _overflow(self) -> None:
        raise BufferError(
            f"{self.name} buffer overflow, buffer size {self.buffer_size} is insufficient: pass a larger buffer_size, "
            "or read the pipes more evenly."
        )

    def read(self, reader: int):
        """The samples of one reader."""
        if all(self._finished):  # another pass, of readers whose last one is over
            self.reset()
        queue, source_of = self._queues[reader], self._queues
        try:
            while True:
                if queue:
                    yield queue.popleft()
                    continue
                if self._exhausted:
                    return
                if self._source is None:
                    self._source = iter(self.main_datapipe)
                try:
                    sample = next(self._source)
                except StopIteration:
                    self._exhausted = True
                    return
                self._deliver(sample, reader)
        finally:
            if source_of is self._queues:
                self._finished[reader] = True
                StreamWrapper.close_streams(list(queue))
                queue.clear()
                if all(self._finished):
                    self._source = None

    @property
    def exhausted(self) -> bool:
        """Whether all have read everything."""
        return self._exhausted and all(self._finished)

    def __getstate__(self):
        state = dict(self.__dict__)
        for name in ("_source", "_exhausted", "_queues", "_finished"):
            del state[name]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.reset()


class _Fork(_Splitter):
    name = "fork"

    def __init__(self, datapipe, num_instances, buffer_size, copy_fn):
        self.copy_fn = copy_fn
        super().__init__(datapipe, num_instances, buffer_size)

    def _deliver(self, sample, reader):
        for i, queue in enumerate(self._queues):
            if self._finished[i]:
                continue
            if 0 <= self.buffer_size < len(queue) + (i != reader):
                self._overflow()
            queue.append(sample if self.copy_fn is None else self.copy_fn(sample))

    def length(self) -> int:
        return length_of(self.main_datapipe, self)


class _Demux(_Splitter):
    name = "demux"

    def __init__(self, datapipe, num_instances, buffer_size, classifier_fn, drop_none):
        self.classifier_fn, self.drop_none = classifier_fn, drop_none
        super().__init__(datapipe, num_instances, buffer_size)

    def _deliver(self, sample, reader):
        which = self.classifier_fn(sample)
        if which is None and self.drop_none:
            StreamWrapper.close_streams(sample)
            return
        if which is None or not 0 <= which < self.num_instances:
            raise ValueError(
                f"Output of the classification fn should be between 0 and {self.num_instances - 1}. "
                f"{which} is returned."
            )
        self._queues[which].append(sample)
        if which != reader and 0 <= self.buffer_size < sum(map(len, self._queues)):
            self._overflow()

    def length(self) -> int:
        raise TypeError("a pipe made by demux() doesn't have valid length")


class _ChildDataPipe(IterDataPipe):
    """One reader. A second iterator of any reader ends those of all readers, and all read from the start."""

    def __init__(self, main_datapipe: _Splitter, instance_id: int):
        self.main_datapipe, self.instance_id = main_datapipe, instance_id

    def __iter__(self):
        return self.main_datapipe.read(self.instance_id)

    def __len__(self) -> int:
        return self.main_datapipe.length()

    def _begin(self) -> int:
        main = self.main_datapipe
        if main._valid_iterator_id is None:
            main._valid_iterator_id = 0
        elif main._valid_iterator_id == self._valid_iterator_id:
            main._valid_iterator_id += 1
            if not main.exhausted:
                warnings.warn(
                    "Some child DataPipes are not exhausted when __iter__ is called. We are resetting the buffer and "
                    "each child DataPipe will read from the start again.",
                    stacklevel=3,
                )
            main.reset()
        self._valid_iterator_id = main._valid_iterator_id
        self._number_of_samples_yielded = 0
        return self._valid_iterator_id

    def _check(self, number: int) -> None:
        if not number == self._valid_iterator_id == self.main_datapipe._valid_iterator_id:
            raise RuntimeError(
                "This iterator has been invalidated, because a new iterator has been created from one of the "
                f"ChildDataPipes of {self.main_datapipe.main_datapipe!r}."
            )


def _children(splitter: _Splitter) -> list[_ChildDataPipe]:
    return [_ChildDataPipe(splitter, i) for i in range(splitter.num_instances)]


def _check_count(num_instances: int) -> None:
    if num_instances < 1:
        raise ValueError(f"Expected `num_instances` larger than 0, but {num_instances} is found")


@functional_datapipe("fork")
class ForkerIterDataPipe(IterDataPipe):
    """``num_instances`` pipes with the samples of one (a list; with one instance the pipe itself).

    Args:
        buffer_size: how far the fastest reader may be ahead of the slowest; -1 for no limit.
        copy: None hands the same object to all, ``"shallow"`` and ``"deep"`` copies.

    Raises:
        ValueError: fewer than one instance, or another ``copy``.
        BufferError: while iterating, a reader is too far ahead.
    """

    def __new__(cls, datapipe, num_instances: int, buffer_size: int = 1000, copy: str | None = None):  # noqa: A002
        _check_count(num_instances)
        if num_instances == 1:
            return datapipe
        if copy not in _COPIES:
            raise ValueError(f"Unknown copy method `{copy}` requested, choose one of None, `shallow` or `deep`.")
        return _children(_Fork(datapipe, num_instances, buffer_size, _COPIES[copy]))


_COPIES = {None: None, "shallow": copy.copy, "deep": copy.deepcopy}


@functional_datapipe("demux")
class DemultiplexerIterDataPipe(IterDataPipe):
    """``num_instances`` pipes (a list), each with the samples for which ``classifier_fn`` returns its number.

    Args:
        drop_none: leave out samples for which it returns None.
        buffer_size: how many samples may wait, in all; -1 for no limit.

    Raises:
        ValueError: fewer than one instance; while iterating, a number out of range.
        BufferError: while iterating, too many wait.
    """

    def __new__(cls, datapipe, num_instances: int, classifier_fn, drop_none: bool = False, buffer_size: int = 1000):
        _check_count(num_instances)
        return _children(_Demux(datapipe, num_instances, buffer_size, classifier_fn, drop_none))
