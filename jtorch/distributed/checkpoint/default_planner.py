"""The planners that ``save`` and ``load`` use."""

from __future__ import annotations

import collections
import dataclasses
import io
import math
from typing import Any

import numpy as np

import jtorch

from ... import serialization
from ...size import Size
from . import blocks
from ._nested_dict import FLATTEN_MAPPING, flatten_state_dict, flatten_state_dict_v_2_3
from ._traverse import set_element
from .metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from .planner import (
    LoadItemType,
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)

# --- saving --------------------------------------------------------------------------------------------------------


class DefaultSavePlanner(SavePlanner):
    """Flattens the state dict, and writes each block of a tensor once.

    Args:
        flatten_state_dict: give the content of nested dicts names of their own, so that they can be read one by one.
        dedup_save_to_lowest_rank: what several ranks hold is written by the first of them, instead of by the one that
            has least to write.
        flatten_sharded_tensors, dedup_replicated_tensors, enable_plan_caching: accepted; they change nothing here.
    """

    def __init__(
        self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True,
        dedup_replicated_tensors: bool | None = None, dedup_save_to_lowest_rank: bool = False,
        enable_plan_caching: bool = False,
    ):  # fmt: skip
        self.flatten_state_dict, self.flatten_sharded_tensors = flatten_state_dict, flatten_sharded_tensors
        self.dedup_save_to_lowest_rank = dedup_save_to_lowest_rank
        self.mappings: FLATTEN_MAPPING = {}

    def set_up_planner(
        self, state_dict: dict, storage_meta: StorageMeta | None = None, is_coordinator: bool = False
    ) -> None:
        if self.flatten_state_dict:
            state_dict, self.mappings = flatten_state_dict(state_dict)
        self.state_dict, self.is_coordinator = state_dict, is_coordinator

    def create_local_plan(self) -> SavePlan:
        self.plan = create_default_local_save_plan(self.state_dict, self.is_coordinator)
        if self.flatten_state_dict:
            self.plan = dataclasses.replace(self.plan, planner_data=self.mappings)
        return self.plan

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        plans = dedup_save_plans(all_plans, self.dedup_save_to_lowest_rank)
        plans, metadata = create_default_global_save_plan(plans)
        if self.flatten_state_dict:
            paths = dict(collections.ChainMap(*(p.planner_data for p in plans)))
            metadata = dataclasses.replace(metadata, planner_data=paths)
        _check_coverage(metadata)
        self.global_plan, self.metadata = plans, metadata
        return plans, metadata

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        self.plan = new_plan
        return new_plan

    def resolve_data(self, write_item: WriteItem) -> Any:
        return self.transform_object(write_item, self.lookup_object(write_item.index))

    def lookup_object(self, index: MetadataIndex) -> Any:
        """The object that an index names, or the block of a tensor, as a tensor on the CPU."""
        found = self.state_dict[index.fqn]
        return blocks.block(found, index.offset) if blocks.is_tensor(found) else found

    def transform_object(self, write_item: WriteItem, object: Any) -> Any:  # noqa: A002 (PyTorch's name)
        """What is written for it: objects other than tensors are pickled."""
        if write_item.type is not WriteItemType.BYTE_IO:
            return object
        stream = io.BytesIO()
        serialization.save(object, stream)
        return stream


def create_default_local_save_plan(state_dict: dict[str, Any], is_coordinator: bool) -> SavePlan:
    """Everything: each block of each tensor, and each other object."""
    items = []
    for fqn, obj in state_dict.items():
        if not blocks.is_tensor(obj):
            items.append(WriteItem(MetadataIndex(fqn), WriteItemType.BYTE_IO))
            continue
        parts = blocks.blocks_of(obj)
        kind = WriteItemType.SHARD if blocks.is_cut(obj) else WriteItemType.TENSOR
        properties = TensorProperties.create_from_tensor(obj)
        for offsets, extent in parts.items():
            data = TensorWriteData(ChunkStorageMetadata(offsets, extent), properties, Size(obj.size()))
            items.append(WriteItem(MetadataIndex(fqn, offsets), kind, tensor_data=data))
    return SavePlan(items)


def dedup_save_plans(all_plans: list[SavePlan], save_to_lowest_rank: bool = False) -> list[SavePlan]:
    """The plans without repetitions: an item stays with the rank that has least to write so far, or with the first."""
    planned: dict[MetadataIndex, tuple[WriteItem, list[int]]] = {}
    for rank, plan in enumerate(all_plans):
        for item in plan.items:
            planned.setdefault(item.index, (item, []))[1].append(rank)
    load, writer = [0] * len(all_plans), {}
    for index, (item, ranks) in planned.items():
        rank = min(ranks) if save_to_lowest_rank else min(ranks, key=load.__getitem__)
        load[rank] += item.tensor_storage_size() or 1
        writer[index] = rank
    return [
        dataclasses.replace(plan, items=[item for item in plan.items if writer[item.index] == rank])
        for rank, plan in enumerate(all_plans)
    ]


def create_default_global_save_plan(
    all_plans: list[SavePlan], rewrite_index_hints: bool = True
) -> tuple[list[SavePlan], Metadata]:
    """The metadata of what the plans write, and the plans with each block numbered within its tensor."""
    entries: dict[str, Any] = {}
    plans = []
    for plan in all_plans:
        items = []
        for item in plan.items:
            if item.type is WriteItemType.BYTE_IO:
                entries[item.index.fqn] = BytesStorageMetadata()
                items.append(item)
                continue
            data = item.tensor_data
            entry = entries.setdefault(item.index.fqn, TensorStorageMetadata(data.properties, data.size, []))
            if rewrite_index_hints:
                item = dataclasses.replace(item, index=dataclasses.replace(item.index, index=len(entry.chunks)))
            entry.chunks.append(data.chunk)
            items.append(item)
        plans.append(dataclasses.replace(plan, items=items))
    return plans, Metadata(entries)


def _check_coverage(metadata: Metadata) -> None:
    """Raises:
    ValueError: the blocks of a tensor are not the whole of it: ranks cut it differently.
    """
    for fqn, entry in metadata.state_dict_metadata.items():
        if isinstance(entry, TensorStorageMetadata):
            held, whole = sum(math.prod(c.sizes) for c in entry.chunks), math.prod(entry.size)
            if held != whole:
                raise ValueError(
                    f"Failed to validate global plan: key:{fqn} invalid fill tensor-volume: {whole} chunks-volume: "
                    f"{held}; every rank must lay the tensor out alike"
                )


# --- loading -------------------------------------------------------------------------------------------------------


class DefaultLoadPlanner(LoadPlanner):
    """Reads into each tensor what it lacks, however it was cut when it was saved, and replaces other objects.

    Args:
        flatten_state_dict: the checkpoint was made with names for the content of nested dicts.
        flatten_sharded_tensors: accepted; it changes nothing here.
        allow_partial_load: leave what the checkpoint lacks as it is, instead of raising.
    """

    def __init__(
        self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True, allow_partial_load: bool = False
    ):
        self.flatten_state_dict, self.flatten_sharded_tensors = flatten_state_dict, flatten_sharded_tensors
        self.allow_partial_load = allow_partial_load
        self.original_state_dict: dict = {}
        self.mappings: FLATTEN_MAPPING = {}

    def set_up_planner(self, state_dict: dict, metadata: Metadata | None = None, is_coordinator: bool = False) -> None:
        _give_memory(state_dict)
        self.original_state_dict = state_dict
        if self.flatten_state_dict:
            state_dict, self.mappings = flatten_state_dict(state_dict)
        self.state_dict, self.metadata, self.is_coordinator = state_dict, metadata, is_coordinator

    def create_local_plan(self) -> LoadPlan:
        if self.flatten_state_dict and (missing := self.metadata.state_dict_metadata.keys() - self.state_dict.keys()):
            older, paths = flatten_state_dict_v_2_3(self.original_state_dict)
            if older.keys() & missing:
                self.state_dict, self.mappings = older, paths
        return create_default_local_load_plan(self.state_dict, self.metadata, not self.allow_partial_load)

    def create_global_plan(self, global_plan: list[LoadPlan]) -> list[LoadPlan]:
        return create_default_global_load_plan(global_plan)

    def finish_plan(self, new_plan: LoadPlan) -> LoadPlan:
        return new_plan

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Put the object into the state dict. It is read as ``jtorch.load`` does by default: nothing in it is run."""
        fqn = read_item.dest_index.fqn
        loaded = serialization.load(value)
        if self.flatten_state_dict:
            set_element(self.original_state_dict, self.mappings[fqn], loaded)
        else:
            self.state_dict[fqn] = loaded

    def resolve_tensor(self, read_item: ReadItem):
        return self.transform_tensor(read_item, self.lookup_tensor(read_item.dest_index))

    def commit_tensor(self, read_item: ReadItem, tensor) -> None:
        pass

    def lookup_tensor(self, index: MetadataIndex):
        """The block of a tensor that an index names, as a view."""
        t = self.state_dict[index.fqn]
        if blocks.is_ranked(t):
            return t.detach().to_local()
        return _narrow(t.detach(), index.offset, blocks.blocks_of(t)[index.offset])

    def transform_tensor(self, read_item: ReadItem, tensor):
        """The part of the block that an item fills, as a view."""
        return _narrow(tensor, read_item.dest_offsets, read_item.lengths)

    def load_tensor(self, read_item: ReadItem, tensor) -> None:
        if any(getattr(type(self), name) is not getattr(DefaultLoadPlanner, name) for name in _STEPS):
            super().load_tensor(read_item, tensor)
            return
        # By way of the host: each tensor is written once, however many blocks it is read from.
        fqn = read_item.dest_index.fqn
        if fqn not in self._landings:
            raise KeyError(f"{fqn} is not part of the plan")
        piece = np.asarray(tensor._value().concrete("loading a checkpoint"))
        self._landings[fqn].add(read_item.dest_index.offset, read_item.dest_offsets, piece)

    def begin(self, plan: LoadPlan) -> None:
        """Make ready for the items of ``plan``."""
        items = [item for item in plan.items if item.type is LoadItemType.TENSOR]
        counts = collections.Counter(item.dest_index.fqn for item in items)
        covered: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        for item in items:
            covered[item.dest_index.fqn][item.dest_index.offset] += math.prod(item.lengths)
        self._landings = {fqn: blocks.Landing(self.state_dict[fqn], n, covered[fqn]) for fqn, n in counts.items()}


_STEPS = ("resolve_tensor", "commit_tensor", "lookup_tensor", "transform_tensor")


def _narrow(t, offsets: Size, lengths: Size):
    for dim, (start, length) in enumerate(zip(offsets, lengths, strict=True)):
        if t.shape[dim] != length:
            t = t.narrow(dim, start, length)
    return t


def _give_memory(tree) -> None:
    """Put empty tensors on the default device in the place of those on the meta device."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(value, dict | list):
            _give_memory(value)
        elif isinstance(value, jtorch.Tensor) and value.is_meta:
            tree[key] = jtorch.empty_like(value, device=jtorch.get_default_device())


def create_default_local_load_plan(state_dict: dict[str, Any], metadata: Metadata, strict: bool = True) -> LoadPlan:
    """Every stored piece that overlaps a block of a tensor at hand.

    Raises:
        RuntimeError: something is not in the checkpoint (with ``strict``).
        ValueError: a tensor has another size there, or is none here.
    """
    items: list[ReadItem] = []
    for fqn, obj in state_dict.items():
        entry = metadata.state_dict_metadata.get(fqn)
        if entry is None:
            if strict:
                raise RuntimeError(f"Missing key in checkpoint state_dict: {fqn}.")
            continue
        if isinstance(entry, BytesStorageMetadata):
            index, none = MetadataIndex(fqn), Size((0,))
            items.append(ReadItem(LoadItemType.BYTE_IO, index, none, index, none, none))
            continue
        if not isinstance(obj, jtorch.Tensor):
            raise ValueError(
                f"{fqn} is a tensor in the checkpoint, of size {list(entry.size)}, but a {type(obj).__name__} here; "
                "put a tensor of that size in its place"
            )
        if entry.size != obj.size():
            raise ValueError(f"Size mismatch between saved {entry.size} and current: {obj.size()} for {fqn}")
        items += create_read_items_for_chunk_list(fqn, entry, _create_chunk_list(obj))
    return LoadPlan(items)


def create_default_global_load_plan(all_plans: list[LoadPlan]) -> list[LoadPlan]:
    """The plans as they are: every rank reads what it needs."""
    return all_plans


def _create_chunk_list(tensor) -> list[ChunkStorageMetadata]:
    return [ChunkStorageMetadata(offsets, extent) for offsets, extent in blocks.blocks_of(tensor).items()]


def create_read_items_for_chunk_list(
    fqn: str, checkpoint_md: TensorStorageMetadata, local_chunks: list[ChunkStorageMetadata]
) -> list[ReadItem]:
    """An item for each overlap of a stored block with one at hand."""
    items = []
    for here in local_chunks:
        for number, there in enumerate(checkpoint_md.chunks):
            start = [max(a, b) for a, b in zip(here.offsets, there.offsets, strict=True)]
            end = [
                min(a + m, b + n)
                for a, m, b, n in zip(here.offsets, here.sizes, there.offsets, there.sizes, strict=True)
            ]
            if any(s >= e for s, e in zip(start, end, strict=True)):
                continue
            items.append(
                ReadItem(
                    LoadItemType.TENSOR,
                    MetadataIndex(fqn, here.offsets),
                    Size(s - o for s, o in zip(start, here.offsets, strict=True)),
                    MetadataIndex(fqn, there.offsets, number),
                    Size(s - o for s, o in zip(start, there.offsets, strict=True)),
                    Size(e - s for s, e in zip(start, end, strict=True)),
                )
            )
    return items


class _EmptyStateDictLoadPlanner(DefaultLoadPlanner):
    """Fills an empty state dict with everything in the checkpoint, or with what ``keys`` name (prefixes too)."""

    def __init__(self, keys: set[str] | None = None, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.keys = keys

    def _should_include_key(self, key: str, metadata: Metadata) -> bool:
        if self.keys is None or key in self.keys:
            return True
        path = [str(p) for p in (metadata.planner_data or {}).get(key, ())]
        return any(".".join(path[: i + 1]) in self.keys for i in range(len(path)))

    def set_up_planner(self, state_dict: dict, metadata: Metadata | None = None, is_coordinator: bool = False) -> None:
        if state_dict:
            raise ValueError(f"{type(self).__name__} fills an empty state_dict, but this has {list(state_dict)[:5]}")
        paths = metadata.planner_data or {}
        for fqn, entry in metadata.state_dict_metadata.items():
            if self._should_include_key(fqn, metadata):
                tensor = isinstance(entry, TensorStorageMetadata)
                value = jtorch.empty(entry.size, dtype=entry.properties.dtype) if tensor else entry
                set_element(state_dict, paths.get(fqn, (fqn,)), value)
        super().set_up_planner(state_dict, metadata, is_coordinator)
