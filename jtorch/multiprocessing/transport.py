"""Objects over a connection, their large arrays through anonymous shared memory.

Arrays leave the pickle as separate buffers (protocol 5). Small ones follow on the connection. Large ones are written to
a file without a name (``memfd``), whose descriptor is sent: the receiver maps it and nothing is copied again. A file
without a name cannot be left behind, however either side ends.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
from multiprocessing import reduction

import numpy as np

from jtorch import devices, dtypes
from jtorch.multiprocessing.context import Pickler as _Pickler
from jtorch.tensor import Tensor
from jtorch.tensor.dispatch import wrap
from jtorch.trace.value import put

#: From how many bytes on a message's buffers go through shared memory. Below, copying twice costs less than mapping.
SHARED_FROM = 1 << 16
_ALIGN = 64  # XLA uses host memory in place if it is aligned so


class Pickler(_Pickler):
    """Also sends plain host tensors without the copy that unpickling elsewhere makes."""

    def reducer_override(self, obj):
        if isinstance(obj, Tensor) and obj.requires_grad and not obj.is_leaf:
            raise RuntimeError(
                "a non-leaf tensor that requires grad cannot be sent to another process: autograd does not cross "
                "processes. detach() it first to send the data alone"
            )
        if type(obj) is Tensor and obj.device is devices.CPU and obj.is_leaf and not obj._attributes():
            array = np.ascontiguousarray(obj._host("sent to another process"))
            data = array.reshape(-1).view(np.uint8)
            return _receive_tensor, (data, obj.dtype, tuple(obj.shape), obj.requires_grad)
        return super().reducer_override(obj)


def _receive_tensor(data: np.ndarray, dtype: dtypes.dtype, shape: tuple, requires_grad: bool) -> Tensor:
    tensor = wrap(put(data.view(dtype.np).reshape(shape), devices.CPU))
    tensor._requires_grad = requires_grad
    return tensor


class Packed:
    """A pickled object: the pickle, its buffers' sizes, and the buffers themselves or the file they were written to."""

    def __init__(self, obj):
        stream, found = io.BytesIO(), []
        Pickler(stream, 5, found.append).dump(obj)
        self.body = stream.getvalue()
        self.buffers = [buffer.raw() for buffer in found]
        self.sizes = [buffer.nbytes for buffer in self.buffers]
        self.file = _write(self.buffers) if sum(self.sizes) >= SHARED_FROM else None

    def send(self, connection, pid: int | None = None) -> None:
        """Send it; any number of times. ``pid`` is the receiver's (needed on Windows only)."""
        connection.send_bytes(pickle.dumps((self.sizes, self.file is not None)))
        connection.send_bytes(self.body)
        if self.file is not None:
            reduction.send_handle(connection, self.file.fileno(), pid)
        else:
            for buffer in self.buffers:
                if buffer.nbytes:
                    connection.send_bytes(buffer)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def send(connection, obj) -> None:
    """Send one object to a process that calls :func:`receive`."""
    packed = Packed(obj)
    try:
        packed.send(connection)
    finally:
        packed.close()


def receive(connection, unpickle=pickle.loads):
    """The next object.

    Raises:
        EOFError: the other side is gone.
    """
    sizes, shared = pickle.loads(connection.recv_bytes())
    body = connection.recv_bytes()
    if shared:
        buffers = _map(reduction.recv_handle(connection), sizes)
    else:
        buffers = [bytearray(connection.recv_bytes()) if size else bytearray() for size in sizes]
    return unpickle(body, buffers=buffers)


def _places(sizes: list[int]) -> tuple[list[int], int]:
    places, end = [], 0
    for size in sizes:
        places.append(end)
        end += -(-size // _ALIGN) * _ALIGN
    return places, end


def _write(buffers: list[memoryview]):
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("jtorch"), "wb", buffering=0)
    else:
        file = tempfile.TemporaryFile(buffering=0)
    places, end = _places([buffer.nbytes for buffer in buffers])
    try:
        os.ftruncate(file.fileno(), end)
        for buffer, place in zip(buffers, places, strict=True):
            done = 0
            while done < buffer.nbytes:
                done += os.pwrite(file.fileno(), buffer[done:], place + done)
    except BaseException:
        file.close()
        raise
    return file


def _map(fd: int, sizes: list[int]) -> list[memoryview]:
    """The buffers, writable; what the receiver writes stays its own (copy on write)."""
    places, end = _places(sizes)
    try:
        view = memoryview(mmap.mmap(fd, end, access=mmap.ACCESS_COPY))
    finally:
        os.close(fd)
    return [view[place : place + size] for place, size in zip(places, sizes, strict=True)]
