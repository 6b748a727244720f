"""Orders: a shuffle through a buffer, and any sampler's."""

from __future__ import annotations

import random

from jtorch.utils.data.datapipes.datapipe import IterDataPipe, functional_datapipe, length_of
from jtorch.utils.data.sampler import SequentialSampler, random_seed


class SamplerIterDataPipe(IterDataPipe):
    """The elements that ``sampler(data_source=datapipe, ...)`` draws."""

    def __init__(self, datapipe, sampler=SequentialSampler, sampler_args=None, sampler_kwargs=None):
        if not hasattr(type(datapipe), "__len__"):
            raise AssertionError("Sampler class requires input datapipe implemented `__len__`")
        self.datapipe = datapipe
        self.sampler_args = sampler_args or ()
        self.sampler_kwargs = {**(sampler_kwargs or {}), "data_source": datapipe}
        self.sampler = sampler(*self.sampler_args, **self.sampler_kwargs)

    def __iter__(self):
        return iter(self.sampler)

    def __len__(self) -> int:
        return length_of(self.sampler, self)


class Shuffled:
    """A random order of its own, from a seed that is set or drawn from the default generator at each pass."""

    def _unseeded(self) -> None:
        self._enabled, self._seed, self._rng = True, None, random.Random()

    def set_shuffle(self, shuffle: bool = True):
        """Turn shuffling on or off."""
        self._enabled = shuffle
        return self

    def set_seed(self, seed: int):
        """The seed of the next pass."""
        self._seed = seed
        return self

    def _seed_pass(self) -> None:
        if self._seed is None:
            self._seed = random_seed(None)
        self._rng.seed(self._seed)
        self._seed = None


@functional_datapipe("shuffle")
class ShufflerIterDataPipe(Shuffled, IterDataPipe):
    """The samples in random order: each is drawn from a buffer of ``buffer_size`` that the stream refills, so that the
    order is fully random where the whole stream fits.

    Args:
        unbatch_level: how many levels of batches to undo first.
    """

    def __init__(self, datapipe, *, buffer_size: int = 10000, unbatch_level: int = 0):
        if buffer_size <= 0:
            raise AssertionError("buffer_size should be larger than 0")
        self.datapipe = datapipe.unbatch(unbatch_level=unbatch_level) if unbatch_level else datapipe
        self.buffer_size = buffer_size
        self._buffer: list = []
        self._unseeded()

    def __iter__(self):
        if not self._enabled:
            yield from self.datapipe
            return
        buffer, draw = self._buffer, self._rng.randint
        for sample in self.datapipe:
            if len(buffer) < self.buffer_size:
                buffer.append(sample)
                continue
            at = draw(0, len(buffer) - 1)
            drawn, buffer[at] = buffer[at], sample
            yield drawn
        while buffer:
            yield buffer.pop(draw(0, len(buffer) - 1))

    def reset(self) -> None:
        self._buffer = []
        if self._enabled:
            self._seed_pass()

    def __len__(self) -> int:
        return length_of(self.datapipe, self)
