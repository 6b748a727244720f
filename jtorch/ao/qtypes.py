"""Quantized element types and the schemes that say how scales are shared."""

from __future__ import annotations

import numpy as np

from .. import dtypes


class qdtype(dtypes.dtype):
    """An element type of quantized tensors, e.g. ``qint8``; ``storage`` is the type of the integers held."""

    __slots__ = ("storage", "bits")

    def __init__(self, name: str, storage: dtypes.dtype, abbr: str, bits: int | None = None):
        super().__init__(name, storage.np, dtypes.INT, storage.is_signed, abbr)
        self.storage, self.bits = storage, bits or 8 * storage.itemsize

    @property
    def low(self) -> int:
        """The least integer."""
        return int(np.iinfo(self.np).min)

    @property
    def high(self) -> int:
        """The largest integer."""
        return int(np.iinfo(self.np).max) >> 8 * self.storage.itemsize - self.bits

    def __reduce__(self) -> str:
        return self.name  # a global of this module


qint8 = qdtype("qint8", dtypes.int8, "qi8")
quint8 = qdtype("quint8", dtypes.uint8, "qu8")
qint32 = qdtype("qint32", dtypes.int32, "qi32")
#: Four bits each; a tensor of it holds a byte for each, two of which ``int_repr()`` packs into one.
quint4x2 = qdtype("quint4x2", dtypes.uint8, "qu4", bits=4)
ALL = (qint8, quint8, qint32)


class qscheme:
    """How scales and zero points are shared: a tensor has one, or one for each channel."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name  # a global of this module


#: A scale and a zero point for each channel that are floats: grids that begin at the least value, not through zero.
per_channel_affine_float_qparams = qscheme("per_channel_affine_float_qparams")
per_tensor_affine = qscheme("per_tensor_affine")
per_tensor_symmetric = qscheme("per_tensor_symmetric")
per_channel_affine = qscheme("per_channel_affine")
per_channel_symmetric = qscheme("per_channel_symmetric")
PER_TENSOR = (per_tensor_affine, per_tensor_symmetric)
PER_CHANNEL = (per_channel_affine, per_channel_symmetric, per_channel_affine_float_qparams)
SYMMETRIC = (per_tensor_symmetric, per_channel_symmetric)
