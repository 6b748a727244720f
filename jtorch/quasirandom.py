"""``torch.quasirandom``: Sobol sequences (Sobol, 1967) with the direction numbers of Joe and Kuo (2008)."""

from __future__ import annotations

import functools
import importlib.resources

import numpy as np

from . import dtypes
from .functions.random import randint
from .tensor import Tensor
from .tensor.creation import from_numpy
from .tensor.random import Generator

_BITS = 30
_DIMENSIONS = 21201


@functools.cache
def _joe_kuo() -> tuple[np.ndarray, np.ndarray]:
    """Primitive polynomials and initial direction numbers, from the copy of the published table that SciPy carries."""
    with importlib.resources.files("scipy.stats").joinpath("_sobol_direction_numbers.npz").open("rb") as file:
        table = np.load(file)
        return table["poly"], table["vinit"]


def _directions(dimension: int) -> np.ndarray:
    """Direction numbers ``(dimension, bits)``, the most significant bit first."""
    polynomials, initial = _joe_kuo()
    v = np.zeros((dimension, _BITS), np.int64)
    v[0] = 1
    for d in range(1, dimension):
        polynomial = int(polynomials[d])
        degree = polynomial.bit_length() - 1
        taps = [k for k in range(1, degree) if polynomial >> (degree - k) & 1]
        row = [int(x) for x in initial[d, : min(degree, _BITS)]]
        for j in range(degree, _BITS):
            new = row[j - degree] ^ row[j - degree] << degree
            for k in taps:
                new ^= row[j - k] << k
            row.append(new)
        v[d] = row[:_BITS]
    return v << np.arange(_BITS - 1, -1, -1)


class SobolEngine:
    """Points of a Sobol sequence in the unit cube: they fill it more evenly than random ones.

    Args:
        dimension: of the points, from 1 to 21201.
        scramble: a random linear scrambling of the digits and a random shift (Owen; Matousek, 1998).
        seed: of the scrambling; without one the default generator draws it.

    Raises:
        ValueError: the dimension is out of range.

    The points are those of PyTorch, bit for bit.
    """

    MAXBIT, MAXDIM = _BITS, _DIMENSIONS

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None):
        if not 1 <= dimension <= _DIMENSIONS:
            raise ValueError(
                f"Supported range of dimensionality for SobolEngine is [1, {_DIMENSIONS}], but got {dimension}"
            )
        self.dimension, self.scramble, self.seed = dimension, scramble, seed
        self._state = _directions(dimension)
        self._shift = np.zeros(dimension, np.int64)
        if scramble:
            self._scramble()
        self.reset()

    def _scramble(self) -> None:
        g = None if self.seed is None else Generator().manual_seed(self.seed)
        bits = randint(2, (self.dimension, _BITS), generator=g, device="cpu").numpy()
        self._shift = bits @ (1 << np.arange(_BITS, dtype=np.int64))
        lower = np.tril(randint(2, (self.dimension, _BITS, _BITS), generator=g, device="cpu").numpy())
        lower[:, np.arange(_BITS), np.arange(_BITS)] = 1
        places = 1 << np.arange(_BITS - 1, -1, -1, dtype=np.int64)
        digits = (self._state[:, :, None] & places != 0).astype(np.int64)  # (dimension, number, digit)
        self._state = (digits @ lower.transpose(0, 2, 1) % 2) @ places

    sobolstate = property(lambda self: from_numpy(self._state.copy()), doc="The direction numbers.")
    shift = property(lambda self: from_numpy(self._shift.copy()), doc="What every point is shifted by.")
    quasi = property(lambda self: from_numpy(self._quasi.copy()), doc="The last point drawn, as integers.")

    def reset(self) -> SobolEngine:
        """Begin again with the first point."""
        self._quasi = self._shift.copy()
        self.num_generated = 0
        return self

    def _next(self, n: int) -> np.ndarray:
        """The next points after the first, as integers ``(n, dimension)``."""
        at = np.arange(self.num_generated, self.num_generated + n) - 1
        first_zero = [int(~k & k + 1).bit_length() - 1 for k in at.tolist()]
        points = np.bitwise_xor.accumulate(np.vstack([self._quasi, self._state[:, first_zero].T]))
        self._quasi = points[-1]
        return points[1:]

    def draw(self, n: int = 1, out: Tensor | None = None, dtype=None) -> Tensor:
        """The next ``n`` points, ``(n, dimension)``, of the default dtype unless given."""
        first = []
        if self.num_generated == 0 and n:
            first, self.num_generated = [self._quasi[None]], 1
        rest = n - len(first)
        points = np.concatenate([*first, self._next(rest)])
        self.num_generated += rest
        kind = dtype or dtypes.get_default_dtype()
        wide = np.float64 if kind is dtypes.float64 else np.float32
        result = from_numpy(points.astype(wide) * wide(0.5**_BITS)).to(kind)
        if out is None:
            return result
        return out.resize_(result.shape).copy_(result)

    def draw_base2(self, m: int, out: Tensor | None = None, dtype=None) -> Tensor:
        """The next ``2**m`` points.

        Raises:
            ValueError: together with those drawn before their number is no power of 2.
        """
        n = 2**m
        total = self.num_generated + n
        if total & total - 1:
            raise ValueError(
                f"The balance properties of Sobol' points require n to be a power of 2. {self.num_generated} points "
                f"have been previously generated, then: n={self.num_generated}+2**{m}={total}. If you still want to do "
                "this, please use 'SobolEngine.draw()' instead"
            )
        return self.draw(n, out, dtype)

    def fast_forward(self, n: int) -> SobolEngine:
        """Leave out the next ``n`` points."""
        if n and self.num_generated == 0:
            n, self.num_generated = n - 1, 1
        if n:
            self._next(n)
            self.num_generated += n
        return self

    def __repr__(self) -> str:
        parts = [f"dimension={self.dimension}"]
        parts += ["scramble=True"] if self.scramble else []
        parts += [f"seed={self.seed}"] if self.seed is not None else []
        return f"SobolEngine({', '.join(parts)})"


__all__ = ["SobolEngine"]
