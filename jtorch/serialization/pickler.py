"""Writing pickles that PyTorch reads: arbitrary objects, with tensors under PyTorch's names and their bytes apart.

A tensor becomes a call of PyTorch's rebuild function on a *persistent id* that names its storage. Storages are
collected while the object is pickled, and written afterwards, each once, so tensors that share one go on sharing it.
"""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..devices import device
from ..dtypes import dtype
from ..size import Size
from ..sparse.tensor import SparseTensor
from ..tensor.layout import layout, strided
from . import names, tensors
from .names import TorchName
from .tensors import TensorRecord

PROTOCOL = 2  # the one PyTorch's own safe unpickler reads

#: Kinds of tensor made of plain ones: type -> ``reduce(obj, plain)``, which returns PyTorch's function and its
#: arguments; ``plain(record)`` gives those of a plain tensor.
REDUCERS: dict[type, Callable[[Any, Callable], tuple]] = {
    SparseTensor: lambda obj, plain: (names.REBUILD_SPARSE, obj.parts()),
}


@dataclass(slots=True)
class SavedStorage:
    """A storage that the pickle refers to by ``key``."""

    key: str
    record: TensorRecord  # any tensor in it; keeps the storage alive, and so its identity unique

    def persistent_id(self) -> tuple:
        kind = names.TYPED_STORAGES.get(self.record.dtype)
        if kind is None:  # the newer types: bytes, and the type stands with the tensor
            nbytes = self.record.numel * self.record.dtype.itemsize
            return ("storage", names.UNTYPED_STORAGE, self.key, self.record.device, nbytes)
        return ("storage", kind, self.key, self.record.device, self.record.numel)


class _Plain:
    """A parameter's data: the same tensor, to be pickled without what makes it a parameter."""

    __slots__ = ("record",)

    def __init__(self, record: TensorRecord):
        self.record = record


@dataclass
class Pickled:
    data: bytes = b""
    storages: list[SavedStorage] = field(default_factory=list)


def pickle_object(obj: Any, pickle_module=pickle, legacy: bool = False) -> Pickled:
    """The pickle of ``obj`` and the storages it refers to.

    Raises:
        RuntimeError: tensors of different dtypes share one storage.
        Exception: whatever the pickling of a foreign object raises.
    """
    out = Pickled()
    by_key: dict[Any, SavedStorage] = {}

    def storage_of(record: TensorRecord) -> SavedStorage:
        found = by_key.get(record.storage_key)
        if found is None:
            found = by_key[record.storage_key] = SavedStorage(str(len(by_key)), record)
            out.storages.append(found)
        elif found.record.dtype is not record.dtype:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different types: "
                f"{found.record.dtype} and {record.dtype}; clone() one of them"
            )
        return found

    def plain_tensor(record: TensorRecord) -> tuple:
        if record.is_wrapper:
            geometry = (record.dtype, tuple(record.size), tuple(record.stride), record.offset)
            where = (strided, device(record.device))
            return names.REBUILD_WRAPPER, (record.subclass, *geometry, *where, record.requires_grad)
        if record.device == "meta":
            return names.REBUILD_META_TENSOR, (record.dtype, record.size, record.stride, record.requires_grad)
        geometry = (storage_of(record), record.offset, tuple(record.size), tuple(record.stride))
        hooks = collections.OrderedDict()
        if record.dtype in names.TYPED_STORAGES:
            return names.REBUILD_TENSOR, (*geometry, record.requires_grad, hooks)
        return names.REBUILD_TENSOR_UNTYPED, (*geometry, record.requires_grad, hooks, record.dtype)

    def reduce_tensor(record: TensorRecord) -> tuple:
        if record.is_parameter and record.subclass is None:
            data = (_Plain(record), record.requires_grad, collections.OrderedDict())
            if record.state:
                return names.REBUILD_PARAMETER_WITH_STATE, (*data, record.state)
            return names.REBUILD_PARAMETER, data
        function, args = plain_tensor(record)
        if record.subclass is not None or record.state:
            cls = names.TENSOR if record.subclass is None else record.subclass
            return names.REBUILD_FROM_TYPE, (function, cls, args, record.state)
        return function, args

    class Pickler(pickle_module.Pickler):
        def persistent_id(self, obj):
            if type(obj) is not SavedStorage:
                record = tensors.describe_storage(obj)
                if record is None:
                    return None
                obj = storage_of(record)
            return (*obj.persistent_id(), None) if legacy else obj.persistent_id()

        def reducer_override(self, obj):
            kind = type(obj)
            if kind is _Plain:
                return plain_tensor(obj.record)
            if kind is dtype:
                return names.DTYPE_ATTRIBUTES[obj]
            if kind is Size:
                return names.SIZE, (tuple(obj),)
            if kind is device:
                return names.DEVICE, (obj.type,) if obj.index is None else (obj.type, obj.index)
            if kind is layout:
                return names.GET_LAYOUT, (repr(obj),)
            if kind is collections.OrderedDict and not obj and not vars(obj):
                return collections.OrderedDict, ()  # each tensor has one; pickle's general way is slow
            if kind is TorchName:
                return NotImplemented
            if kind in REDUCERS:
                return REDUCERS[kind](obj, plain_tensor)
            if name := tensors.name_without_shape(kind):
                return name, obj.__reduce_ex__(PROTOCOL)[1]
            record = tensors.describe(obj)
            if record is not None:
                return reduce_tensor(record)
            inherited = getattr(super(), "reducer_override", None)  # cloudpickle's, for one
            return NotImplemented if inherited is None else inherited(obj)

    buffer = io.BytesIO()
    Pickler(buffer, protocol=PROTOCOL).dump(obj)
    out.data = buffer.getvalue()
    return out
