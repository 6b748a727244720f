"""``SymInt``, ``SymFloat``, ``SymBool``: classes of PyTorch's symbolic numbers, of which jtorch makes none.

Shapes are Python numbers here, also while :func:`jtorch.compile` captures, so ``isinstance(n, SymInt)`` is False.
"""

from __future__ import annotations


class _Symbolic:
    def __init__(self, *args):
        raise TypeError(f"{type(self).__name__} cannot be made: sizes are Python numbers in jtorch")


class SymInt(_Symbolic):
    """For isinstance only: no size is symbolic."""


class SymFloat(_Symbolic):
    """For isinstance only: no number is symbolic."""


class SymBool(_Symbolic):
    """For isinstance only: no condition is symbolic."""
