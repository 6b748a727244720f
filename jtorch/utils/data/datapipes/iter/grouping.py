"""Batches and groups of samples, and their samples again."""

from __future__ import annotations

from jtorch.utils.data.datapipes.datapipe import DataChunk, IterDataPipe, functional_datapipe, length_of


class Batches:
    """What pipes that make batches have in common."""

    def __init__(self, datapipe, batch_size: int, drop_last: bool = False, wrapper_class=DataChunk):
        if batch_size <= 0:
            raise AssertionError("Batch size is required to be larger than 0!")
        self.datapipe, self.batch_size, self.drop_last = datapipe, batch_size, drop_last
        self.wrapper_class = wrapper_class

    def __len__(self) -> int:
        samples = length_of(self.datapipe, self)
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)


@functional_datapipe("batch")
class BatcherIterDataPipe(Batches, IterDataPipe):
    """Batches of ``batch_size`` samples, as ``wrapper_class`` makes them of a list; ``drop_last`` leaves out a shorter
    last one."""

    def __iter__(self):
        batch: list = []
        for sample in self.datapipe:
            batch.append(sample)
            if len(batch) == self.batch_size:
                yield self.wrapper_class(batch)
                batch = []
        if batch and not self.drop_last:
            yield self.wrapper_class(batch)


@functional_datapipe("unbatch")
class UnBatcherIterDataPipe(IterDataPipe):
    """The elements of lists, ``unbatch_level`` levels down; -1 for all levels.

    Raises:
        ValueError: while iterating, another negative level.
        IndexError: while iterating, the lists are not nested so deep.
    """

    def __init__(self, datapipe, unbatch_level: int = 1):
        self.datapipe, self.unbatch_level = datapipe, unbatch_level

    def __iter__(self):
        if self.unbatch_level < -1:
            raise ValueError("unbatch_level must be -1 or >= 0")
        for sample in self.datapipe:
            yield from self._elements(sample, self.unbatch_level)

    def _elements(self, sample, level: int):
        if level == 0 or (level < 0 and not isinstance(sample, list)):
            yield sample
        elif not isinstance(sample, list):
            raise IndexError(f"unbatch_level {self.unbatch_level} exceeds the depth of the DataPipe")
        else:
            for element in sample:
                yield from self._elements(element, max(level - 1, -1))


@functional_datapipe("groupby")
class GrouperIterDataPipe(IterDataPipe):
    """Groups of the samples with one key, in the order in which they are full.

    Args:
        group_key_fn: the key of a sample.
        keep_key: yield ``(key, group)``.
        buffer_size: how many samples may wait; when so many do, the largest group is yielded.
        group_size: yield a group when it has so many.
        guaranteed_group_size: the least size of a group that is yielded because the buffer is full.
        drop_remaining: drop a smaller one then, rather than raise.

    Raises:
        RuntimeError: while iterating, the buffer is full and the largest group too small.
    """

    def __init__(
        self,
        datapipe,
        group_key_fn,
        *,
        keep_key: bool = False,
        buffer_size: int = 10000,
        group_size: int | None = None,
        guaranteed_group_size: int | None = None,
        drop_remaining: bool = False,
    ):
        if group_size is not None and not 0 < group_size <= buffer_size:
            raise AssertionError("group_size must be > 0 and <= buffer_size")
        if guaranteed_group_size is not None and (group_size is None or not 0 < guaranteed_group_size <= group_size):
            raise AssertionError("guaranteed_group_size must be > 0 and <= group_size and group_size must be set")
        self.datapipe, self.group_key_fn, self.keep_key = datapipe, group_key_fn, keep_key
        self.max_buffer_size, self.group_size, self.drop_remaining = buffer_size, group_size, drop_remaining
        self.guaranteed_group_size = group_size if guaranteed_group_size is None else guaranteed_group_size
        self.wrapper_class = DataChunk

    def _yielded(self, key, samples: list):
        group = self.wrapper_class(samples)
        return (key, group) if self.keep_key else group

    def __iter__(self):
        groups: dict = {}
        waiting = 0
        for sample in self.datapipe:
            key = self.group_key_fn(sample)
            group = groups.setdefault(key, [])
            group.append(sample)
            waiting += 1
            if len(group) == self.group_size:
                del groups[key]
                waiting -= len(group)
                yield self._yielded(key, group)
            if waiting == self.max_buffer_size:
                key = max(groups, key=lambda k: len(groups[k]))
                group = groups.pop(key)
                waiting -= len(group)
                if len(group) >= (self.guaranteed_group_size or 0):
                    yield self._yielded(key, group)
                elif not self.drop_remaining:
                    raise RuntimeError("Failed to group items", str(group))
        for key in list(groups):
            yield self._yielded(key, groups.pop(key))
