"""The tensor types of old: ``FloatTensor(2, 3)``, ``LongTensor([1, 2])``, ``isinstance(x, FloatTensor)``."""

from __future__ import annotations

from .. import devices, dtypes
from ..tensor import Tensor
from ..tensor.creation import legacy


class _TensorType(type):
    """``isinstance`` asks for the dtype and device."""

    def __instancecheck__(cls, x) -> bool:
        return isinstance(x, Tensor) and x.dtype is cls.dtype and x.device.type == cls.device_type

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


def tensor_type(d: dtypes.dtype, device_type: str = "cpu") -> type:
    """The class called ``<d>Tensor``."""

    def new(cls, *args, data=None, device=None):
        return legacy(Tensor, args if data is None else (data,), d, device or devices.device(device_type))

    return _TensorType(f"{d.legacy_name}Tensor", (), {
        "__new__": new, "dtype": d, "device_type": device_type, "__module__": "torch",
        "__doc__": f"Makes {d} tensors: from sizes (uninitialised) or from data.",
    })  # fmt: skip


TYPES = {
    f"{d.legacy_name}Tensor": tensor_type(d)
    for d in (
        dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16, dtypes.int64, dtypes.int32, dtypes.int16,
        dtypes.int8, dtypes.uint8, dtypes.bool_,
    )
}  # fmt: skip
