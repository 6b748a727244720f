"""``x.untyped_storage()``, ``x.storage()`` and ``FloatStorage``: what lies under a tensor and all its views, flat."""

from __future__ import annotations

import functools

import numpy as np

from .. import devices, dtypes
from ..ops.registry import OPS
from ..tensor import Tensor
from ..tensor.creation import filled, to_numpy
from ..tensor.dispatch import dispatch, wrap
from ..tensor.layout import StorageBase
from ..trace.value import put


def _over(cell) -> Tensor:
    """All elements of a storage as one 1-d tensor, which writes to it."""
    base = object.__new__(Tensor)
    base._storage = cell
    return base.reshape((-1,)).detach()


class UntypedStorage(StorageBase):
    """The bytes of a storage. ``UntypedStorage(n)`` has n zero bytes; tensors give theirs by ``untyped_storage()``."""

    def __init__(self, source=0, *, device=None):
        if not isinstance(source, Tensor):
            if isinstance(source, int):
                source = filled((source,), 0, dtypes.uint8, device)
            else:
                source = wrap(put(np.array(list(source), np.uint8), devices.resolve(device)))
        super().__init__(source)

    def _bytes(self) -> Tensor:
        flat = _over(self._tensor_storage)
        return flat if flat.dtype is dtypes.uint8 else flat.view(dtypes.uint8)

    is_cuda = property(lambda self: self.device.type == "cuda")

    @staticmethod
    def from_file(filename, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first ``nbytes`` bytes of a file, which is read where its bytes are asked for: slices read nothing yet.

        Raises:
            NotImplementedError: ``shared``, with which writes would go to the file.
        """
        if shared:
            raise NotImplementedError("UntypedStorage.from_file(shared=True): writes do not reach files; write it anew")
        if nbytes == 0:  # which no file can be mapped for
            return UntypedStorage(0)
        return _FileStorage(np.memmap(filename, np.uint8, "r", shape=(nbytes,)))

    def untyped(self) -> UntypedStorage:
        """This storage."""
        return self

    def element_size(self) -> int:
        return 1

    def tolist(self) -> list[int]:
        """The bytes as ints."""
        return self._bytes().tolist()

    def __getitem__(self, index):
        found = self._bytes()[index]
        return found.item() if isinstance(index, int) else UntypedStorage(found.clone())

    def __setitem__(self, index, value) -> None:
        self._bytes()[index] = value

    def __iter__(self):
        return iter(self.tolist())

    def __array__(self, dtype=None, copy=None):
        return np.array(self._bytes().numpy(), dtype)

    def fill_(self, value: int) -> UntypedStorage:
        """Set every byte."""
        self._bytes().fill_(value)
        return self

    def copy_(self, source, non_blocking: bool = False) -> UntypedStorage:
        """Overwrite the bytes with another storage's."""
        self._bytes().copy_(source._bytes())
        return self

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage(self._bytes().clone())

    __copy__ = clone

    def __reduce__(self):
        return UntypedStorage, (self._bytes(),)

    def __deepcopy__(self, memo):
        return memo.setdefault(id(self), self.clone())

    def resizable(self) -> bool:
        """False: XLA arrays have a fixed size."""
        return False

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes()

    def cpu(self) -> UntypedStorage:
        """This storage on the CPU."""
        return self if self.device is devices.CPU else UntypedStorage(_over(self._tensor_storage).cpu())

    def cuda(self, device=None, non_blocking: bool = False) -> UntypedStorage:
        """A copy on a GPU."""
        return UntypedStorage(_over(self._tensor_storage).cuda(device))

    def resize_(self, size: int) -> UntypedStorage:
        """Nothing to do for the size it has.

        Raises:
            NotImplementedError: another size; tensors are resized by ``Tensor.resize_``.
        """
        if size != self.nbytes():
            raise NotImplementedError(
                f"a storage of {self.nbytes()} bytes cannot be resized to {size}: XLA arrays have a fixed size. Use "
                "Tensor.resize_, or drop the tensor to free its memory"
            )
        return self

    def share_memory_(self) -> UntypedStorage:
        return self

    def is_shared(self) -> bool:
        """Whether other processes see what is written to it: none does."""
        return False

    pin_memory = share_memory_

    def __repr__(self) -> str:
        lines = "".join(f" {b}\n" for b in self.tolist())
        return f"{lines}[torch.storage.UntypedStorage(device={self.device}) of size {self.nbytes()}]"


class _FileStorage(UntypedStorage):
    """Bytes of a mapped file. They become a tensor's when something else than their number or a slice is needed."""

    def __init__(self, array: np.ndarray):
        self._array, self.device = array, devices.CPU

    @functools.cached_property
    def _tensor_storage(self):
        return wrap(put(np.array(self._array), self.device))._storage

    def nbytes(self) -> int:
        return self._array.nbytes

    size = __len__ = nbytes

    def __getitem__(self, index):
        return _FileStorage(self._array[index]) if isinstance(index, slice) else int(self._array[index])

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._array, dtype)


class _TypedStorageType(type):
    """``isinstance(x, FloatStorage)`` asks for the dtype."""

    def __instancecheck__(cls, x) -> bool:
        if not type.__instancecheck__(TypedStorage, x):
            return False
        wanted = cls.__dict__.get("_dtype")
        return wanted is None or (x.dtype is wanted and x.device.type == cls._device_type)


class TypedStorage(metaclass=_TypedStorageType):
    """The elements of a storage: ``TypedStorage(5, dtype=torch.float32)``, ``FloatStorage([1., 2.])``."""

    _dtype: dtypes.dtype | None = None
    _device_type = "cpu"

    def __init__(self, *args, wrap_storage=None, dtype=None, device=None):
        kind = self._dtype or dtype or dtypes.get_default_dtype()
        if device is None and self._device_type != "cpu":
            device = self._device_type
        if wrap_storage is not None:
            flat = wrap_storage._bytes()
            self._t = _over(wrap_storage._tensor_storage)
            if self._t.dtype is not kind:
                self._t = flat.view(kind)
            return
        data = args[0] if args else 0
        if isinstance(data, Tensor):
            self._t = data
        elif isinstance(data, int):
            self._t = filled((data,), 0, kind, device)
        else:
            self._t = wrap(put(np.array(to_numpy(list(data), kind)), devices.resolve(device)))

    @classmethod
    def from_buffer(cls, buffer, byte_order=None, count=-1, offset=0, *, dtype=None) -> TypedStorage:
        """The bytes of an object as numbers (copied).

        Raises:
            RuntimeError: numbers of several bytes without a ``byte_order``.
        """
        kind = cls._dtype or dtype or dtypes.get_default_dtype()
        if byte_order is None and kind.itemsize > 1:
            raise RuntimeError(
                "function missing required argument 'byte_order': 'native', 'little' or 'big' for wide numbers"
            )
        np_type = kind.np.newbyteorder({"little": "<", "big": ">"}.get(byte_order, "="))
        array = np.frombuffer(buffer, np_type, count, offset).astype(kind.np)
        return cls(Tensor._from_numpy(array))

    dtype = property(lambda self: self._t.dtype)
    device = property(lambda self: self._t.device)
    is_cuda = property(lambda self: self._t.is_cuda)

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return UntypedStorage(self._t)

    _untyped_storage = property(untyped)
    _cdata = property(lambda self: self.untyped()._cdata)

    def size(self) -> int:
        """The number of elements."""
        return self._t.numel()

    __len__ = size

    def nbytes(self) -> int:
        """The number of bytes."""
        return self._t.nbytes

    def element_size(self) -> int:
        """Bytes per element."""
        return self._t.element_size()

    def data_ptr(self) -> int:
        """The same for storages that share memory."""
        return self.untyped().data_ptr()

    def tolist(self) -> list:
        """The elements as Python numbers."""
        return self._t.tolist()

    def __getitem__(self, index):
        if not isinstance(index, int):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._t[index].item()

    def __setitem__(self, index, value) -> None:
        self._t[index] = value

    def __iter__(self):
        return iter(self.tolist())

    def __array__(self, dtype=None, copy=None):
        return np.array(self._t.numpy(), dtype)

    def __eq__(self, other) -> bool:
        return isinstance(other, TypedStorage) and self.untyped() == other.untyped()

    def __hash__(self) -> int:
        return hash(self.untyped())

    def fill_(self, value) -> TypedStorage:
        """Set every element."""
        self._t.fill_(value)
        return self

    def copy_(self, source, non_blocking: bool = False) -> TypedStorage:
        """Overwrite the elements with another storage's."""
        self._t.copy_(source._t)
        return self

    def _as(self, t) -> TypedStorage:
        return _typed_over(t)

    def clone(self) -> TypedStorage:
        """A copy."""
        return self._as(self._t.clone())

    __copy__ = clone

    def __reduce__(self):
        return _typed_over, (self._t,)

    def resizable(self) -> bool:
        """False: XLA arrays have a fixed size."""
        return False

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self._t.nbytes

    def cpu(self) -> TypedStorage:
        """This storage on the CPU."""
        return self._as(self._t.cpu())

    def cuda(self, device=None, non_blocking: bool = False) -> TypedStorage:
        """A copy on a GPU."""
        return self._as(self._t.cuda(device))

    def type(self, dtype=None, non_blocking: bool = False):
        """The name of this type, or the elements as another one."""
        return f"torch.{self.dtype.legacy_name}Storage" if dtype is None else self._as(self._t.to(dtype))

    def share_memory_(self) -> TypedStorage:
        return self

    is_shared = UntypedStorage.is_shared

    pin_memory = share_memory_

    def resize_(self, size: int) -> TypedStorage:
        """See :meth:`UntypedStorage.resize_`; ``size`` counts elements."""
        self.untyped().resize_(size * self.element_size())
        return self

    def __repr__(self) -> str:
        lines = "".join(f" {v}\n" for v in self.tolist())
        return f"{lines}[torch.storage.TypedStorage(dtype={self.dtype}, device={self.device}) of size {self.size()}]"


def _typed_over(t: Tensor) -> TypedStorage:
    found = object.__new__(CLASSES.get(t.dtype, TypedStorage))
    found._t = t
    return found


def storage_type(d: dtypes.dtype, device_type: str = "cpu") -> type:
    """The class called ``<d>Storage``."""
    doc = f"A storage of {d} elements: of a size, or from a sequence."
    return _TypedStorageType(f"{d.legacy_name}Storage", (TypedStorage,), {
        "_dtype": d, "_device_type": device_type, "__doc__": doc,
        "__module__": "torch" if device_type == "cpu" else f"torch.{device_type}",
    })  # fmt: skip


#: The class of each dtype's storages.
CLASSES = {
    d: storage_type(d)
    for d in (
        dtypes.float64, dtypes.float32, dtypes.float16, dtypes.bfloat16, dtypes.int64, dtypes.int32, dtypes.int16,
        dtypes.int8, dtypes.uint8, dtypes.bool_, dtypes.complex64, dtypes.complex128,
    )
}  # fmt: skip
#: What ``torch`` exports.
EXPORTS = {c.__name__: c for c in CLASSES.values()} | {
    "StorageBase": StorageBase, "UntypedStorage": UntypedStorage, "TypedStorage": TypedStorage,
    "Storage": CLASSES[dtypes.float32],
}  # fmt: skip
_CASTS = {
    "double": dtypes.float64, "float": dtypes.float32, "half": dtypes.float16, "bfloat16": dtypes.bfloat16,
    "long": dtypes.int64, "int": dtypes.int32, "short": dtypes.int16, "char": dtypes.int8, "byte": dtypes.uint8,
    "bool": dtypes.bool_, "complex_float": dtypes.complex64, "complex_double": dtypes.complex128,
}  # fmt: skip
for _name, _dtype in _CASTS.items():
    setattr(TypedStorage, _name, lambda self, dtype=_dtype: self._as(self._t.to(dtype)))


def _untyped_storage(self) -> UntypedStorage:
    """The bytes under this tensor and all its views."""
    return UntypedStorage(self)


def _storage(self) -> TypedStorage:
    """The elements under this tensor and all its views."""
    flat = _over(self._storage)
    found = object.__new__(CLASSES.get(flat.dtype, TypedStorage))
    found._t = flat
    return found


def _storage_type(self):
    """The class of :meth:`storage`."""
    return CLASSES[self.dtype]


def _set(self, source=None, storage_offset=0, size=None, stride=None):
    """Share another tensor's storage, shape and strides from now on; or view a storage.

    A view of a storage starts at ``storage_offset``; without strides it is contiguous, without a size all of it.

    Raises:
        RuntimeError: the other tensor has another dtype, or this is a leaf that requires grad while the tape is on.
    """
    if self.is_leaf and self.requires_grad:
        self._check_inplace()
    if isinstance(source, Tensor) and source.dtype is not self.dtype:
        raise RuntimeError(f"Could not set tensor of type {source.dtype.name} to a tensor of type {self.dtype.name}")
    if source is None:
        source = filled((0,), 0, self.dtype, self.device)
    if isinstance(source, UntypedStorage):
        source = TypedStorage(wrap_storage=source, dtype=self.dtype)
    if isinstance(source, TypedStorage):
        flat, size = source._t, (source.size() - storage_offset,) if size is None else tuple(size)
        if stride is None:
            stride, step = [], 1
            for n in reversed(size):
                stride.insert(0, step)
                step *= max(n, 1)
        source = dispatch(OPS["as_strided"], (flat,), (size, tuple(stride), storage_offset))
    self.data = source
    return self


Tensor.untyped_storage, Tensor.storage, Tensor._typed_storage, Tensor.storage_type, Tensor.set_ = (
    _untyped_storage,
    _storage,
    _storage,
    _storage_type,
    _set,
)
