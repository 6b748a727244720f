"""Where files meet Tensors: the only module of this package that knows what a Tensor is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..devices import device, resolve
from ..dtypes import bool_, dtype
from ..functions.storages import TypedStorage, UntypedStorage
from ..tensor import Tensor
from ..tensor.dispatch import wrap
from ..tensor.layout import contiguous_strides
from ..tensor.overriding import is_wrapper
from ..trace.value import put
from . import names


@dataclass
class TensorRecord:
    """What a file says about one tensor.

    Tensors of equal ``storage_key`` share one storage; the key must stay unique while the record lives. ``read`` gives
    the whole storage as a 1-d contiguous array of ``numel`` elements; it is called when the bytes are written, so
    that not every tensor of an accelerator has to be on the host at the same time. Strides and offset count elements.
    """

    storage_key: Hashable
    read: Callable[[], np.ndarray]
    numel: int
    dtype: dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool = False
    is_parameter: bool = False
    device: str = "cpu"
    state: dict[str, Any] = field(default_factory=dict)  # attributes the program hung on the tensor
    subclass: type | None = None  # the tensor's class, when it is a subclass of Tensor or Parameter
    is_wrapper: bool = False  # it has no elements: what it stands for are attributes


class LoadedStorage:
    """The bytes of one storage of a file, and the device they are to go to.

    This is also what a ``map_location`` function gets and returns: it has ``device``, ``cpu()`` and ``cuda(index)``.
    """

    __slots__ = ("_bytes", "device", "base")

    def __init__(self, data: np.ndarray, location: str = "cpu"):
        self._bytes, self.device = data, location
        self.base: Any = None  # for `rebuild`: what it made of the first tensor in this storage

    def nbytes(self) -> int:
        return self._bytes.size

    def cpu(self) -> LoadedStorage:
        self.device = "cpu"
        return self

    def cuda(self, index: int = 0) -> LoadedStorage:
        self.device = f"cuda:{index}"
        return self

    def to(self, device: device | str) -> LoadedStorage:
        self.device = str(device)
        return self

    def array(self, dtype: dtype) -> np.ndarray:
        """All whole elements, as a 1-d array that nobody writes to any more."""
        data = self._bytes[: self._bytes.size // dtype.itemsize * dtype.itemsize]
        if dtype is bool_ and data.size and data.max() > 1:
            return data != 0  # a hostile or foreign file: XLA relies on 0 and 1
        return data.view(dtype.np)


def as_bytes(array: np.ndarray) -> memoryview:
    """The bytes of a 1-d array, without a copy where it is contiguous."""
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def strided_view(flat: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """The elements a geometry, counted in elements and checked by the caller, shows of a 1-d array; read-only."""
    if 0 in size:
        return np.empty(size, flat.dtype)
    # not as_strided: it does not know all of ml_dtypes' types
    steps = [s * flat.itemsize for s in stride]
    out = np.ndarray(size, flat.dtype, flat.view(np.uint8), offset * flat.itemsize, steps)
    out.flags.writeable = False
    return out


# --- from Tensors --------------------------------------------------------------------------------------------------


def parameter_class() -> type:
    from ..nn.parameter import Parameter  # nn saves and loads too

    return Parameter


def name_without_shape(kind: type):
    """The name in files of parameters and buffers that have no shape yet; None for any other class."""
    from ..nn.parameter import UninitializedBuffer, UninitializedParameter

    if kind is UninitializedParameter:
        return names.UNINITIALIZED_PARAMETER
    return names.UNINITIALIZED_BUFFER if kind is UninitializedBuffer else None


def describe(obj: Any) -> TensorRecord | None:
    """The record of a Tensor; None for anything else."""
    if not isinstance(obj, Tensor):
        return None
    record = _of_wrapper(obj) if is_wrapper(obj) else _geometry(obj)
    record.requires_grad = obj.requires_grad
    if type(obj) is not Tensor:
        record.is_parameter = isinstance(obj, parameter_class())
        record.subclass = None if type(obj) is parameter_class() else type(obj)
    record.state = obj._attributes()
    return record


def _of_wrapper(t) -> TensorRecord:
    """A wrapper has a shape and attributes; there are no elements to write."""
    size, stride, where = tuple(t.shape), tuple(t.stride()), str(t.device)
    return TensorRecord(None, lambda: np.empty(0), 0, t.dtype, 0, size, stride, device=where, is_wrapper=True)


def describe_storage(obj: Any) -> TensorRecord | None:
    """The record of all elements of a storage; None for anything else."""
    if isinstance(obj, UntypedStorage):
        return _geometry(obj._bytes())
    return _geometry(obj._t) if isinstance(obj, TypedStorage) else None


def _geometry(t) -> TensorRecord:
    """Where ``t``'s elements lie in its storage, laid out in memory as PyTorch would.

    The storage's array has one logical shape; ``stride()`` says how PyTorch would have laid it out, and that is what is
    written. A view whose geometry no strides describe (another dtype than its storage's, say) is written as a tensor of
    its own.
    """
    storage, size, kind, where = t._storage, tuple(t.shape), t.dtype, str(t.device)
    if where == "meta":
        return TensorRecord(None, lambda: np.empty(0), 0, kind, 0, size, tuple(t.stride()), device="meta")
    value = storage.value
    shape = tuple(value.aval.shape)
    base = t if t._lens is None else t._root
    strides = (base._strides if base is not None and base._lens is None else None) or contiguous_strides(shape)

    def read() -> np.ndarray:
        return _in_memory_order(np.asarray(value.concrete("save")), strides)

    numel = math.prod(shape)
    if t._lens is None:
        return TensorRecord((id(storage), strides), read, numel, kind, 0, size, strides, device=where)
    own = np.asarray(t._value().concrete("save"))
    offset, stride = t.storage_offset(), tuple(t.stride())
    if kind is value.aval.dtype and _shows(read(), offset, size, stride, own):
        return TensorRecord((id(storage), strides), read, numel, kind, offset, size, stride, device=where)
    own = np.ascontiguousarray(own).reshape(-1)
    return TensorRecord(id(own), lambda: own, own.size, kind, 0, size, contiguous_strides(size), device=where)


def _in_memory_order(array: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """The elements of a gap-free array in the order ``strides`` puts them in memory, as a 1-d array."""
    return np.ascontiguousarray(array.transpose(_memory_order(strides))).reshape(-1)


def _shows(flat: np.ndarray, offset: int, size: tuple, stride: tuple, expected: np.ndarray) -> bool:
    """Whether this geometry of ``flat`` has exactly the bits of ``expected``."""
    if 0 in size:
        return True
    if offset < 0 or min(stride, default=0) < 0:
        return False
    if offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) >= flat.size:
        return False
    seen = strided_view(flat, offset, size, stride)
    return np.ascontiguousarray(seen).tobytes() == np.ascontiguousarray(expected).tobytes()


# --- to Tensors ----------------------------------------------------------------------------------------------------


def rebuild(storage: LoadedStorage, dtype: dtype, offset: int, size: tuple, stride: tuple, requires_grad: bool):
    """A Tensor on ``storage.device`` over the storage's bytes; the geometry is checked already.

    Tensors rebuilt from one ``storage`` share it. The first makes the base, in its own shape where it fills all of it,
    so that an ordinary weight is a view of nothing. The others are views of the base, or the base once more.
    """
    geometry = (offset, tuple(size), tuple(stride))
    if storage.base is None or storage.base[0].dtype is not dtype:
        storage.base = _base(storage, dtype, geometry)
    base, base_geometry = storage.base
    t = base if geometry == base_geometry else _view(base, *geometry)
    return t.detach().requires_grad_(requires_grad)


def _base(storage: LoadedStorage, dtype: dtype, geometry: tuple):
    flat = storage.array(dtype)
    offset, size, stride = geometry
    if not (offset == 0 and math.prod(size) == flat.size and flat.size and _is_dense(size, stride)):
        offset, size, stride = 0, (flat.size,), (1,)
    base = wrap(put(np.asarray(strided_view(flat, offset, size, stride), order="C"), resolve(storage.device)))
    if stride != contiguous_strides(size):
        base._strides = stride
    return base, (offset, size, stride)


def _memory_order(stride: tuple[int, ...]) -> list[int]:
    """Dimensions from the outermost in memory to the innermost."""
    return sorted(range(len(stride)), key=lambda d: (-stride[d], d))


def _is_dense(size: tuple, stride: tuple) -> bool:
    """Whether the elements fill a stretch of memory, each once, with the dimensions in some order."""
    order = _memory_order(stride)
    return contiguous_strides([size[d] for d in order]) == tuple(stride[d] for d in order)


def _view(base, offset: int, size: tuple, stride: tuple):
    """These elements of the base's storage, by plain view steps where they suffice."""
    flat = base.permute(_memory_order(base.stride())).reshape(-1) if base.dim() != 1 else base
    if 0 in size or not _is_dense(size, stride):
        return flat.as_strided(size, stride, offset)
    order = _memory_order(stride)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return flat.narrow(0, offset, math.prod(size)).view([size[d] for d in order]).permute(inverse)


def rebuild_meta(dtype: dtype, size: tuple, stride: tuple, requires_grad: bool):
    """A Tensor without data."""
    t = wrap(put(np.broadcast_to(np.zeros((), dtype.np), size), resolve("meta")))
    if stride != contiguous_strides(size):
        t._strides = stride
    return t.requires_grad_(requires_grad)


def as_parameter(tensor, requires_grad: bool):
    """The tensor as a Parameter that shares its storage."""
    return parameter_class()(tensor, requires_grad)


def as_subclass(tensor, cls: type):
    """The tensor as an instance of ``cls``, a subclass of Tensor."""
    if cls is parameter_class():
        return as_parameter(tensor, tensor.requires_grad)
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"{cls!r} is not a subclass of Tensor")
    return tensor._as_subclass(cls)


def check_location(location: str) -> None:
    """Refuse a device this machine does not have.

    Raises:
        RuntimeError: there is none, or the name is unknown.
    """
    resolve(location)
