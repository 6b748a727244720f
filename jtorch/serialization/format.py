"""The container: a zip archive whose records are stored uncompressed at aligned offsets.

Uncompressed and aligned, a tensor's bytes can be used where they lie in a memory-mapped file. The writer goes through
its output once, front to back, so any writable object will do.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import secrets
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

ALIGNMENT = 64  # a cache line, and what XLA wants of a buffer it uses in place
MAGIC = b"PK\x03\x04"

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<4sIQI")
_UTF8, _STORED, _DATE = 0x800, 0, 0x21  # 1980-01-01: the same contents give the same file
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF


class ZipWriter:
    """Writes records under ``root/`` to ``stream``; :meth:`close` writes the directory (and leaves the stream open)."""

    def __init__(self, stream: IO[bytes], root: str):
        self._stream, self._root = stream, root
        self._position = 0
        self._directory: list[tuple[bytes, int, int, int]] = []  # name, crc, size, offset

    def _write(self, data) -> None:
        self._stream.write(data)
        self._position += len(data)

    def add(self, name: str, data: bytes | memoryview) -> None:
        """Append one record; ``data`` counts in bytes."""
        encoded = f"{self._root}/{name}".encode()
        size, offset, crc = len(data), self._position, zlib.crc32(data)
        extra = struct.pack("<HHQQ", 1, 16, size, size) if size >= _MAX32 else b""
        start = offset + _LOCAL.size + len(encoded) + len(extra) + 4
        padding = -start % ALIGNMENT
        extra += b"FB" + struct.pack("<H", padding) + b"Z" * padding
        short = min(size, _MAX32)
        fields = (45, _UTF8, _STORED, 0, _DATE, crc, short, short, len(encoded), len(extra))
        self._write(_LOCAL.pack(MAGIC, *fields) + encoded + extra)
        self._write(data)
        self._directory.append((encoded, crc, size, offset))

    def close(self) -> None:
        """Write the central directory."""
        start = self._position
        for name, crc, size, offset in self._directory:
            large = [v for v in (size, size, offset) if v >= _MAX32]
            extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
            short, where = min(size, _MAX32), min(offset, _MAX32)
            fields = (45, 45, _UTF8, _STORED, 0, _DATE, crc, short, short, len(name), len(extra), 0, 0, 0, 0, where)
            self._write(_CENTRAL.pack(b"PK\x01\x02", *fields) + name + extra)
        end, count = self._position, len(self._directory)
        if start >= _MAX32 or end - start >= _MAX32 or count >= _MAX16:
            body = _END64.size - 12
            self._write(_END64.pack(b"PK\x06\x06", body, 45, 45, 0, 0, count, count, end - start, start))
            self._write(_LOCATOR64.pack(b"PK\x06\x07", 0, end, 1))
        count, length, start = min(count, _MAX16), min(end - start, _MAX32), min(start, _MAX32)
        self._write(_END.pack(b"PK\x05\x06", 0, 0, count, count, length, start, 0))


class ZipReader:
    """Reads the records of an archive.

    Args:
        stream: readable and seekable.
        mapped: map the file into memory and hand out storages as views of it, read when they are touched.

    Raises:
        RuntimeError: not a whole zip archive, or not one of ours.
    """

    def __init__(self, stream: IO[bytes], mapped: bool = False):
        self._stream = stream
        try:
            self._zip = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, EOFError, ValueError, struct.error) as error:
            raise RuntimeError(
                "PytorchStreamReader failed reading zip archive: failed finding central directory "
                f"({error}; the file is cut off or damaged)"
            ) from error
        names = self._zip.namelist()
        root, slash, _ = (names[0] if names else "").partition("/")
        if not slash:
            raise RuntimeError("PytorchStreamReader failed reading zip archive: archive does not contain a directory")
        self._root = root
        self._infos = {info.filename: info for info in self._zip.infolist()}
        self._length = stream.seek(0, io.SEEK_END)
        self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if mapped else None

    def __contains__(self, name: str) -> bool:
        return f"{self._root}/{name}" in self._infos

    def names(self) -> list[str]:
        """The records, in the file's order."""
        return [name.removeprefix(f"{self._root}/") for name in self._infos]

    def _info(self, name: str) -> zipfile.ZipInfo:
        info = self._infos.get(f"{self._root}/{name}")
        if info is None:
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: file not found")
        return info

    def _offset(self, info: zipfile.ZipInfo) -> int:
        """Where a stored record's bytes begin: behind its local header, whose length the directory does not know."""
        if info.header_offset < 0:
            raise RuntimeError(f"PytorchStreamReader failed reading file {info.filename}: the directory is damaged")
        self._stream.seek(info.header_offset)
        header = self._stream.read(_LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != MAGIC:
            raise RuntimeError(f"PytorchStreamReader failed reading file {info.filename}: bad local header")
        fields = _LOCAL.unpack(header)
        offset = info.header_offset + _LOCAL.size + fields[-2] + fields[-1]
        if offset + info.file_size > self._length:
            raise RuntimeError(f"PytorchStreamReader failed reading file {info.filename}: the file is cut off")
        return offset

    def size(self, name: str) -> int:
        """Length of a record in bytes."""
        return self._info(name).file_size

    def read(self, name: str) -> bytes:
        """A record's bytes."""
        return self.array(name).tobytes()

    def array(self, name: str) -> np.ndarray:
        """A record as a 1-d uint8 array: aligned memory of its own, or a read-only view of the mapped file."""
        info = self._info(name)
        if info.compress_type == zipfile.ZIP_DEFLATED:  # somebody packed the archive again
            try:
                return np.frombuffer(self._zip.read(info), np.uint8)
            except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
                raise RuntimeError(f"PytorchStreamReader failed reading file {name}: {error}") from error
        if info.compress_type != zipfile.ZIP_STORED:
            raise RuntimeError(f"PytorchStreamReader failed reading file {name}: unknown compression")
        offset = self._offset(info)
        if self._map is not None and info.file_size:
            return np.frombuffer(self._map, np.uint8, info.file_size, offset)
        self._stream.seek(offset)
        return read_aligned(self._stream, info.file_size)


def aligned_empty(size: int) -> np.ndarray:
    """``size`` uninitialised bytes at a 64-byte boundary, so that XLA can use them without a copy."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def read_aligned(stream: IO[bytes], size: int) -> np.ndarray:
    """The next ``size`` bytes of ``stream``.

    Raises:
        EOFError: the stream ends before.
    """
    out = aligned_empty(size)
    view, done = memoryview(out), 0
    while done < size:
        if hasattr(stream, "readinto"):
            count = stream.readinto(view[done:])
        else:
            chunk = stream.read(size - done)
            count = len(chunk)
            view[done : done + count] = chunk
        if not count:
            raise EOFError(f"expected {size} bytes of tensor data, but the file ended after {done}")
        done += count
    return out


# --- files, paths and streams --------------------------------------------------------------------------------------


def is_path(f: Any) -> bool:
    return isinstance(f, (str, os.PathLike))


def is_zip(stream: IO[bytes]) -> bool:
    """Whether an archive begins here; the position stays."""
    start = stream.tell()
    found = stream.read(len(MAGIC))
    stream.seek(start)
    return found == MAGIC


@contextlib.contextmanager
def open_for_reading(f: str | os.PathLike | IO[bytes]) -> Iterator[IO[bytes]]:
    """``f`` itself, or the file it names.

    Raises:
        AttributeError: ``f`` is neither a path nor a seekable stream.
    """
    if is_path(f):
        with open(f, "rb") as stream:
            yield stream
        return
    missing = [name for name in ("read", "seek", "tell") if not hasattr(f, name)]
    if missing:
        raise AttributeError(
            f"load() takes a path or a seekable file; {type(f).__name__} has no {missing[0]}(). You can only "
            "torch.load from a file that is seekable. Please pre-load the data into a buffer like io.BytesIO and try "
            "to load from it instead."
        )
    yield f


@contextlib.contextmanager
def open_for_writing(f: str | os.PathLike | IO[bytes]) -> Iterator[IO[bytes]]:
    """``f`` itself, or a new file that takes the place of the one ``f`` names once the block has ended without error.

    Raises:
        RuntimeError: the folder does not exist.
        AttributeError: ``f`` is neither a path nor writable.
    """
    if not is_path(f):
        if not hasattr(f, "write"):
            raise AttributeError(f"save() takes a path or a writable file, not {type(f).__name__}")
        yield f
        if hasattr(f, "flush"):
            f.flush()  # who opens the file by its name, while this one is open, finds all of it
        return
    target = os.path.realpath(os.fsdecode(f))  # through a symbolic link, so that the link stays one
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    mode = os.stat(target).st_mode if os.path.exists(target) else None
    if mode is not None and not stat.S_ISREG(mode):  # a device or a pipe cannot be replaced; a folder raises here
        with open(target, "wb") as stream:
            yield stream
        return
    temporary = os.path.join(folder, f".{os.path.basename(target)[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            yield stream
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
