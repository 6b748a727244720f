"""What the global names in PyTorch's files stand for here.

Everything reachable from :func:`find_global` is safe to hand to an untrusted pickle: constants, and functions that
check what they are given. ``CALLABLES`` are those it may call; the rest it may only refer to.
"""

from __future__ import annotations

import collections
import functools
import importlib
import math
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..devices import device
from ..dtypes import dtype
from ..functions import storages
from ..size import Size
from ..sparse.tensor import rebuild
from ..tensor import layout
from ..tensor.overriding import wrapper
from . import tensors
from .names import STORAGE_NAMES
from .tensors import LoadedStorage


class StorageType(NamedTuple):
    """A storage class of PyTorch: its element type, or None for bytes."""

    name: str
    dtype: dtype | None

    @property
    def itemsize(self) -> int:
        return 1 if self.dtype is None else self.dtype.itemsize


class TypedStorage(storages.TypedStorage):
    """``numel`` elements of a storage, from ``start`` on: what a persistent id in a file stands for.

    Tensors are rebuilt over it. Where the program saved a storage itself, this is what it gets; ``kind`` is None for
    bytes. Its elements become a tensor's when somebody reads them.
    """

    def __init__(self, storage: LoadedStorage, kind: dtype | None, start: int, numel: int):
        self.storage, self.kind, self.start, self.numel = storage, kind, start, numel

    @functools.cached_property
    def _t(self):
        kind = dtypes.uint8 if self.kind is None else self.kind
        return tensors.rebuild(self.storage, kind, self.start, Size((self.numel,)), (1,), False)


# --- tensors -------------------------------------------------------------------------------------------------------


def _index(value: Any) -> bool:
    return type(value) is int and value >= 0


def _tensor(source, kind: dtype | None, offset, size, stride, requires_grad, metadata):
    """One tensor over ``source``, with everything a file could lie about checked."""
    if type(source) is not TypedStorage or not isinstance(kind, dtype):
        raise pickle.UnpicklingError(f"a tensor's storage or dtype is missing: {type(source).__name__}, {kind!r}")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        raise pickle.UnpicklingError(f"a tensor's size {size!r} and stride {stride!r} do not fit together")
    if not all(map(_index, (offset, *size, *stride))) or math.prod(size) >= 2**63:
        raise pickle.UnpicklingError(f"bad geometry of a tensor: size {size}, stride {stride}, storage offset {offset}")
    span = source.numel if source.kind is not None else source.numel // kind.itemsize
    needed = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1 if 0 not in size else 0
    if needed > span:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
            f"{kind.itemsize} requiring a storage size of {needed * kind.itemsize} are out of bounds for storage of "
            f"size {span * kind.itemsize}"
        )
    storage, offset = source.storage, offset + source.start
    if storage.device.partition(":")[0] == "meta":
        return tensors.rebuild_meta(kind, Size(size), stride, bool(requires_grad))
    lazy_bits = [bit for bit in ("conj", "neg") if (metadata or {}).get(bit)]
    if lazy_bits:  # PyTorch's deferred conjugation and negation: carried out here, on a copy
        values = tensors.strided_view(storage.array(kind), offset, size, stride)
        values = values.conj() if "conj" in lazy_bits else values
        values = np.ascontiguousarray(-values if "neg" in lazy_bits else values)
        storage, offset = LoadedStorage(values.reshape(-1).view(np.uint8), storage.device), 0
        stride = tuple(math.prod(size[d + 1 :]) for d in range(len(size)))
    return tensors.rebuild(storage, kind, offset, Size(size), stride, bool(requires_grad))


def rebuild_tensor(storage, storage_offset, size, stride, requires_grad=False, backward_hooks=None, metadata=None):
    kind = storage.kind if type(storage) is TypedStorage else None
    return _tensor(storage, kind, storage_offset, size, stride, requires_grad, metadata)


def rebuild_tensor_untyped(
    storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype, metadata=None
):  # fmt: skip
    if type(storage) is TypedStorage:  # counts bytes, whatever class it was written as
        nbytes = storage.numel * (1 if storage.kind is None else storage.kind.itemsize)
        storage = TypedStorage(storage.storage, None, storage.start, nbytes)
    return _tensor(storage, dtype, storage_offset, size, stride, requires_grad, metadata)


def rebuild_meta_tensor(dtype, size, stride, requires_grad):
    return tensors.rebuild_meta(dtype, Size(size), tuple(stride), bool(requires_grad))


def rebuild_wrapper(cls, dtype, size, stride, storage_offset, kind, device, requires_grad):
    if not (isinstance(cls, type) and issubclass(cls, tensors.Tensor)):
        raise pickle.UnpicklingError(f"the file names {cls!r} as the class of a tensor, which it is not")
    return wrapper(cls, Size(size), dtype, device, tuple(stride), bool(requires_grad))


def rebuild_parameter(data, requires_grad, backward_hooks):
    return tensors.as_parameter(data, bool(requires_grad))


def rebuild_parameter_with_state(data, requires_grad, backward_hooks, state):
    parameter = tensors.as_parameter(data, bool(requires_grad))
    _set_attributes(parameter, state)
    return parameter


def rebuild_from_type(function, cls, args, state):
    if id(function) not in CALLABLES:
        raise pickle.UnpicklingError(f"the file calls {function!r}, which is not a function that files may call")
    return rebuild_from_any_type(function, cls, args, state)


def rebuild_from_any_type(function, cls, args, state):
    """:func:`rebuild_from_type` for files that are trusted."""
    tensor = function(*args)
    if type(tensor) is not cls:
        tensor = tensors.as_subclass(tensor, cls)
    _set_attributes(tensor, state)
    return tensor


def _set_attributes(tensor, state) -> None:
    """Restore the attributes a program hung on a tensor. Those of the Tensor itself cannot be overwritten by a file."""
    slots = {}
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    for name, value in {**(state or {}), **(slots or {})}.items():
        if not isinstance(name, str) or hasattr(tensor, name):
            raise pickle.UnpicklingError(f"the file overwrites {name!r} of a tensor")
        setattr(tensor, name, value)


def _unsupported(what: str, instead: str) -> Callable:
    def refuse(*args):
        raise NotImplementedError(f"the file holds {what}, which jtorch has no counterpart for: {instead}")

    return refuse


# --- plain data ----------------------------------------------------------------------------------------------------


def _bytearray(*args) -> bytearray:
    if args and not isinstance(args[0], (bytes, bytearray, str)):
        raise pickle.UnpicklingError("bytearray of a length: refused")  # so many zeros from a few bytes of file
    return bytearray(*args)


def _encode(text, encoding="utf-8") -> bytes:
    """How Python 3 writes bytes with protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise pickle.UnpicklingError(f"unexpected text encoding {encoding!r}")
    return text.encode(encoding)


def _layout(name: str):
    found = getattr(layout, name.removeprefix("torch."), None)
    if not isinstance(found, layout.layout):
        raise pickle.UnpicklingError(f"unknown layout {name!r}")
    return found


_FUNCTIONS: dict[str, Callable] = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.Counter": collections.Counter,
    "builtins.set": set,
    "builtins.complex": complex,
    "builtins.bytearray": _bytearray,
    "_codecs.encode": _encode,
    "torch.Size": Size,
    "torch.device": device,
    "torch.serialization._get_layout": _layout,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_untyped,
    "torch._utils._rebuild_meta_tensor_no_storage": rebuild_meta_tensor,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter_with_state,
    "torch._tensor._rebuild_from_type_v2": rebuild_from_type,
    "torch._utils._rebuild_sparse_tensor": rebuild,
    "torch._utils._rebuild_wrapper_subclass": rebuild_wrapper,
    "torch._utils._rebuild_device_tensor_from_numpy": _unsupported("a device tensor", "save tensor.cpu()"),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _unsupported("a device tensor", "save tensor.cpu()"),
}
#: ids of the functions an untrusted file may call (by identity, so that nothing else can compare equal).
CALLABLES: set[int] = set(map(id, _FUNCTIONS.values()))

_STORAGE_TYPES = {name: StorageType(name, d) for d, name in STORAGE_NAMES.items()}
_CONSTANTS: dict[str, Any] = {
    **{f"torch.{d.name}": d for d in dtypes.ALL},
    **{f"torch.{name}": kind for name, kind in _STORAGE_TYPES.items()},
    **{f"torch.cuda.{name}": kind for name, kind in _STORAGE_TYPES.items()},
    "torch.storage.UntypedStorage": StorageType("UntypedStorage", None),
}
_NESTED = ("torch._utils._rebuild_nested_tensor", "torch.nested._internal")
_CLASSES: dict[str, Callable[[], type]] = {
    "torch.Tensor": lambda: tensors.Tensor,
    "torch.nn.parameter.Parameter": tensors.parameter_class,
}


def add_function(full: str, function: Callable) -> None:
    """Let files call ``function``, which must check what it is given, under the name ``full``."""
    _FUNCTIONS[full] = function
    CALLABLES.add(id(function))


def add_constant(full: str, value: Any) -> None:
    """Let files refer to ``value``, a constant, under the name ``full``."""
    _CONSTANTS[full] = value


def add_storage(name: str, kind: dtype) -> None:
    """Storages that files call ``torch.<name>`` hold elements of ``kind``."""
    add_constant(f"torch.{name}", StorageType(name, kind))


def find_global(full: str) -> Any:
    """What PyTorch's (or Python's) global ``full`` is here.

    Raises:
        KeyError: it is not on the list.
    """
    if full.startswith(_NESTED):
        importlib.import_module("jtorch.nested.files")  # nested tensors are loaded when they are needed
    if full in _FUNCTIONS:
        return _FUNCTIONS[full]
    if full in _CONSTANTS:
        return _CONSTANTS[full]
    return _CLASSES[full]()
