"""Checkpoints in a folder: PyTorch's files, which either library reads.

Each rank writes ``__<rank>_<number>.distcp`` files, in which items follow one another, each as ``jtorch.save`` writes
it; ``.metadata`` says where each lies, and is written last, under another name first. A checkpoint that is overwritten
stays whole until then: the new files have other numbers, and those of the old one are removed at the end.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import io
import os
import pickle
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ... import serialization
from ...futures import Future
from ...serialization.format import open_for_writing
from . import blocks, metadata_file
from .metadata import Metadata, StorageMeta
from .planner import LoadItemType, LoadPlan, LoadPlanner, SavePlan, SavePlanner, WriteItem, WriteItemType
from .staging import BlockingAsyncStager
from .storage import StorageReader, StorageWriter, WriteResult

DEFAULT_SUFFIX = ".distcp"
CURRENT_DCP_VERSION = "1.0.0"
_OURS = re.compile(r"__\d+_\d+\.distcp")


@dataclass
class _StorageInfo:
    """Where an item lies."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: Any = None

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if value is not None}


metadata_file.register(_StorageInfo)


@dataclass
class _StoragePrefix:
    """How the names of a rank's files begin."""

    prefix: str


class SerializationFormat(enum.Enum):
    """How tensors are written; only ``TORCH_SAVE`` is supported."""

    TORCH_SAVE = "torch_save"
    SAFETENSORS = "safetensors"


def _folder(path: str | os.PathLike) -> Path:
    return Path(os.fspath(path))


def _is_folder_name(checkpoint_id) -> bool:
    return isinstance(checkpoint_id, str | os.PathLike) and "://" not in str(checkpoint_id)


def given_or_folder(storage, checkpoint_id, default: type, name: str):
    """The reader or writer ``storage``, or one of the class ``default`` for a folder, told of ``checkpoint_id``.

    Args:
        name: what the argument is called (``"storage_reader"``).

    Raises:
        RuntimeError: neither is given, or ``checkpoint_id`` is no folder's name.
    """
    if storage is None:
        if not checkpoint_id:
            raise RuntimeError(
                "`checkpoint_id` must be specified if storage_reader/storage_writer is None: give the checkpoint's "
                "folder"
            )
        if not default.validate_checkpoint_id(checkpoint_id):
            raise RuntimeError(
                f"Cannot detect which StorageReader or StorageWriter to use for {checkpoint_id!r}: only folders are "
                f"known; give a {name}"
            )
        storage = default(checkpoint_id)
    storage.reset(checkpoint_id)
    return storage


class _InFolder:
    """What reader and writer say about their folder, ``path``."""

    path: Path

    @property
    def checkpoint_id(self) -> str | os.PathLike:
        """The folder."""
        return self.path

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike) -> bool:
        return _is_folder_name(checkpoint_id)


# --- writing -------------------------------------------------------------------------------------------------------


class FileSystemWriter(_InFolder, BlockingAsyncStager, StorageWriter):
    """Writes a checkpoint to a folder.

    Args:
        path: the folder; it is made.
        single_file_per_rank: False gives each item a file of its own.
        sync_files: wait until the files are on the disk.
        thread_count: how many files a rank writes at the same time.
        overwrite: replace a checkpoint that is there, once the new one is whole.
        per_thread_copy_ahead, cache_staged_state_dict: accepted; they change nothing here.

    Raises:
        NotImplementedError: ``_extensions``, or a format other than ``TORCH_SAVE``.
    """

    def __init__(
        self, path: str | os.PathLike, single_file_per_rank: bool = True, sync_files: bool = True,
        thread_count: int = 1, per_thread_copy_ahead: int = 10_000_000, cache_staged_state_dict: bool = False,
        overwrite: bool = True, _extensions=None,
        serialization_format: SerializationFormat = SerializationFormat.TORCH_SAVE,
    ):  # fmt: skip
        if _extensions or serialization_format is not SerializationFormat.TORCH_SAVE:
            raise NotImplementedError(
                "FileSystemWriter: extensions and the safetensors format are not supported; leave them out, or write "
                "with jtorch.serialization.safetensors.save_file"
            )
        super().__init__(cache_staged_state_dict)
        self.path = _folder(path)
        self.single_file_per_rank, self.sync_files = single_file_per_rank, sync_files
        self.thread_count, self.overwrite = thread_count, overwrite
        self.rank, self.save_id = 0, str(uuid.uuid4())

    def reset(self, checkpoint_id: str | os.PathLike | None = None) -> None:
        if checkpoint_id:
            self.path = _folder(checkpoint_id)
        self.save_id = str(uuid.uuid4())

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self.rank = kwargs.get("rank") or 0

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """
        Raises:
            RuntimeError: there is a checkpoint, and ``overwrite`` is False.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.overwrite and self._metadata_path().exists():
            raise RuntimeError(
                f"Checkpoint already exists in {self.path} and self.overwrite=False. Save elsewhere, or with "
                "FileSystemWriter(path, overwrite=True)"
            )
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return [dataclasses.replace(plan, storage_data=_StoragePrefix(f"__{i}_")) for i, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future:
        bins = self._bins(plan.items)
        names = self._free_names(plan.storage_data.prefix)
        jobs = [(next(names), items) for items in bins if items]
        out: Future = Future()
        if self.thread_count == 1:
            written = [self._write(name, items, planner) for name, items in jobs]
        else:
            with ThreadPoolExecutor(self.thread_count) as pool:
                written = list(pool.map(lambda job: self._write(*job, planner), jobs))
        out.set_result([result for results in written for result in results])
        return out

    def _bins(self, items: list[WriteItem]) -> list[list[WriteItem]]:
        """The items of each file: the objects first, then the tensors, the largest first where there are several."""
        if not self.single_file_per_rank:
            return [[item] for item in items]
        items = sorted(items, key=lambda item: item.type is not WriteItemType.BYTE_IO)
        if self.thread_count == 1:
            return [items]
        bins: list[list[WriteItem]] = [[] for _ in range(self.thread_count)]
        filled = [0] * self.thread_count
        for item in sorted(items, key=lambda item: -_nbytes(item)):
            i = filled.index(min(filled))
            bins[i].append(item)
            filled[i] += _nbytes(item) or 1
        return bins

    def _free_names(self, prefix: str):
        """Names that no file has: those there may be part of a checkpoint that is to be replaced."""
        there = set(os.listdir(self.path))
        number = 0
        while True:
            name = f"{prefix}{number}{DEFAULT_SUFFIX}"
            if name not in there:
                yield name
            number += 1

    def _write(self, name: str, items: list[WriteItem], planner: SavePlanner) -> list[WriteResult]:
        results = []
        with open_for_writing(self.path / name) as stream:
            for item in items:
                start, data = stream.tell(), planner.resolve_data(item)
                if isinstance(data, io.BytesIO):
                    stream.write(data.getbuffer())
                else:
                    serialization.save(data.detach().cpu().contiguous(), stream)
                length = stream.tell() - start
                results.append(WriteResult(item.index, length, _StorageInfo(name, start, length)))
            self._sync(stream)
        return results

    def _sync(self, stream) -> None:
        if self.sync_files:
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        metadata.version = CURRENT_DCP_VERSION
        metadata.storage_data = {r.index: r.storage_data for of_rank in results for r in of_rank}
        metadata.storage_meta = self.storage_meta()
        with open_for_writing(self._metadata_path()) as stream:
            stream.write(metadata_file.dumps(metadata))
            self._sync(stream)
        used = {info.relative_path for info in metadata.storage_data.values()}
        for name in os.listdir(self.path):
            if _OURS.fullmatch(name) and name not in used:  # of the checkpoint before, or of a save that failed
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path / name)

    def storage_meta(self) -> StorageMeta:
        return StorageMeta(checkpoint_id=str(self.path), save_id=self.save_id)

    def _metadata_path(self) -> Path:
        return self.path / metadata_file.NAME


def _nbytes(item: WriteItem) -> int:
    """Bytes of the whole tensor that the item is a block of; 0 for objects."""
    return item.tensor_storage_size() or 0


# --- reading -------------------------------------------------------------------------------------------------------


class _Slice(io.RawIOBase):
    """A stretch of a file as a file."""

    def __init__(self, stream, start: int, length: int):
        self._stream, self._start, self._length, self._at = stream, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        if origin + offset < 0:
            raise ValueError(f"negative seek position {origin + offset}")
        self._at = origin + offset
        return self._at

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._length - self._at)]
        self._stream.seek(self._start + self._at)
        count = self._stream.readinto(view)
        self._at += count
        return count


class FileSystemReader(_InFolder, StorageReader):
    """Reads a checkpoint from a folder.

    Args:
        path: the folder.

    Raises:
        NotImplementedError: ``_extension_registry``.
    """

    def __init__(self, path: str | os.PathLike, _extension_registry=None):
        if _extension_registry is not None:
            raise NotImplementedError("FileSystemReader: extensions are not supported; leave them out")
        self.path, self.load_id = _folder(path), str(uuid.uuid4())
        self.storage_data: dict = {}

    def reset(self, checkpoint_id: str | os.PathLike | None = None) -> None:
        self.storage_data = {}
        if checkpoint_id:
            self.path = _folder(checkpoint_id)
        self.load_id = str(uuid.uuid4())

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """
        Raises:
            FileNotFoundError: there is no checkpoint.
            pickle.UnpicklingError: the file is damaged, or names what is no metadata.
        """
        metadata = metadata_file.loads((self.path / metadata_file.NAME).read_bytes())
        metadata.storage_meta = metadata.__dict__.get("storage_meta") or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self.storage_data = metadata.storage_data

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future:
        """
        Raises:
            pickle.UnpicklingError: a stored object is of a class that may not be loaded.
            RuntimeError: a file is damaged.
        """
        by_file = collections.defaultdict(lambda: collections.defaultdict(list))
        for item in plan.items:
            info = self._info(item.storage_index)
            by_file[info.relative_path][info.offset, info.length].append(item)
        for name, stretches in by_file.items():
            with open(self.path / name, "rb") as stream:
                for (offset, length), items in sorted(stretches.items()):
                    self._read(_Slice(stream, offset, length), items, planner)
        out: Future = Future()
        out.set_result(None)
        return out

    def _info(self, index) -> _StorageInfo:
        info = self.storage_data.get(index)
        if not isinstance(info, _StorageInfo):
            raise RuntimeError(f"the checkpoint in {self.path} does not say where {index} lies")
        if info.transform_descriptors:
            raise NotImplementedError(
                f"{info.relative_path} was written with the extensions {list(info.transform_descriptors)}, which are "
                "not supported; save the checkpoint again without them"
            )
        path = PurePath(info.relative_path)
        numbers = all(type(n) is int and n >= 0 for n in (info.offset, info.length))
        if not numbers or path.is_absolute() or ".." in path.parts or "\\" in info.relative_path:
            raise pickle.UnpicklingError(f"the metadata names a file outside of the checkpoint, or is damaged: {info}")
        return info

    def _tensor(self, stretch: _Slice, info: _StorageInfo):
        """A stored block."""
        stretch.seek(0)
        return serialization.load(stretch, map_location="cpu", weights_only=True)

    def _read(self, stretch: _Slice, items: list, planner: LoadPlanner) -> None:
        """Each stored block is read once, whatever is made of it."""
        tensors = [item for item in items if item.type is LoadItemType.TENSOR]
        for item in items:
            if item.type is LoadItemType.BYTE_IO:
                stretch.seek(0)
                planner.load_bytes(item, io.BytesIO(stretch.read()))
        if tensors:
            stored = self._tensor(stretch, self.storage_data[tensors[0].storage_index])
            for item in tensors:
                planner.load_tensor(item, blocks.part(stored, item.storage_offsets, item.lengths))
