"""A share of a data set for each rank."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import jtorch
from jtorch.utils.data.dataset import Dataset
from jtorch.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Every ``num_replicas``-th index beginning with ``rank``, of one order that all ranks share.

    Args:
        num_replicas, rank: default: those of the default process group.
        shuffle: a random order, from ``seed`` and the number given to :meth:`set_epoch`.
        seed: the same on all ranks.
        drop_last: leave out the tail that does not divide evenly; otherwise indices from the beginning fill it up.

    Raises:
        ValueError: ``rank`` is not below ``num_replicas``.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ):
        if num_replicas is None:
            num_replicas = jtorch.distributed.get_world_size()
        if rank is None:
            rank = jtorch.distributed.get_rank()
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.epoch, self.shuffle, self.seed, self.drop_last = 0, shuffle, seed, drop_last
        share = len(dataset) / num_replicas
        self.num_samples = math.floor(share) if drop_last else math.ceil(share)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = range(n)
        if self.shuffle:
            generator = jtorch.Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = jtorch.randperm(n, generator=generator).tolist()
        filled = itertools.islice(itertools.cycle(order), self.total_size)
        return itertools.islice(filled, self.rank, None, self.num_replicas)

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """The number of the coming pass; without it every pass has the same order."""
        self.epoch = epoch
