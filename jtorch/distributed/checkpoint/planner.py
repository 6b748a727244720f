"""The protocol of planners: what a save writes, and where a load puts what it reads."""

from __future__ import annotations

import abc
import enum
import io
import math
from dataclasses import dataclass
from typing import Any

from ...size import Size
from .metadata import ChunkStorageMetadata, Metadata, MetadataIndex, StorageMeta, TensorProperties


class WriteItemType(enum.Enum):
    """A whole tensor, a block of one, or bytes."""

    TENSOR = enum.auto()
    SHARD = enum.auto()
    BYTE_IO = enum.auto()


class LoadItemType(enum.Enum):
    """A tensor, or bytes."""

    TENSOR = enum.auto()
    BYTE_IO = enum.auto()


@dataclass(frozen=True)
class BytesIOWriteData:
    """How long an item of bytes is."""

    nbytes: int


@dataclass(frozen=True)
class TensorWriteData:
    """A block of a tensor of size ``size``."""

    chunk: ChunkStorageMetadata
    properties: TensorProperties
    size: Size


@dataclass(frozen=True)
class WriteItem:
    """Something to be written."""

    index: MetadataIndex
    type: WriteItemType
    bytes_io_data: BytesIOWriteData | None = None
    tensor_data: TensorWriteData | None = None

    def tensor_storage_size(self) -> int | None:
        """Bytes of the whole tensor; None for anything else."""
        if self.tensor_data is None:
            return None
        return math.prod(self.tensor_data.size) * self.tensor_data.properties.dtype.itemsize


@dataclass(frozen=True)
class ReadItem:
    """Something to be read: ``lengths`` elements from ``storage_offsets`` of a stored block on go to ``dest_offsets``
    of a block of the tensor at hand."""

    type: LoadItemType
    dest_index: MetadataIndex
    dest_offsets: Size
    storage_index: MetadataIndex
    storage_offsets: Size
    lengths: Size


@dataclass(frozen=True)
class SavePlan:
    """What one rank writes."""

    items: list[WriteItem]
    storage_data: Any = None
    planner_data: Any = None
    usable: bool = True


@dataclass
class LoadPlan:
    """What one rank reads."""

    items: list[ReadItem]
    storage_data: Any = None
    planner_data: Any = None


class SavePlanner(abc.ABC):
    """Decides what is written. Called in this order: ``set_up_planner`` and ``create_local_plan`` on all ranks,
    ``create_global_plan`` on the coordinator, ``finish_plan`` on all ranks, ``resolve_data`` for each item there.

    Extend :class:`~.default_planner.DefaultSavePlanner` rather than this.
    """

    @abc.abstractmethod
    def set_up_planner(
        self, state_dict: dict, storage_meta: StorageMeta | None = None, is_coordinator: bool = False
    ) -> None:
        """Begin a save of ``state_dict``."""

    @abc.abstractmethod
    def create_local_plan(self) -> SavePlan:
        """What this rank could write."""

    @abc.abstractmethod
    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        """What each rank writes, and the checkpoint's metadata."""

    @abc.abstractmethod
    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        """This rank's plan as the coordinator made it; returns the one to carry out."""

    @abc.abstractmethod
    def resolve_data(self, write_item: WriteItem) -> Any:
        """The tensor, or the ``io.BytesIO``, to write."""


class LoadPlanner(abc.ABC):
    """Decides what is read, and where it goes. Called in this order: ``set_up_planner`` and ``create_local_plan`` on
    all ranks, ``create_global_plan`` on the coordinator, ``finish_plan`` on all ranks, and for each item ``load_bytes``
    or ``load_tensor``.

    Extend :class:`~.default_planner.DefaultLoadPlanner` rather than this.
    """

    @abc.abstractmethod
    def set_up_planner(self, state_dict: dict, metadata: Metadata | None = None, is_coordinator: bool = False) -> None:
        """Begin a load into ``state_dict``."""

    @abc.abstractmethod
    def create_local_plan(self) -> LoadPlan:
        """What this rank reads."""

    @abc.abstractmethod
    def create_global_plan(self, global_plan: list[LoadPlan]) -> list[LoadPlan]:
        """What each rank reads."""

    @abc.abstractmethod
    def finish_plan(self, central_plan: LoadPlan) -> LoadPlan:
        """This rank's plan as the coordinator made it; returns the one to carry out."""

    @abc.abstractmethod
    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Put an object that was read, still pickled, into the state dict."""

    @abc.abstractmethod
    def resolve_tensor(self, read_item: ReadItem) -> Any:
        """A tensor of shape ``read_item.lengths`` that is to be filled."""

    @abc.abstractmethod
    def commit_tensor(self, read_item: ReadItem, tensor) -> None:
        """Called when the tensor that ``resolve_tensor`` gave has been filled."""

    def begin(self, plan: LoadPlan) -> None:  # noqa: B027 (there need not be anything to do)
        """Called before the items of a plan are read."""

    def load_tensor(self, read_item: ReadItem, tensor) -> None:
        """Put a block that was read into the state dict, by way of the two methods above."""
        target = self.resolve_tensor(read_item).detach()
        if target.shape != tensor.shape:
            raise AssertionError(f"req {read_item.storage_index} mismatch sizes {target.shape} vs {tensor.shape}")
        target.copy_(tensor)
        self.commit_tensor(read_item, target)
