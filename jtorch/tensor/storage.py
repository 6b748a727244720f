"""The one mutable cell: a storage's current Value, and how often it was written."""

from __future__ import annotations

import sys
import weakref

import numpy as np

from .. import devices
from ..trace.jaxapi import address
from ..trace.recorder import note_write
from ..trace.value import Value, put

#: The storage that an address was last given out for.
_at: weakref.WeakValueDictionary[int, Storage] = weakref.WeakValueDictionary()


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

    def address(self) -> int:
        """Where the elements lie in memory now (0: nowhere), for programs that read memory or compare addresses.

        Runs the pending trace. Storages whose equal contents lie in one immutable array are told apart: the second
        that is asked gets a copy. The address holds until the storage is next written to, and memory must not be
        written through it. Where there is none (several devices, TPUs) it is a number that only this storage has.
        """
        if self.value.device is devices.META or self.value.aval.nbytes == 0:
            return 0
        array = self.value.concrete("the address of a tensor")
        found = address(array)
        if found is None:
            return id(self)
        other = _at.get(found)
        if other is not None and other is not self and other.value.array is array:
            self.value = put(np.array(array), self.value.device)
            found = address(self.value.array)
        _at[found] = self
        return found
