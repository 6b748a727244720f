"""The shape type."""

from __future__ import annotations

import math


def _entry(i: int, n):
    """An entry that is not a plain int; what stands for an int (in a graph that is being traced) stays as it is."""
    whole = not isinstance(n, (float, complex, str, bytes))
    if whole and hasattr(n, "dtype") and hasattr(n, "__index__"):  # a tensor, or a number of NumPy's
        try:
            return n.__index__()
        except TypeError:
            whole = False
    if not whole:
        raise TypeError(f"torch.Size() takes an iterable of 'int' (item {i} is '{type(n).__name__}')")
    return n


class Size(tuple):
    """A shape: a tuple of ints that prints as ``torch.Size([2, 3])``.

    Raises:
        TypeError: an entry is not an integer. (0-d tensors of integers are read.)
    """

    __slots__ = ()

    def __new__(cls, sizes=()):
        made = tuple.__new__(cls, sizes)
        for n in made:
            if n.__class__ is not int:
                return tuple.__new__(cls, [_entry(i, n) for i, n in enumerate(made)])
        return made

    def numel(self) -> int:
        """The number of elements, ``prod(self)``."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, index):
        item = tuple.__getitem__(self, index)
        return Size(item) if isinstance(index, slice) else item

    def __add__(self, other):
        return Size(tuple.__add__(self, tuple(other))) if isinstance(other, (tuple, list)) else NotImplemented

    def __radd__(self, other):
        return Size(tuple(other) + tuple(self)) if isinstance(other, (tuple, list)) else NotImplemented

    def __mul__(self, n):
        return Size(tuple.__mul__(self, n))

    __rmul__ = __mul__

    def __reduce__(self):
        return Size, (tuple(self),)
