"""The one mutable cell: a storage's current Value and its version."""

from __future__ import annotations

from ..trace.recorder import note_write
from ..trace.value import Value


class Storage:
    """What a Tensor and all its views share. Writing rebinds ``value`` and counts ``version`` up."""

    __slots__ = ("value", "version", "__weakref__")

    def __init__(self, value: Value):
        self.value, self.version = value, 0

    def write(self, value: Value) -> None:
        note_write(self, self.value)
        self.value = value
        self.version += 1
