"""The file ``.metadata``: a pickle of PyTorch's metadata classes, written and read without running code.

Each class lies in a module that mirrors PyTorch's, so the name to write is its own with ``torch`` for ``jtorch``. The
reader is the restricted unpickler of ``jtorch.load``, with these few classes in addition; what it built is checked
before anybody uses it.
"""

from __future__ import annotations

import _compat_pickle
import math
import pathlib
import pickle

from ...dtypes import dtype
from ...serialization.pickler import pickle_object
from ...serialization.unpickle import RestrictedUnpickler
from ...size import Size
from . import metadata as md

NAME = ".metadata"


def _torch_name(cls: type) -> tuple[str, str]:
    return cls.__module__.replace("jtorch", "torch", 1), cls.__qualname__


_known: dict[str, type] = {
    "pathlib.PosixPath": pathlib.PurePosixPath,
    "pathlib.WindowsPath": pathlib.PureWindowsPath,
    "pathlib._local.PosixPath": pathlib.PurePosixPath,  # Python 3.13's name
    "pathlib._local.WindowsPath": pathlib.PureWindowsPath,
}


def register(cls: type, *older_names: str) -> type:
    """Let files name this class: as PyTorch's of the same module, and under older names when they are read."""
    module, name = _torch_name(cls)
    _compat_pickle.REVERSE_NAME_MAPPING[cls.__module__, cls.__qualname__] = (module, name)
    _known.update(dict.fromkeys((f"{module}.{name}", *older_names), cls))
    return cls


_OLDER = "torch.distributed._shard.sharded_tensor.metadata"  # before PyTorch 2.3
register(md.TensorProperties, f"{_OLDER}.TensorProperties")
register(md._MEM_FORMAT_ENCODING, f"{_OLDER}.MEM_FORMAT_ENCODING")
for _cls in (
    md.ChunkStorageMetadata, md.TensorStorageMetadata, md.BytesStorageMetadata, md.StorageMeta, md.Metadata,
    md.MetadataIndex,
):  # fmt: skip
    register(_cls)


def dumps(metadata: md.Metadata) -> bytes:
    """The content of the file."""
    return pickle_object(metadata).data


def loads(data: bytes) -> md.Metadata:
    """The metadata in a file's content. Runs nothing of the file.

    Raises:
        pickle.UnpicklingError: the file names something else than metadata (allow what you trust with
            ``jtorch.serialization.add_safe_globals``), or is damaged.
    """
    machine = RestrictedUnpickler(data)
    machine.allowed = {**machine.allowed, **_known}
    machine.allowed_classes = (*machine.allowed_classes, *_known.values())
    found = machine.load()
    try:
        _check(found)
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise pickle.UnpicklingError(f"this is not the metadata of a checkpoint: {error}") from error
    return found


def _check(found) -> None:
    if type(found) is not md.Metadata:
        raise TypeError(f"it holds a {type(found).__name__}")
    for fqn, entry in found.state_dict_metadata.items():
        if type(fqn) is not str or type(entry) not in (md.TensorStorageMetadata, md.BytesStorageMetadata):
            raise TypeError(f"the entry {fqn!r} is a {type(entry).__name__}")
        if type(entry) is md.TensorStorageMetadata:
            _check_tensor(fqn, entry)
    for index in found.storage_data or {}:
        if type(index) is not md.MetadataIndex or type(index.fqn) is not str:
            raise TypeError(f"{index!r} does not name a stored block")
    for fqn, path in (found.planner_data or {}).items() if isinstance(found.planner_data, dict) else ():
        if type(fqn) is str and not (isinstance(path, tuple) and path and all(type(p) in (str, int) for p in path)):
            raise TypeError(f"{path!r} is not the path of {fqn!r}")


def _check_tensor(fqn: str, entry: md.TensorStorageMetadata) -> None:
    if type(entry.properties) is not md.TensorProperties or not isinstance(entry.properties.dtype, dtype):
        raise TypeError(f"{fqn!r} has no dtype")
    sizes = [entry.size, *(s for chunk in entry.chunks for s in (chunk.offsets, chunk.sizes))]
    for s in sizes:
        if not isinstance(s, Size) or len(s) != len(entry.size) or any(type(n) is not int or n < 0 for n in s):
            raise TypeError(f"{s!r} is no shape of {fqn!r}")
    for chunk in entry.chunks:
        if any(o + n > whole for o, n, whole in zip(chunk.offsets, chunk.sizes, entry.size, strict=True)):
            raise ValueError(f"a block of {fqn!r} lies outside of it: {chunk}")
    if math.prod(entry.size) >= 2**63:
        raise ValueError(f"{fqn!r} has the impossible size {list(entry.size)}")
