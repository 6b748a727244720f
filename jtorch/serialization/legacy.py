"""PyTorch's format before 1.6: five pickles one after another, then the bytes of each storage.

magic number, version, system info, the object, the list of storage keys; then for each key the number of elements
(int64) and the elements. The bytes come after the object that needs them, so reading takes two passes over its pickle:
the first only collects the storages it names, and runs nothing.
"""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any

from . import tensors
from .format import aligned_empty
from .globals import StorageType, TypedStorage
from .names import STORAGE_NAMES
from .pickler import PROTOCOL, Pickled
from .scan import Scanner, parse_persistent_id
from .unpickle import RestrictedUnpickler

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_COUNT = struct.Struct("<q")


def load(data, position: int, unpickle, locate, encoding: str) -> tuple[Any, int]:
    """The object in ``data`` (bytes or a memory map) at ``position``, and the position behind it.

    Args:
        unpickle: ``(data, position, persistent_load) -> object``, safe or not.
        locate: ``(LoadedStorage, location) -> LoadedStorage``.

    Raises:
        RuntimeError: no magic number, an unknown version, or big-endian data.
        EOFError: the file is cut off.
    """
    head = []
    for _ in range(3):
        reader = RestrictedUnpickler(data, None, position, encoding)
        head.append(reader.load())
        position = reader.position
        if head[0] != _MAGIC:
            raise RuntimeError("Invalid magic number; corrupt file?")
    _, version, system = head
    if version != _VERSION:
        raise RuntimeError(f"Invalid protocol version: {version}")
    if not (isinstance(system, dict) and system.get("little_endian", True)):
        raise RuntimeError("the file was written on a big-endian machine; save it again on a little-endian one")

    scanner = Scanner(data, position, encoding)
    scanner.load()
    kinds: dict[str, tuple[StorageType, str, int]] = {}
    for pid in scanner.persistent_ids:
        if isinstance(pid, tuple) and pid[:1] == ("module",):
            continue
        kind, key, location, numel = parse_persistent_id(pid)
        kinds.setdefault(key, (kind, location, numel))
    reader = RestrictedUnpickler(data, None, scanner.position, encoding)
    keys = reader.load()
    end = reader.position

    storages: dict[str, tensors.LoadedStorage] = {}
    for key in (k.decode() if isinstance(k, bytes) else str(k) for k in keys):
        if key not in kinds:
            raise pickle.UnpicklingError(f"the file holds a storage {key!r} that nothing refers to")
        kind, location, numel = kinds[key]
        start, end = end + _COUNT.size, end + _COUNT.size + numel * kind.itemsize
        if end > len(data):
            raise EOFError(f"the file is cut off: {end - len(data)} bytes of storage {key} are missing")
        (stored,) = _COUNT.unpack(data[start - _COUNT.size : start])
        if stored != numel:
            raise RuntimeError(f"storage {key} has {stored} elements in the file where {numel} are expected")
        memory = aligned_empty(end - start)
        memoryview(memory)[:] = data[start:end]
        storages[key] = locate(tensors.LoadedStorage(memory), location)

    def persistent_load(pid):
        if isinstance(pid, tuple) and pid[:1] == ("module",):  # a class with its source, which only served a warning
            return pid[1]
        kind, key, _, numel = parse_persistent_id(pid)
        if key not in storages:
            raise pickle.UnpicklingError(f"the file has no storage {key!r}")
        begin = 0
        if len(pid) > 5 and pid[5] is not None:  # (key of the view, offset, length): part of another storage
            _, begin, length = pid[5]
            if type(begin) is not int or type(length) is not int or not 0 <= begin <= begin + length <= numel:
                raise pickle.UnpicklingError(f"a view of storage {key!r} leaves it")
            numel = length
        return TypedStorage(storages[key], kind.dtype, begin, numel)

    return unpickle(data, position, persistent_load), end


def save(pickled: Pickled, stream: IO[bytes]) -> None:
    """Write an object pickled with ``legacy=True``.

    Raises:
        RuntimeError: a dtype that has no storage class of its own, which no reader of the old format knows.
    """
    for saved in pickled.storages:
        if saved.record.dtype not in STORAGE_NAMES:
            raise RuntimeError(
                f"the old format has no storage for {saved.record.dtype}; "
                "save without _use_new_zipfile_serialization=False"
            )
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": _VERSION, "little_endian": True, "type_sizes": sizes}
    for part in (_MAGIC, _VERSION, system):
        stream.write(pickle.dumps(part, PROTOCOL))
    stream.write(pickled.data)
    stream.write(pickle.dumps([s.key for s in pickled.storages], PROTOCOL))
    for saved in pickled.storages:
        storage = saved.record.read()
        stream.write(_COUNT.pack(storage.size))
        stream.write(tensors.as_bytes(storage))
