"""``torch.utils.tensorboard``: event files that TensorBoard reads, written without it."""

from __future__ import annotations

import io
import os
import socket
import struct
import threading
import time
import zlib
from datetime import datetime

import numpy as np

from jtorch.tensor import Tensor


def _array(x) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


# --- protocol buffers: a message is its fields one after the other, each with number, kind and value


def _varint(n: int) -> bytes:
    out = bytearray()
    n &= (1 << 64) - 1
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _bytes(number: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _doubles(number: int, values) -> bytes:
    return _bytes(number, np.asarray(values, "<f8").tobytes())


# --- records: length, its check sum, data, their check sum (CRC-32C, masked)


def _crc_table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_CRC = _crc_table()


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _png(image: np.ndarray) -> bytes:
    """An image of uint8, (height, width, 1 or 3)."""
    height, width, channels = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1)  # no filter

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    data = zlib.compress(rows.tobytes())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class SummaryWriter:
    """Writes scalars, histograms, images and texts of a run to ``log_dir`` (default: ``runs/<date>_<host><comment>``).

    Args:
        purge_step: TensorBoard forgets events of this step and later ones that an earlier run wrote.
        max_queue, flush_secs: accepted; events are flushed by :meth:`flush`, :meth:`close` and every ``flush_secs``
            seconds at the next event.
    """

    def __init__(
        self, log_dir=None, comment: str = "", purge_step: int | None = None, max_queue: int = 10,
        flush_secs: float = 120, filename_suffix: str = "",
    ):  # fmt: skip
        if not log_dir:
            log_dir = os.path.join("runs", f"{datetime.now():%b%d_%H-%M-%S}_{socket.gethostname()}{comment}")
        self.log_dir, self.flush_secs, self._suffix = os.fspath(log_dir), flush_secs, filename_suffix
        self._writers: dict[str, SummaryWriter] = {}
        self._lock = threading.Lock()
        os.makedirs(self.log_dir, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
        self._file: io.BufferedWriter | None = open(os.path.join(self.log_dir, name + filename_suffix), "wb")
        self._flushed = time.monotonic()
        self._event(_bytes(3, "brain.Event:2"), None)
        if purge_step is not None:
            self._event(_bytes(7, _int(1, 1)), purge_step)  # a run starts here

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def _event(self, what: bytes, step: int | None, walltime: float | None = None) -> None:
        data = _double(1, time.time() if walltime is None else walltime)
        data += (b"" if step is None else _int(2, int(step))) + what
        with self._lock:
            if self._file is None:
                raise ValueError("the SummaryWriter is closed")
            self._file.write(_record(data))
            if time.monotonic() - self._flushed > self.flush_secs:
                self._file.flush()
                self._flushed = time.monotonic()

    def _summary(self, tag: str, value: bytes, step, walltime, plugin: str | None = None) -> None:
        metadata = _bytes(9, _bytes(1, _bytes(1, plugin))) if plugin else b""
        self._event(_bytes(5, _bytes(1, _bytes(1, tag) + value + metadata)), step, walltime)

    def add_scalar(
        self, tag: str, scalar_value, global_step=None, walltime=None, new_style: bool = False,
        double_precision: bool = False,
    ) -> None:  # fmt: skip
        """One number."""
        value = _array(scalar_value)
        if value.size != 1:
            raise ValueError(f"add_scalar takes one number, got a tensor of shape {value.shape}")
        self._summary(tag, _float(2, float(value.reshape(()))), global_step, walltime, "scalars" if new_style else None)

    def add_scalars(self, main_tag: str, tag_scalar_dict: dict, global_step=None, walltime=None) -> None:
        """Several numbers for one diagram: each is a run of its own, in a subfolder."""
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag.replace('/', '_')}_{tag}")
            if folder not in self._writers:
                self._writers[folder] = SummaryWriter(folder, filename_suffix=self._suffix)
            self._writers[folder].add_scalar(main_tag, value, global_step, walltime)

    def add_histogram(self, tag: str, values, global_step=None, bins=64, walltime=None, max_bins=None) -> None:
        """The distribution of values: ``bins`` is a number, edges, or one of NumPy's rules."""
        values = _array(values).astype(np.float64).reshape(-1)
        if not values.size:
            raise ValueError("The input has no element.")
        counts, edges = np.histogram(values, bins="auto" if bins == "tensorflow" else bins)
        histogram = _double(1, values.min()) + _double(2, values.max()) + _double(3, values.size)
        histogram += _double(4, values.sum()) + _double(5, (values**2).sum())
        histogram += _doubles(6, edges[1:]) + _doubles(7, counts)
        self._summary(tag, _bytes(5, histogram), global_step, walltime)

    def add_image(self, tag: str, img_tensor, global_step=None, walltime=None, dataformats: str = "CHW") -> None:
        """One image: uint8, or floats from 0 to 1; ``dataformats`` names its axes ("CHW", "HWC" or "HW")."""
        image, axes = _array(img_tensor), dataformats.upper()
        if sorted(axes) not in (["C", "H", "W"], ["H", "W"]) or image.ndim != len(axes):
            raise ValueError(f"add_image: dataformats {dataformats!r} does not fit an image of shape {image.shape}")
        if "C" not in axes:
            image, axes = image[..., None], axes + "C"
        image = image.transpose([axes.index(a) for a in "HWC"])
        if image.shape[2] not in (1, 3):
            raise ValueError(f"add_image: an image has 1 or 3 channels, got {image.shape[2]}")
        if image.dtype != np.uint8:
            image = (image.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
        height, width, channels = image.shape
        data = _int(1, height) + _int(2, width) + _int(3, channels) + _bytes(4, _png(np.ascontiguousarray(image)))
        self._summary(tag, _bytes(4, data), global_step, walltime)

    def add_text(self, tag: str, text_string: str, global_step=None, walltime=None) -> None:
        """A text, shown as Markdown."""
        shape = _bytes(2, _bytes(2, _int(1, 1)))
        value = _bytes(8, _int(1, 7) + shape + _bytes(8, text_string))  # a tensor of one string
        self._summary(tag + "/text_summary", value, global_step, walltime, "text")

    def flush(self) -> None:
        """Bring everything to the files."""
        for writer in (*self._writers.values(),):
            writer.flush()
        with self._lock:
            if self._file is not None:
                self._file.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush and close the files."""
        for writer in self._writers.values():
            writer.close()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


__all__ = ["SummaryWriter"]
