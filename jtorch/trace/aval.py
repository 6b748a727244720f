"""What an array looks like: shape and dtype, interned so that equality is identity."""

from __future__ import annotations

import itertools
import math

import jax

from .. import dtypes
from ..size import Size

_table: dict[tuple, Aval] = {}
_ids = itertools.count()


#: How many bytes an array may have at the most: XLA counts them in int64.
_MOST_BYTES = 2**63 - 1


class Aval:
    """An abstract value. Make one with :func:`aval`; two with the same shape and dtype are the same object."""

    __slots__ = ("shape", "dtype", "id", "sds", "numel", "is_float")

    def __init__(self, shape: tuple[int, ...], dtype: dtypes.dtype):
        self.shape, self.dtype = Size(shape), dtype
        self.numel = math.prod(shape)
        if self.numel * dtype.itemsize > _MOST_BYTES:  # XLA would end the process
            raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
        self.id = next(_ids)
        self.sds = jax.ShapeDtypeStruct(tuple(shape), dtype.np)
        self.is_float = dtype.category >= dtypes.FLOAT

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"{self.dtype.abbr}[{','.join(map(str, self.shape))}]"


def aval(shape: tuple[int, ...], dtype: dtypes.dtype) -> Aval:
    """The interned aval of this shape and dtype."""
    key = (shape, dtype)
    found = _table.get(key)
    if found is None:
        found = _table.setdefault(key, Aval(shape, dtype))
    return found


def aval_of(array) -> Aval:
    """The aval of a jax or NumPy array, or of a ``ShapeDtypeStruct``."""
    return aval(tuple(array.shape), dtypes.of_numpy(array.dtype))


#: What Python numbers look like as operands: they enter a program at full width and are cast by the op.
SCALAR_AVALS = {
    float: aval((), dtypes.float64),
    int: aval((), dtypes.int64),
    bool: aval((), dtypes.bool_),
    complex: aval((), dtypes.complex128),
}


class Hyper:
    """The key of a number that is a run-time operand from the first call on."""


SCALAR_AVALS[Hyper] = SCALAR_AVALS[float]
