"""Checkpoints in Hugging Face's form: safetensors files, and an index of which tensor is in which.

They hold tensors only, each whole, whatever devices it lay on. A folder of blocks that PyTorch's writer left
(``save_distributed=True``) is read as well.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...dtypes import dtype
from ...futures import Future
from ...serialization import safetensors
from ...serialization.format import open_for_writing
from ...size import Size
from ...tensor.dispatch import wrap
from ...trace.value import put
from .blocks import CPU
from .filesystem import FileSystemReader, FileSystemWriter, _StorageInfo
from .metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from .planner import SavePlan, SavePlanner, WriteItem, WriteItemType
from .storage import WriteResult

_INDEX = "model.safetensors.index.json"
_SUFFIX = ".safetensors"
_SHARDING, _OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"  # where a block begins, in a file's metadata


@dataclass
class _HFStorageInfo(_StorageInfo):
    """Where a block's bytes lie, and what they are."""

    shape: tuple[int, ...] = ()
    dtype: dtype | None = None


class HuggingFaceStorageWriter(FileSystemWriter):
    """Writes tensors to safetensors files in a folder.

    Args:
        path: the folder; it is made.
        fqn_to_index_mapping: in which file, from 1 on, each tensor goes (default: one file).
        save_distributed: several ranks write what they have, each to files of its own.
        enable_consolidation: tensors are whole in the files of the folder itself. They always are, of one process.
        thread_count, thread_count_consolidation: accepted; files are written one after the other.

    Raises:
        ValueError: (in ``save``) an object is no tensor, or has no place in the mapping.
        NotImplementedError: (in ``save``) several ranks have something to write to one file.
    """

    def __init__(
        self, path: str | os.PathLike, fqn_to_index_mapping: dict[str, int] | None = None, thread_count: int = 1,
        save_distributed: bool = False, enable_consolidation: bool = False, thread_count_consolidation: int = 1,
    ):  # fmt: skip
        super().__init__(path)
        self.fqn_to_index_mapping = fqn_to_index_mapping
        self.save_distributed, self.enable_consolidation = save_distributed, enable_consolidation

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """
        Raises:
            NotImplementedError: several ranks have something to write to one file.
        """
        if self._one_set_of_files and any(plan.items for plan in plans[1:]):
            raise NotImplementedError(
                "HuggingFaceStorageWriter: several ranks cannot write to one set of files. Let the first rank write "
                "what all have, with planner=DefaultSavePlanner(dedup_save_to_lowest_rank=True); or give "
                "save_distributed=True without enable_consolidation"
            )
        return plans

    @property
    def _one_set_of_files(self) -> bool:
        return self.enable_consolidation or not self.save_distributed

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future:
        """
        Raises:
            ValueError: an object is no tensor, or has no place in the mapping.
            RuntimeError: other ranks have blocks of a tensor.
        """
        files: dict[int, dict[str, list[WriteItem]]] = defaultdict(lambda: defaultdict(list))
        for item in plan.items:
            fqn = item.index.fqn
            if item.type is WriteItemType.BYTE_IO:
                raise ValueError(f"safetensors files hold tensors only, but {fqn!r} is none; leave it out")
            if self.fqn_to_index_mapping is not None and fqn not in self.fqn_to_index_mapping:
                raise ValueError(f"fqn_to_index_mapping does not say which file {fqn!r} goes to")
            files[(self.fqn_to_index_mapping or {}).get(fqn, 1)][fqn].append(item)
        count = max((self.fqn_to_index_mapping or {"": 1}).values())
        results = []
        for index, tensors in sorted(files.items()):
            name = f"model-{index:05}-of-{count:05}{_SUFFIX}"
            name = name if self._one_set_of_files else f"shard-{self.rank + 1:05}-{name}"
            results += self._write_file(name, tensors, planner)
        out: Future = Future()
        out.set_result(results)
        return out

    def _write_file(self, name: str, tensors: dict[str, list[WriteItem]], planner: SavePlanner) -> list[WriteResult]:
        whole = {fqn: _assembled(fqn, items, planner) for fqn, items in tensors.items()}
        begins = {fqn: {_OFFSETS: [0] * t.dim()} for fqn, t in whole.items()}
        metadata = {"format": "pt", "DCP_VERSION": "1.0", _SHARDING: json.dumps(begins)}
        safetensors.save_file(whole, self.path / name, metadata)
        return [
            WriteResult(MetadataIndex(fqn, [0] * t.dim()), t.nbytes, _StorageInfo(name, 0, t.nbytes))
            for fqn, t in whole.items()
        ]

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        if not self._one_set_of_files:
            return
        written = [r for of_rank in results for r in of_rank]
        index = {
            "metadata": {"total_size": sum(r.size_in_bytes for r in written)},
            "weight_map": {r.index.fqn: r.storage_data.relative_path for r in written},
        }
        with open_for_writing(self.path / _INDEX) as stream:
            stream.write(json.dumps(index, indent=2).encode())


def _assembled(fqn: str, items: list[WriteItem], planner: SavePlanner):
    """The whole of a tensor, on the host."""
    size = items[0].tensor_data.size
    if sum(math.prod(item.tensor_data.chunk.sizes) for item in items) != math.prod(size):
        raise RuntimeError(
            f"other ranks have blocks of {fqn!r}: let one write them all, with "
            "planner=DefaultSavePlanner(dedup_save_to_lowest_rank=True)"
        )
    parts = [(item.tensor_data.chunk.offsets, planner.resolve_data(item)) for item in items]
    arrays = [(offsets, np.asarray(t.detach().cpu()._value().concrete("saving a checkpoint"))) for offsets, t in parts]
    out = np.empty(size, arrays[0][1].dtype)
    for offsets, array in arrays:
        out[tuple(slice(o, o + n) for o, n in zip(offsets, array.shape, strict=True))] = array
    return wrap(put(out, CPU))


class HuggingFaceStorageReader(FileSystemReader):
    """Reads all safetensors files of a folder.

    Args:
        path: the folder.
        thread_count: accepted; files are read one after the other.
    """

    def __init__(self, path: str | os.PathLike, thread_count: int = 1):
        super().__init__(path)

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What the files' headers say.

        Raises:
            FileNotFoundError: the folder has no such files.
            RuntimeError, EOFError: a file is damaged.
        """
        names = sorted(name for name in os.listdir(self.path) if name.endswith(_SUFFIX))
        if not names:
            raise FileNotFoundError(f"there are no {_SUFFIX} files in {self.path}")
        entries: dict[str, TensorStorageMetadata] = {}
        storage: dict[MetadataIndex, _HFStorageInfo] = {}
        for name in names:
            with open(self.path / name, "rb") as stream:
                found, metadata = safetensors.read_header(stream)
                data = stream.tell()
            begins = _begins(metadata, found, name)
            for fqn, (kind, shape, begin, end) in found.items():
                chunk = ChunkStorageMetadata(Size(begins[fqn]), Size(shape))
                reach = [o + n for o, n in zip(chunk.offsets, shape, strict=True)]
                entry = entries.setdefault(fqn, TensorStorageMetadata(TensorProperties(kind), Size(reach), []))
                entry.size = Size(max(a, b) for a, b in zip(entry.size, reach, strict=True))
                entry.chunks.append(chunk)
                storage[MetadataIndex(fqn, chunk.offsets)] = _HFStorageInfo(
                    name, data + begin, end - begin, None, shape, kind
                )
        return Metadata(entries, storage_data=storage, storage_meta=StorageMeta(load_id=self.load_id))

    def _tensor(self, stretch, info: _HFStorageInfo):
        stretch.seek(0)
        return wrap(put(np.frombuffer(stretch.read(), info.dtype.np).reshape(info.shape), CPU))


def _begins(metadata: dict[str, str], found: dict[str, tuple], name: str) -> dict[str, list[int]]:
    """Where the block of each tensor in a file begins."""
    zeros = {fqn: [0] * len(shape) for fqn, (_, shape, _, _) in found.items()}
    if _SHARDING not in metadata:
        return zeros
    try:
        begins = {fqn: list(json.loads(metadata[_SHARDING])[fqn][_OFFSETS]) for fqn in found}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RuntimeError(f"the metadata of {name} is damaged: {error}") from error
    for fqn, offsets in begins.items():
        if len(offsets) != len(zeros[fqn]) or not all(type(o) is int and o >= 0 for o in offsets):
            raise RuntimeError(f"the metadata of {name} is damaged: a block of {fqn!r} cannot begin at {offsets}")
    return begins
