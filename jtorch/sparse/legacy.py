"""The types of old: ``torch.sparse.FloatTensor(indices, values, size)``."""

from __future__ import annotations

from .. import dtypes
from .creation import sparse_coo_tensor
from .tensor import SparseTensor


class _SparseType(type):
    """``isinstance`` asks for the dtype."""

    def __instancecheck__(cls, x) -> bool:
        return isinstance(x, SparseTensor) and x.dtype is cls.dtype


def _sparse_type(d: dtypes.dtype) -> type:
    def new(cls, *args, device=None):
        if len(args) >= 2 and hasattr(args[1], "dim"):
            indices, values, *size = args
            return sparse_coo_tensor(indices, values, *size, dtype=d, device=device)
        size = tuple(args[0]) if len(args) == 1 and not isinstance(args[0], int) else args
        return sparse_coo_tensor(size or (0,), dtype=d, device=device)

    return _SparseType(f"{d.legacy_name}Tensor", (), {
        "__new__": new, "dtype": d, "__module__": "torch.sparse",
        "__doc__": f"Makes sparse {d} tensors: from indices, values and a size, or of a size alone.",
    })  # fmt: skip


FloatTensor, DoubleTensor, HalfTensor, BFloat16Tensor = map(
    _sparse_type, (dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16)
)
ByteTensor, CharTensor, ShortTensor, IntTensor, LongTensor = map(
    _sparse_type, (dtypes.uint8, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64)
)
