"""Numerical limits of dtypes."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from . import dtypes


class finfo:
    """Limits of a floating dtype (default: the default dtype): ``eps, max, min, tiny, resolution, bits``.

    Raises:
        TypeError: an integer or bool dtype.
    """

    def __init__(self, type: dtypes.dtype | None = None):  # noqa: A002 (PyTorch's name)
        d = type if type is not None else dtypes.get_default_dtype()
        if d.category < dtypes.FLOAT:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{d}'")
        real = d.to_real()
        info = ml_dtypes.finfo(real.np)
        self._dtype = real
        self.bits = real.itemsize * 8
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = 10.0 ** -math.floor(-math.log10(self.eps))  # of the decimal digits it holds
        self.dtype = real.name

    def __repr__(self) -> str:
        fields = ", ".join(f"{n}={getattr(self, n):g}" for n in ("resolution", "min", "max", "eps"))
        return f"finfo({fields}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"

    def __eq__(self, other):
        return isinstance(other, finfo) and self._dtype is other._dtype

    def __hash__(self):
        return hash(self._dtype)


class iinfo:
    """Limits of an integer dtype: ``min, max, bits``.

    Raises:
        TypeError: a floating or bool dtype.
    """

    def __init__(self, type: dtypes.dtype):  # noqa: A002
        if type.category != dtypes.INT:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type}'")
        info = np.iinfo(type.np)
        self.bits, self.min, self.max, self.dtype = type.itemsize * 8, int(info.min), int(info.max), type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"

    def __eq__(self, other):
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self):
        return hash(self.dtype)
