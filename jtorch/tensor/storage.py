"""The one mutable cell: a storage's current Value, and how often it was written."""

from __future__ import annotations

import sys

from ..trace.recorder import note_write
from ..trace.value import Value


class Storage:
    """What a Tensor and all its views share. Writing rebinds ``value``.

    ``writes`` counts every write; ``version``, which backward watches, leaves out those made through ``.data``.
    """

    __slots__ = ("value", "writes", "version", "__weakref__")

    def __init__(self, value: Value):
        self.value, self.writes, self.version = value, 0, 0

    def shared(self) -> bool:
        """Whether more than one Tensor may hold this storage."""
        return sys.getrefcount(self) > 3  # the tensor's reference, the caller's, and getrefcount's own

    def write(self, value: Value, counted: bool = True) -> None:
        note_write(self, self.value)
        self.value = value
        self.writes += 1
        self.version += counted
