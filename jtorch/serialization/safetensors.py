"""The safetensors format: a JSON header and the tensors' bytes, nothing that runs.

Layout: the header's length (uint64, little-endian), the header ``{name: {"dtype", "shape", "data_offsets"}}`` (and
``"__metadata__"``: strings), then the data, every tensor contiguous and without gaps. It needs no library.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from .. import dtypes
from ..devices import device as Device
from ..size import Size
from . import tensors
from .format import open_for_reading, open_for_writing, read_aligned
from .tensors import LoadedStorage, TensorRecord

_CODES = {
    "F64": dtypes.float64, "F32": dtypes.float32, "F16": dtypes.float16, "BF16": dtypes.bfloat16,
    "F8_E4M3": dtypes.float8_e4m3fn, "F8_E5M2": dtypes.float8_e5m2, "F8_E4M3FNUZ": dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": dtypes.float8_e5m2fnuz, "C64": dtypes.complex64, "I64": dtypes.int64, "I32": dtypes.int32,
    "I16": dtypes.int16, "I8": dtypes.int8, "U64": dtypes.uint64, "U32": dtypes.uint32, "U16": dtypes.uint16,
    "U8": dtypes.uint8, "BOOL": dtypes.bool_,
}  # fmt: skip
_CODE_OF = {d: code for code, d in _CODES.items()}
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000  # the format's own limit


def save_file(tensors: Mapping[str, Any], filename: str | os.PathLike, metadata: Mapping[str, str] | None = None):
    """Write named tensors to a file, which is replaced only once the new one is whole.

    Views are written as contiguous tensors.

    Raises:
        ValueError: not a dict of tensors by name, or a dtype the format does not have (complex128).
        RuntimeError: two tensors share memory, which the format cannot say.
    """
    records, header = _header(tensors, metadata)
    with open_for_writing(filename) as stream:
        _write(stream, records, header)


def save(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """What :func:`save_file` would write, as bytes."""
    stream = io.BytesIO()
    _write(stream, *_header(tensors, metadata))
    return stream.getvalue()


def load_file(filename: str | os.PathLike, device: Device | str = "cpu") -> dict[str, Any]:
    """The tensors of a file by name, on ``device``.

    Raises:
        RuntimeError: the header is damaged, or does not fit the data.
        EOFError: the file is cut off.
    """
    with open_for_reading(filename) as stream:
        return _read(stream, device)


def load(data: bytes, device: Device | str = "cpu") -> dict[str, Any]:
    """The tensors in the bytes of a safetensors file."""
    return _read(io.BytesIO(data), device)


def _header(named: Mapping[str, Any], metadata: Mapping[str, str] | None) -> tuple[list[TensorRecord], bytes]:
    records: dict[str, TensorRecord] = {}
    owners: dict[Any, str] = {}
    for name, tensor in named.items():
        record = tensors.describe(tensor) if isinstance(name, str) and name != "__metadata__" else None
        if record is None or record.device == "meta":
            raise ValueError(f"expected a dict of tensors by name, but {name!r} is a {type(tensor).__name__}")
        if record.dtype not in _CODE_OF:
            raise ValueError(f"safetensors has no type for {record.dtype} ({name!r}); convert it with .to(dtype)")
        if record.numel and record.storage_key in owners:
            raise RuntimeError(
                f"Some tensors share memory, which safetensors cannot express: {owners[record.storage_key]!r} and "
                f"{name!r}. Save one of them, or a clone(), or use jtorch.save"
            )
        owners[record.storage_key] = name
        records[name] = record
    # wide elements first, so that all of them are aligned
    order = sorted(records, key=lambda name: (-records[name].dtype.itemsize, name))
    header: dict[str, Any] = {}
    if metadata is not None:
        if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
            raise ValueError("metadata must map strings to strings")
        header["__metadata__"] = dict(metadata)
    end = 0
    for name in order:
        record = records[name]
        begin, end = end, end + math.prod(record.size) * record.dtype.itemsize
        shape, offsets = list(record.size), [begin, end]
        header[name] = {"dtype": _CODE_OF[record.dtype], "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return [records[name] for name in order], text + b" " * (-len(text) % 8)


def _write(stream: IO[bytes], records: list[TensorRecord], header: bytes) -> None:
    stream.write(_LENGTH.pack(len(header)) + header)
    for record in records:
        values = tensors.strided_view(record.read(), record.offset, record.size, record.stride)
        stream.write(tensors.as_bytes(values))


def _read(stream: IO[bytes], device: Device | str) -> dict[str, Any]:
    target = str(Device(device))
    entries, _ = read_header(stream)
    out = {}
    for name, (kind, shape, begin, end) in sorted(entries.items(), key=lambda e: e[1][2:]):
        stride = tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))
        stride = tuple(max(s, 1) for s in stride)
        data = read_aligned(stream, end - begin)
        if target == "meta":
            out[name] = tensors.rebuild_meta(kind, Size(shape), stride, False)
        else:
            out[name] = tensors.rebuild(LoadedStorage(np.asarray(data), target), kind, 0, Size(shape), stride, False)
    return {name: out[name] for name in entries}


def read_header(stream: IO[bytes]) -> tuple[dict[str, tuple], dict[str, str]]:
    """What a file holds: name → (dtype, shape, begin, end), counted from here on, and its metadata. The stream is then
    at the first tensor.

    Raises:
        RuntimeError: the header is damaged, or does not fit the data.
        EOFError: the file is cut off.
    """
    start = stream.tell()
    available = stream.seek(0, io.SEEK_END) - start
    stream.seek(start)
    if available < _LENGTH.size:
        raise EOFError(f"not a safetensors file: it has {available} bytes")
    (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
    if length > min(_LONGEST_HEADER, available - _LENGTH.size):
        raise RuntimeError(f"not a whole safetensors file: its header should have {length} bytes")
    try:
        header = json.loads(stream.read(length))
        metadata = header.pop("__metadata__", None) or {}
        entries = {name: _entry(**fields) for name, fields in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RuntimeError(f"the safetensors header is damaged: {error}") from error
    position = 0
    for name, (kind, shape, begin, end) in sorted(entries.items(), key=lambda e: e[1][2:]):
        if begin != position or end - begin != math.prod(shape) * kind.itemsize:
            raise RuntimeError(f"the safetensors header is damaged: {name!r} does not lie where it should")
        if end > available - _LENGTH.size - length:
            raise EOFError(f"the file is cut off: {name!r} is not all there")
        position = end
    if position != available - _LENGTH.size - length:
        raise RuntimeError("the safetensors file has data that its header does not name")
    return entries, metadata


def _entry(dtype: str, shape: list[int], data_offsets: list[int]):
    begin, end = data_offsets
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"shape {shape} or offsets {data_offsets} are not counts")
    if dtype not in _CODES:
        raise ValueError(f"unknown dtype {dtype!r}")
    return _CODES[dtype], tuple(shape), begin, end
