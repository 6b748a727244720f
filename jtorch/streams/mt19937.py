"""The engine behind PyTorch's CPU generator: MT19937 with PyTorch's seeding, 64-bit draws and state format.

NumPy's ``RandomState`` runs the same recurrence and its stream is frozen by NumPy's policy, so it supplies the words.
What is PyTorch's own is kept here: the 64-bit seed (of which only the low 32 bits seed the engine), the order of the
two words in a 64-bit draw, the cached second normal, and the layout of the saved state.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

DEFAULT_SEED = 67280421310721  #: the seed of a new ``torch.Generator()``
STATE_SIZE = 5056
_WORDS = 624  # words in the engine's key
#: The saved state. ``left`` counts the words before the key is renewed, plus one; the unnamed gaps are zero.
_STATE = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "key", "normal", "has_normal", "float_normal", "has_float_normal"],
        "formats": ["<u8", "<i4", "<i4", "<u8", (("<u8"), _WORDS), "<f8", "<i4", "<f4", "u1"],
        "offsets": [0, 8, 12, 16, 24, 5024, 5040, 5048, 5052],
        "itemsize": STATE_SIZE,
    }
)
_SMALL = 1500  # below this many words, random_raw beats randint
_FEW = 16  # results below which reading ahead does not pay
_LOW53 = np.array((1 << 53) - 1, np.uint64)
_SHIFT32 = np.array(32, np.uint64)
_ULP53 = np.array(2.0**-53)


@functools.cache
def _first_word_is_high() -> bool:
    """Whether NumPy's own 64-bit draw puts the first word in the high half, as PyTorch's does.

    It does wherever the compiler evaluates ``next << 32 | next`` from left to right, which C leaves open.
    """
    wide = np.random.RandomState(1).randint(0, 1 << 64, size=1, dtype=np.uint64)
    first = np.random.RandomState(1).randint(0, 1 << 32, size=1, dtype=np.uint32)
    return int(wide[0]) >> 32 == int(first[0])


class _Unseeded(np.random.bit_generator.ISeedSequence):
    """The seed of an engine that is seeded again at once: NumPy's own takes 40 times as long as PyTorch's."""

    def generate_state(self, n_words, dtype=np.uint32):
        return np.zeros(n_words, dtype)


_UNSEEDED = _Unseeded()


class HostStream:
    """A PyTorch CPU generator: ``HostStream(seed)`` draws what ``torch.Generator().manual_seed(seed)`` would.

    ``lock`` is held by a sampler while it draws; hold it yourself around a sequence that must not be interleaved.
    """

    device_type = "cpu"

    def __init__(self, seed: int = DEFAULT_SEED):
        self.lock = threading.RLock()
        self._bits = np.random.MT19937(_UNSEEDED)
        self._state = np.random.RandomState(self._bits)
        self.manual_seed(seed)

    def __repr__(self) -> str:
        return f"HostStream(seed={self._seed})"

    # --- seeds -----------------------------------------------------------------------------------------------------

    def manual_seed(self, seed: int) -> HostStream:
        """Restart from ``seed``, in [-2**63, 2**64); negative seeds count modulo 2**64. Returns the stream.

        Raises:
            RuntimeError: ``seed`` is not an int (a bool is not one here).
            ValueError: ``seed`` does not fit 64 bits.
        """
        if type(seed) is not int:
            if isinstance(seed, np.integer):
                raise TypeError("an integer is required")
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        if not -(1 << 63) <= seed < 1 << 64:
            raise ValueError("Overflow when unpacking long long")
        with self.lock:
            self._seed = seed & 0xFFFFFFFFFFFFFFFF
            self._state.seed(self._seed & 0xFFFFFFFF)
            self._fresh = True  # PyTorch tells "no word drawn yet" from "all 624 drawn"; NumPy does not
            self.cached_normal: float | None = None  # second value of the last serial Box-Muller pair
            self._float_normal: float | None = None  # part of the saved state, set by no sampler
        return self

    def seed(self) -> int:
        """Restart from 64 bits of the operating system's randomness, and return them."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed in use, as an unsigned 64-bit number."""
        return self._seed

    # --- draws -----------------------------------------------------------------------------------------------------

    def words(self, n: int) -> np.ndarray:
        """The next ``n`` 32-bit words, as uint32."""
        if n == 0:
            return np.empty(0, np.uint32)
        self._fresh = False
        if n < _SMALL:
            return self._bits.random_raw(n).astype(np.uint32)
        return self._state.randint(0, 1 << 32, size=n, dtype=np.uint32)

    def words64(self, n: int) -> np.ndarray:
        """The next ``n`` 64-bit draws, as uint64: the first word of each pair is the high half."""
        if n == 0:
            return np.empty(0, np.uint64)
        self._fresh = False
        if n >= _SMALL and _first_word_is_high():
            return self._state.randint(0, 1 << 64, size=n, dtype=np.uint64)
        raw = self._bits.random_raw(2 * n)
        high = raw[0::2]
        high <<= _SHIFT32
        return np.bitwise_or(high, raw[1::2])

    def bits53(self, n: int) -> np.ndarray:
        """The low 53 bits of the next ``n`` 64-bit draws, as int64."""
        draws = self.words64(n)
        draws &= _LOW53
        return draws.view(np.int64)

    def doubles(self, n: int) -> np.ndarray:
        """``n`` doubles uniform in [0, 1), multiples of 2**-53."""
        result = self.bits53(n).astype(np.float64)
        result *= _ULP53
        return result

    @contextmanager
    def scalar_doubles(self, results: int) -> Iterator[Callable[[], float]]:
        """Yield ``f() -> float`` for algorithms that draw an unforeseeable number of doubles for each of ``results``.

        Unless there are few, it reads ahead in blocks; on leaving, the engine is put back right behind the last double
        used.
        """
        with self.lock:
            if results <= _FEW:
                yield lambda: float(self.doubles(1)[0])
                return
            saved, fresh = self._bits.state, self._fresh
            drawn, size, ahead = 0, 16, iter(())

            def draw() -> float:
                nonlocal drawn, size, ahead
                for value in ahead:
                    return value
                ahead = iter(self.doubles(size).tolist())
                drawn += size
                size = min(2 * size, 8192)
                return next(ahead)

            try:
                yield draw
            finally:
                used = drawn - operator.length_hint(ahead)
                self._bits.state = saved
                self._fresh = fresh and not used
                if used:
                    self._bits.random_raw(2 * used, output=False)

    def scalar_normal(self, draw: Callable[[], float]) -> float:
        """One standard normal of the serial path, from the cache or from two values of ``draw`` (filling the cache)."""
        if self.cached_normal is not None:
            z, self.cached_normal = self.cached_normal, None
            return z
        angle = 2.0 * math.pi * draw()
        radius = math.sqrt(-2.0 * math.log1p(-draw()))
        self.cached_normal = radius * math.sin(angle)
        return radius * math.cos(angle)

    # --- state -----------------------------------------------------------------------------------------------------

    def get_state(self) -> np.ndarray:
        """The state as 5056 bytes (uint8), the very bytes PyTorch's ``get_state`` gives."""
        record = np.zeros(1, _STATE)
        r = record[0]
        with self.lock:
            engine = self._bits.state["state"]
            position = int(engine["pos"])
            r["seed"], r["seeded"], r["key"] = self._seed, 1, engine["key"]
            r["next"], r["left"] = (0, 1) if self._fresh else (position, _WORDS + 1 - position)
            if self.cached_normal is not None:
                r["normal"], r["has_normal"] = self.cached_normal, 1
            if self._float_normal is not None:
                r["float_normal"], r["has_float_normal"] = self._float_normal, 1
        return record.view(np.uint8)

    def set_state(self, state: np.ndarray) -> None:
        """Continue from a state that :meth:`get_state`, here or in PyTorch, returned.

        Raises:
            TypeError: ``state`` is not an array of bytes.
            RuntimeError: it has the wrong size, or no engine could be in it.
        """
        if not isinstance(state, np.ndarray):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
        if state.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if state.size != STATE_SIZE:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {STATE_SIZE} but found the input RNG state size to be "
                f"{state.size}"
            )
        r = np.ascontiguousarray(state).reshape(-1).view(_STATE)[0]
        left, following = int(r["left"]), int(r["next"])
        if r["seeded"] != 1 or not 0 < left <= _WORDS or following > _WORDS:
            raise RuntimeError("Invalid mt19937 state")
        with self.lock:
            self._seed = int(r["seed"])
            self._fresh = left == 1 and following == 0
            position = _WORDS if left == 1 else following
            self._state.set_state(("MT19937", r["key"].astype(np.uint32), position))
            self.cached_normal = float(r["normal"]) if r["has_normal"] else None
            self._float_normal = float(r["float_normal"]) if r["has_float_normal"] else None

    def clone(self) -> HostStream:
        """An independent stream in the same state."""
        return _restore(self.get_state().tobytes())

    def __copy__(self) -> HostStream:
        return self.clone()

    def __deepcopy__(self, memo) -> HostStream:
        return self.clone()

    def __reduce__(self):
        return _restore, (self.get_state().tobytes(),)

    def get_offset(self) -> int:
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        raise RuntimeError("CPU Generator does not use offset")


def _restore(state: bytes) -> HostStream:
    stream = HostStream()
    stream.set_state(np.frombuffer(state, np.uint8))
    return stream
