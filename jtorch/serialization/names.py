"""PyTorch's global names, for files that both libraries read.

A PyTorch file is a pickle that refers to functions and classes of PyTorch by name. We write the same names without
importing PyTorch: :class:`TorchName` stands for such a global, and pickle's renaming table for protocol 2 and below
(meant for Python 2's module names) turns our private name into PyTorch's while it is written.
"""

from __future__ import annotations

import _compat_pickle

from .. import dtypes
from ..dtypes import dtype

#: dtype -> its typed storage class in PyTorch, where it has one. The newer types live in untyped storages.
STORAGE_NAMES: dict[dtype, str] = {
    dtypes.float64: "DoubleStorage",
    dtypes.float32: "FloatStorage",
    dtypes.float16: "HalfStorage",
    dtypes.bfloat16: "BFloat16Storage",
    dtypes.int64: "LongStorage",
    dtypes.int32: "IntStorage",
    dtypes.int16: "ShortStorage",
    dtypes.int8: "CharStorage",
    dtypes.uint8: "ByteStorage",
    dtypes.bool_: "BoolStorage",
    dtypes.complex64: "ComplexFloatStorage",
    dtypes.complex128: "ComplexDoubleStorage",
}


class TorchName:
    """A global of PyTorch, to be written by name. Callable only because pickle asks that of a reduction's function."""

    __slots__ = ("name", "_attribute")

    def __init__(self, module: str, name: str):
        self.name = f"{module}.{name}"
        self._attribute = self.name.replace(".", "_")
        globals()[self._attribute] = self  # pickle checks that a global can be found under its name
        _compat_pickle.REVERSE_NAME_MAPPING[__name__, self._attribute] = (module, name)

    def __call__(self, *args):
        raise TypeError(f"{self.name} is a name in a file, not a function")

    def __reduce__(self) -> str:
        return self._attribute

    def __repr__(self) -> str:
        return f"<{self.name}>"


REBUILD_TENSOR = TorchName("torch._utils", "_rebuild_tensor_v2")
REBUILD_TENSOR_UNTYPED = TorchName("torch._utils", "_rebuild_tensor_v3")
REBUILD_META_TENSOR = TorchName("torch._utils", "_rebuild_meta_tensor_no_storage")
REBUILD_PARAMETER = TorchName("torch._utils", "_rebuild_parameter")
REBUILD_PARAMETER_WITH_STATE = TorchName("torch._utils", "_rebuild_parameter_with_state")
REBUILD_FROM_TYPE = TorchName("torch._tensor", "_rebuild_from_type_v2")
REBUILD_WRAPPER = TorchName("torch._utils", "_rebuild_wrapper_subclass")
REBUILD_SPARSE = TorchName("torch._utils", "_rebuild_sparse_tensor")
UNINITIALIZED_PARAMETER = TorchName("torch.nn.parameter", "UninitializedParameter")
UNINITIALIZED_BUFFER = TorchName("torch.nn.parameter", "UninitializedBuffer")
TENSOR = TorchName("torch", "Tensor")
SIZE = TorchName("torch", "Size")
GET_LAYOUT = TorchName("torch.serialization", "_get_layout")
DEVICE = TorchName("torch", "device")
UNTYPED_STORAGE = TorchName("torch.storage", "UntypedStorage")
REBUILD_NESTED = TorchName("torch._utils", "_rebuild_nested_tensor")
JAGGED = TorchName("torch.nested._internal.nested_tensor", "NestedTensor")
REBUILD_JAGGED = TorchName("torch.nested._internal.nested_tensor", "_rebuild_njt")
REBUILD_QUANTIZED = TorchName("torch._utils", "_rebuild_qtensor")
TYPED_STORAGES = {d: TorchName("torch", name) for d, name in STORAGE_NAMES.items()}


def constant(module: str, attribute: str, name: str) -> None:
    """Objects pickled as ``module.attribute`` are written as ``torch.<name>``."""
    _compat_pickle.REVERSE_NAME_MAPPING[module, attribute] = ("torch", name)


def storage(kind: dtype, name: str) -> None:
    """Storages of elements of ``kind`` are written as ``torch.<name>``."""
    STORAGE_NAMES[kind] = name
    TYPED_STORAGES[kind] = TorchName("torch", name)


#: dtype -> the attribute of ``jtorch.dtypes`` that holds it; written as ``torch.<name>``.
DTYPE_ATTRIBUTES = {d: "bool_" if d is dtypes.bool_ else d.name for d in dtypes.ALL}
for _dtype, _attribute in DTYPE_ATTRIBUTES.items():
    constant(dtypes.__name__, _attribute, _dtype.name)
