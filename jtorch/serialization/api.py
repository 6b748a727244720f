"""``save`` and ``load``: PyTorch's files, written and read without PyTorch."""

from __future__ import annotations

import importlib
import io
import mmap as memory_map
import os
import pickle
import sys
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from ..devices import device
from . import legacy, tensors
from .format import MAGIC, ZipReader, ZipWriter, is_path, open_for_reading, open_for_writing
from .globals import TypedStorage, find_global, rebuild_from_any_type, rebuild_from_type
from .pickler import pickle_object
from .scan import Scanner, parse_persistent_id
from .tensors import LoadedStorage
from .unpickle import RestrictedUnpickler

MapLocation = Callable[[LoadedStorage, str], LoadedStorage | None] | device | str | dict[str, str] | None


def save(
    obj: object,
    f: str | os.PathLike | IO[bytes],
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write ``obj`` (tensors, containers of them, any picklable object) to a file that ``torch.load`` reads too.

    A file named by a path is replaced only once it is whole: if anything fails, the old one is still there. Tensors
    that share storage still share it when loaded; views keep their strides.

    Args:
        obj: what to save. State dicts are the durable form; whole modules refer to their classes by name.
        f: a path, or a writable binary file.
        pickle_module: a module whose ``Pickler`` to use (the standard library's).
        pickle_protocol: taken for PyTorch's sake. Files are written with protocol 2, which every reader knows.
        _use_new_zipfile_serialization: False writes the format of PyTorch before 1.6.

    Raises:
        RuntimeError: the folder does not exist, or tensors of different dtypes share one storage.
        pickle.PicklingError, AttributeError, TypeError: something in ``obj`` cannot be pickled.
    """
    if isinstance(pickle_protocol, bool) or not isinstance(pickle_protocol, int) or pickle_protocol < 0:
        raise ValueError(f"pickle_protocol must be an integer >= 0, got {pickle_protocol!r}")
    pickled = pickle_object(obj, pickle_module or pickle, legacy=not _use_new_zipfile_serialization)
    with open_for_writing(f) as stream:
        if not _use_new_zipfile_serialization:
            legacy.save(pickled, stream)
            return
        writer = ZipWriter(stream, _archive_name(f))
        writer.add("data.pkl", pickled.data)
        writer.add("byteorder", sys.byteorder.encode())
        for storage in pickled.storages:
            writer.add(f"data/{storage.key}", tensors.as_bytes(storage.record.read()))
        writer.add("version", b"3\n")
        writer.close()


def _archive_name(f) -> str:
    stem = os.path.splitext(os.path.basename(os.fsdecode(f)))[0] if is_path(f) else ""
    return stem if stem and stem.isascii() and stem.isprintable() else "archive"


def load(
    f: str | os.PathLike | IO[bytes],
    map_location: MapLocation = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what :func:`save` or ``torch.save`` wrote (either of PyTorch's formats).

    Args:
        f: a path, or a readable and seekable binary file.
        map_location: where tensors go: a device or its name; a dict from the name in the file to another; or a
            function ``(storage, name) -> storage or None``. By default, where they were when saved.
        pickle_module: a module whose ``Unpickler`` to use; implies ``weights_only=False``.
        weights_only: True (the default) builds tensors and plain data and runs nothing else. **False can run any code
            that is in the file**: only for files you trust.
        mmap: read tensors from a memory map of the file, when they are used (zip format, ``f`` a path).
        pickle_load_args: ``encoding=`` for byte strings in files written by Python 2 (``"utf-8"``); with
            ``weights_only=False``, any argument of ``Unpickler``.

    Raises:
        pickle.UnpicklingError: the file names a global that is not allowed, or is damaged.
        RuntimeError: not a whole archive; a tensor that leaves its storage; a device this machine does not have.
        EOFError: the file is cut off.
        FileNotFoundError: no such file.
    """
    if weights_only is None:
        weights_only = pickle_module is None
    if weights_only and pickle_module is not None:
        raise RuntimeError("weights_only=True does not use a pickle_module: leave one of them out")
    if mmap and not is_path(f):
        raise ValueError("f must be a file path in order to use the mmap argument")
    if weights_only and set(pickle_load_args) - {"encoding"}:
        raise TypeError(f"weights_only=True takes no {', '.join(sorted(set(pickle_load_args) - {'encoding'}))}")
    pickle_load_args.setdefault("encoding", "utf-8")
    unpickle = _restricted(pickle_load_args) if weights_only else _trusted(pickle_module or pickle, pickle_load_args)
    locate = _locator(map_location)
    with open_for_reading(f) as stream:
        if _starts_as_zip(stream):
            reader = ZipReader(stream, mapped=bool(mmap))
            return _load_zip(reader, unpickle, locate, without_data=_names_meta(map_location))
        if mmap:
            raise RuntimeError(
                "mmap can only be used with files of the zip format; save the file again without "
                "_use_new_zipfile_serialization=False, or load it without mmap"
            )
        start = stream.tell()
        data = _whole(stream, f)
        origin = 0 if isinstance(data, memory_map.mmap) else start
        out, end = legacy.load(data, start - origin, unpickle, locate, pickle_load_args["encoding"])
        stream.seek(origin + end)  # more objects may follow
        return out


def _starts_as_zip(stream: IO[bytes]) -> bool:
    start = stream.tell()
    head = stream.read(len(MAGIC))
    stream.seek(start)
    return head == MAGIC


def _whole(stream: IO[bytes], f) -> bytes | memory_map.mmap:
    """The file's contents: mapped where it is a file of our own opening, read from here on otherwise."""
    if is_path(f) and os.fstat(stream.fileno()).st_size:
        return memory_map.mmap(stream.fileno(), 0, access=memory_map.ACCESS_READ)
    return stream.read()


def _load_zip(reader: ZipReader, unpickle, locate, without_data: bool) -> Any:
    if "constants.pkl" in reader:
        raise RuntimeError(
            "the file is a TorchScript archive, which holds a program and not only tensors: in PyTorch, "
            "torch.save(torch.jit.load(file).state_dict(), other_file), and load that"
        )
    if "byteorder" in reader and reader.read("byteorder") != b"little":
        raise RuntimeError("the file was written on a big-endian machine; save it again on a little-endian one")
    storages: dict[str, LoadedStorage] = {}

    def persistent_load(pid: tuple) -> TypedStorage:
        kind, key, location, numel = parse_persistent_id(pid)
        record = f"data/{key}"
        if reader.size(record) < numel * kind.itemsize:
            raise RuntimeError(
                f"storage {key} has {reader.size(record)} bytes in the file where {numel * kind.itemsize} are expected"
            )
        if key not in storages:
            data = np.empty(0, np.uint8) if without_data else reader.array(record)
            storages[key] = locate(LoadedStorage(data), location)
        return TypedStorage(storages[key], kind.dtype, 0, numel)

    return unpickle(reader.read("data.pkl"), 0, persistent_load)


# --- devices -------------------------------------------------------------------------------------------------------


def _names_meta(map_location: MapLocation) -> bool:
    return isinstance(map_location, (str, device)) and device(map_location).type == "meta"


def _locator(map_location: MapLocation) -> Callable[[LoadedStorage, str], LoadedStorage]:
    """The function that decides the device of each storage."""
    if isinstance(map_location, (str, device)):
        target = str(device(map_location))
        if not _names_meta(map_location):
            tensors.check_location(target)
        return lambda storage, location: storage.to(target)

    def restore(storage: LoadedStorage, location: str) -> LoadedStorage:
        if location != "cpu":
            try:
                tensors.check_location(location)
            except RuntimeError as error:
                raise RuntimeError(
                    f"Attempting to deserialize a tensor that was saved on '{location}', but {error}. To load it "
                    "elsewhere, say where: map_location='cpu'"
                ) from error
        return storage.to(location)

    if map_location is None:
        return restore
    if isinstance(map_location, dict):
        return lambda storage, location: restore(storage, str(map_location.get(location, location)))
    if not callable(map_location):
        raise TypeError(f"map_location must be a device, a string, a dict or a function, not {type(map_location)}")

    def ask(storage: LoadedStorage, location: str) -> LoadedStorage:
        answer = map_location(storage, location)
        return restore(storage, location) if answer is None else answer

    return ask


# --- the two unpicklers --------------------------------------------------------------------------------------------


def _restricted(options: dict[str, Any]):
    def unpickle(data, position: int, persistent_load):
        return RestrictedUnpickler(data, persistent_load, position, options["encoding"]).load()

    return unpickle


def _trusted(pickle_module, options: dict[str, Any]):
    def unpickle(data, position: int, load_storage):
        class Unpickler(pickle_module.Unpickler):
            def find_class(self, module, name):
                try:
                    found = find_global(f"{module}.{name}")
                except KeyError:
                    if module.partition(".")[0] == "torch":
                        return _counterpart(module, name)
                    return super().find_class(module, name)
                return rebuild_from_any_type if found is rebuild_from_type else found

            def persistent_load(self, pid):
                return load_storage(pid)

        stream = data if isinstance(data, memory_map.mmap) else io.BytesIO(data)
        stream.seek(position)
        return Unpickler(stream, **options).load()

    return unpickle


def _counterpart(module: str, name: str) -> Any:
    """Our class or function for one of PyTorch's: in the module of the same name, or a package above it.

    So ``torch.nn.modules.linear.Linear`` is found as ``jtorch.nn.Linear``.

    Raises:
        pickle.UnpicklingError: there is none.
    """
    path = ["jtorch", *module.split(".")[1:]]
    while path:
        try:
            found: Any = importlib.import_module(".".join(path))
            for part in name.split("."):
                found = getattr(found, part)
            return found
        except (ModuleNotFoundError, AttributeError):
            path.pop()
    raise pickle.UnpicklingError(f"the file refers to {module}.{name}, which has no counterpart in jtorch")


def get_unsafe_globals_in_checkpoint(f: str | os.PathLike | IO[bytes]) -> list[str]:
    """The globals a file names that ``load`` would refuse with ``weights_only=True``. Runs nothing of the file.

    Raises:
        RuntimeError: a file of the old format.
    """
    with open_for_reading(f) as stream:
        if not _starts_as_zip(stream):
            raise RuntimeError("only files of the zip format can be searched for globals")
        scanner = Scanner(ZipReader(stream).read("data.pkl"))
    scanner.load()
    return [name for name, allowed in scanner.globals.items() if not allowed]
