"""Each process's share of a stream."""

from __future__ import annotations

from enum import IntEnum

from jtorch.utils.data.datapipes.datapipe import IterDataPipe, functional_datapipe, length_of


class SHARDING_PRIORITIES(IntEnum):  # noqa: N801 (PyTorch's name)
    """Who shares: whoever calls, the processes of a group, the workers of a loader."""

    DEFAULT = 1
    DISTRIBUTED = 2
    MULTIPROCESSING = 3


class _ShardingIterDataPipe(IterDataPipe):
    def apply_sharding(self, num_of_instances: int, instance_id: int, sharding_group: SHARDING_PRIORITIES):
        raise NotImplementedError


@functional_datapipe("sharding_filter")
class ShardingFilterIterDataPipe(_ShardingIterDataPipe):
    """Every n-th sample from the i-th on, once ``apply_sharding(n, i)`` is called; all of them before.

    A loader calls it for the ranks of a process group and for its workers, which then read disjoint shares.
    """

    def __init__(self, source_datapipe, sharding_group_filter=None):
        self.source_datapipe, self.sharding_group_filter = source_datapipe, sharding_group_filter
        self.groups: dict[int, tuple[int, int]] = {}
        self.num_of_instances, self.instance_id = 1, 0

    def apply_sharding(self, num_of_instances, instance_id, sharding_group=SHARDING_PRIORITIES.DEFAULT) -> None:
        """This is the ``instance_id``-th of ``num_of_instances`` of that group.

        Raises:
            ValueError: the number is not below the count.
            RuntimeError: DEFAULT together with another group.
        """
        if instance_id >= num_of_instances:
            raise ValueError(f"instance_id({instance_id}) should be smaller than num_of_instances({num_of_instances})")
        default = SHARDING_PRIORITIES.DEFAULT
        if any((known == default) != (sharding_group == default) for known in self.groups):
            raise RuntimeError("ShardingFilter cannot mix DEFAULT and non DEFAULT groups")
        self.groups[sharding_group] = (num_of_instances, instance_id)
        self.num_of_instances, self.instance_id = 1, 0
        for group in sorted(self.groups, reverse=True):
            if self.sharding_group_filter in (None, group):
                count, number = self.groups[group]
                self.instance_id += self.num_of_instances * number
                self.num_of_instances *= count

    def __iter__(self):
        for i, sample in enumerate(self.source_datapipe):
            if i % self.num_of_instances == self.instance_id:
                yield sample

    def __len__(self) -> int:
        return len(range(self.instance_id, length_of(self.source_datapipe, self), self.num_of_instances))
