"""Where the rows of a batch of sequences lie in one packed tensor."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from ..symbolic import SymInt
from ..tensor.dispatch import wrap
from ..trace.value import put

_numbers = itertools.count(1)


class RaggedSize(SymInt):
    """The size of the ragged dimension, ``j1``: equal to itself only."""

    def __init__(self, number: int):
        self.number = number

    def __repr__(self) -> str:
        return f"j{self.number}"

    __str__ = __repr__

    def __int__(self) -> int:
        raise RuntimeError(f"the ragged size {self} is another for each sequence; use offsets() or lengths()")

    __index__ = __int__


class Ragged:
    """Sequence ``i`` begins at ``offsets[i]`` and ends where the next begins, or after ``lengths[i]``.

    Tensors that share this object share their structure. Numbers are read from the device once, when first needed.
    """

    def __init__(self, offsets, lengths=None):
        self.offsets, self.lengths = offsets, lengths
        self.size = RaggedSize(next(_numbers))

    @functools.cached_property
    def starts(self) -> np.ndarray:
        return np.asarray(self.offsets.detach()._host("nested tensor"))[: self.count]

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return self.offsets.shape[0] - 1

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """How long each sequence is."""
        if self.lengths is not None:
            return np.asarray(self.lengths.detach()._host("nested tensor"))
        return np.diff(np.asarray(self.offsets.detach()._host("nested tensor")))

    @functools.cached_property
    def longest(self) -> int:
        return int(self.sizes.max(initial=0))

    @property
    def packed(self) -> bool:
        """Whether no row lies between the sequences."""
        return self.lengths is None

    def _tensor(self, array):
        return wrap(put(np.ascontiguousarray(array), self.offsets.device))

    @functools.cached_property
    def owner(self) -> np.ndarray:
        """The sequence of each row that belongs to one."""
        return np.repeat(np.arange(self.count), self.sizes)

    @functools.cached_property
    def position(self) -> np.ndarray:
        """The place of each such row in its sequence."""
        return np.arange(self.owner.size) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)

    def owners(self):
        """:attr:`owner` as a tensor."""
        return self._tensor(self.owner.astype(np.int64))

    def rows(self):
        """Of each row that belongs to a sequence, its index in the packed tensor."""
        return self._tensor((self.starts[self.owner] + self.position).astype(np.int64))

    def mask(self, length: int | None = None):
        """``(sequences, longest)``: true where there is a row."""
        return self._tensor(np.arange(length or self.longest) < self.sizes[:, None])

    def gather(self, length: int | None = None):
        """``(sequences * longest)``: the packed row for each place of the padded form; 0 beyond an end."""
        place = np.arange(length or self.longest)
        index = np.where(place < self.sizes[:, None], self.starts[:, None] + place, 0)
        return self._tensor(index.reshape(-1).astype(np.int64))

    def places(self, length: int | None = None):
        """Of each row, its index in the padded form with the first two dimensions merged."""
        return self._tensor((self.owner * (length or self.longest) + self.position).astype(np.int64))
