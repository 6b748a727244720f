"""Batches of few shapes from samples of many lengths.

A program is compiled once per shape. Lengths are therefore rounded up to one of a few boundaries: samples of one bucket
are batched together and padded to its boundary, with a mask that says what is padding.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import numpy as np

import jtorch
from jtorch.utils.data.host import from_host
from jtorch.utils.data.sampler import Sampler


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of indices whose samples have similar lengths.

    Args:
        lengths: the length of each sample.
        batch_size: samples per batch.
        num_buckets: how many boundaries to choose, at even quantiles of the lengths (default 8).
        boundaries: the boundaries themselves, ascending; each is the padded length of its bucket.
        shuffle: a new random order at each pass, of samples within buckets and of batches.
        drop_last: leave out each bucket's shorter last batch. Otherwise it is filled up with samples of the same
            bucket, so that its shape stays the bucket's; ``len`` samples more are then seen.
        generator: source of the random order.

    Raises:
        ValueError: ``batch_size`` is not positive, ``boundaries`` do not ascend, or a sample is longer than the last.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        num_buckets: int = 8,
        *,
        boundaries: Sequence[int] | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        generator=None,
    ):
        lengths = [int(n) for n in lengths]
        if batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if boundaries is None:
            ordered = sorted(lengths)
            places = [-(-len(ordered) * i // num_buckets) - 1 for i in range(1, num_buckets + 1)]
            boundaries = sorted({ordered[max(place, 0)] for place in places}) if ordered else []
        boundaries = list(boundaries)
        if any(a >= b for a, b in zip(boundaries, boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must ascend, got {boundaries}")
        if lengths and max(lengths) > boundaries[-1]:
            raise ValueError(f"a sample of length {max(lengths)} is longer than the last boundary, {boundaries[-1]}")
        self.boundaries, self.batch_size, self.shuffle, self.drop_last = boundaries, batch_size, shuffle, drop_last
        self.generator = generator
        self.buckets: list[list[int]] = [[] for _ in boundaries]
        for i, n in enumerate(lengths):
            self.buckets[bisect.bisect_left(boundaries, n)].append(i)

    def __iter__(self) -> Iterator[list[int]]:
        batches = []
        for bucket in self.buckets:
            order = [bucket[i] for i in self._order(len(bucket))]
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                missing = self.batch_size - len(batch)
                if missing and self.drop_last:
                    continue
                batches.append(batch + [order[i % len(order)] for i in range(missing)])
        return iter([batches[i] for i in self._order(len(batches))])

    def _order(self, n: int):
        return jtorch.randperm(n, generator=self.generator).tolist() if self.shuffle and n else range(n)

    def __len__(self) -> int:
        sizes = [divmod(len(bucket), self.batch_size) for bucket in self.buckets]
        return sum(whole + (rest > 0 and not self.drop_last) for whole, rest in sizes)


class pad_collate:  # noqa: N801 (used as a function: collate_fn=pad_collate(sampler.boundaries))
    """``collate_fn`` for sequences: ``(padded, mask)``, where the length is the least boundary that holds them all.

    A sample is a sequence (tensor, array or list; the first dimension is its length), or a tuple whose first element
    is one: the other elements are then collated as usual and follow, ``(padded, mask, *others)``. ``mask`` is a bool
    tensor (batch, length), True where there is data.

    Raises:
        ValueError: a sample is longer than the last boundary.
    """

    def __init__(self, boundaries: Sequence[int], padding_value: float = 0):
        self.boundaries, self.padding_value = list(boundaries), padding_value

    def __call__(self, batch: list):
        from jtorch.utils.data.collate import default_collate

        others = []
        if isinstance(batch[0], tuple):
            others = [default_collate(list(column)) for column in list(zip(*batch, strict=True))[1:]]
            batch = [sample[0] for sample in batch]
        arrays = [np.asarray(s.detach().numpy() if isinstance(s, jtorch.Tensor) else s) for s in batch]
        longest = max(len(a) for a in arrays)
        place = bisect.bisect_left(self.boundaries, longest)
        if place == len(self.boundaries):
            raise ValueError(f"a sample of length {longest} is longer than the last boundary, {self.boundaries[-1]}")
        shape = (len(arrays), self.boundaries[place])
        padded = np.full(shape + arrays[0].shape[1:], self.padding_value, arrays[0].dtype)
        mask = np.zeros(shape, np.bool_)
        for i, array in enumerate(arrays):
            padded[i, : len(array)] = array
            mask[i, : len(array)] = True
        return (from_host(padded), from_host(mask), *others)
