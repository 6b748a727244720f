"""Several streams as one: one after another, in turn, side by side."""

from __future__ import annotations

import builtins

from jtorch.utils.data.datapipes.datapipe import IterDataPipe, functional_datapipe, length_of
from jtorch.utils.data.datapipes.iter.splitting import (  # noqa: F401 (PyTorch has them here)
    DemultiplexerIterDataPipe,
    ForkerIterDataPipe,
)


@functional_datapipe("concat")
class ConcaterIterDataPipe(IterDataPipe):
    """The streams one after another.

    Raises:
        ValueError: none is given.
        TypeError: one is no IterDataPipe.
    """

    def __init__(self, *datapipes):
        if not datapipes:
            raise ValueError("Expected at least one DataPipe, but got nothing")
        if not all(isinstance(pipe, IterDataPipe) for pipe in datapipes):
            raise TypeError("Expected all inputs to be `IterDataPipe`")
        self.datapipes = datapipes

    def __iter__(self):
        for pipe in self.datapipes:
            yield from pipe

    def __len__(self) -> int:
        return sum(length_of(pipe, self) for pipe in self.datapipes)


@functional_datapipe("mux")
class MultiplexerIterDataPipe(IterDataPipe):
    """One sample of each stream in turn, for as long as all have one."""

    def __init__(self, *datapipes):
        self.datapipes = datapipes

    def __iter__(self):
        for samples in builtins.zip(*self.datapipes, strict=False):
            yield from samples

    def __len__(self) -> int:
        return min(length_of(pipe, self) for pipe in self.datapipes) * len(self.datapipes)


@functional_datapipe("zip")
class ZipperIterDataPipe(IterDataPipe):
    """Tuples of the streams' samples, up to the end of the shortest.

    Raises:
        TypeError: one is no IterDataPipe.
    """

    def __init__(self, *datapipes):
        if not all(isinstance(pipe, IterDataPipe) for pipe in datapipes):
            raise TypeError("All inputs are required to be `IterDataPipe` for `ZipIterDataPipe`.")
        self.datapipes = datapipes

    def __iter__(self):
        yield from builtins.zip(*self.datapipes, strict=False)

    def __len__(self) -> int:
        return min(length_of(pipe, self) for pipe in self.datapipes)
