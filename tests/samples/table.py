"""The sample table: for each public operation, calls that every property test runs.

A family file adds rows::

    rows("torch.add", S(T(3, 4), T(4)), S(T(3, 4), 2.5, alpha=2))
    rows("torch.nn.functional.linear", S(T(2, 3), T(4, 3), T(4)))
    rows("torch.Tensor.view", S(T(2, 6), 3, 4))

``T`` describes a tensor without making one, so that the table can be read by tests of jtorch, of PyTorch and of plain
functions alike. Keep shapes small (gradcheck runs over each element in float64) and awkward: 0-d, size 1, broadcast,
empty, several dims.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class T:
    """A tensor argument: shape, dtype name, value range, or explicit values.

    Floats are uniform in [low, high] (default [-2, 2]) and kept apart from each other (so that max, sort and
    median have no ties and gradcheck's finite differences cross none); integers are uniform in [low, high).
    """

    shape: tuple[int, ...]
    dtype: str
    low: float | None
    high: float | None
    values: object
    grad: bool

    def __init__(self, *shape, dtype="float32", low=None, high=None, values=None, grad=True):
        object.__setattr__(self, "shape", tuple(shape))
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "grad", grad)

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith("float") or self.dtype.startswith("complex")

    def numpy(self, seed: int = 0, dtype: str | None = None) -> np.ndarray:
        """The values, the same for the same seed; ``dtype`` replaces the type of a floating tensor."""
        dt = dtype if dtype is not None and self.dtype.startswith("float") else self.dtype
        if self.values is not None:
            return np.array(self.values, dtype=dt)
        rng = np.random.default_rng(zlib.crc32(repr((self.shape, self.low, self.high, seed)).encode()))
        n = int(np.prod(self.shape, dtype=np.int64))
        if self.dtype == "bool":
            return rng.integers(0, 2, self.shape).astype(bool)
        if self.is_float:
            low, high = (-2.0 if self.low is None else self.low), (2.0 if self.high is None else self.high)

            def draw():
                # one value from each of n cells, shuffled: no two closer than a twentieth of a cell
                cells = (np.arange(n) + 0.05 + 0.9 * rng.random(n)) / max(n, 1)
                return (low + (high - low) * rng.permutation(cells)).reshape(self.shape)

            out = draw() + 1j * draw() if dt.startswith("complex") else draw()
            return out.astype(dt)
        low, high = (0 if self.low is None else self.low), (5 if self.high is None else self.high)
        return rng.integers(low, high, self.shape).astype(self.dtype)


@dataclass(frozen=True)
class S:
    """One call. ``gradcheck=False`` leaves it out of the gradient tests; say why in ``why``."""

    args: tuple
    kwargs: dict = field(default_factory=dict)
    gradcheck: bool = True
    atol: float | None = None
    rtol: float | None = None
    why: str = ""

    def __init__(self, *args, gradcheck=True, atol=None, rtol=None, why="", **kwargs):
        for key, value in dict(args=args, kwargs=kwargs, gradcheck=gradcheck, atol=atol, rtol=rtol, why=why).items():
            object.__setattr__(self, key, value)

    def materialise(self, convert, seed: int = 0, dtype: str | None = None):
        """``(args, kwargs)`` with every ``T`` (also inside lists and tuples) replaced by ``convert(array, T)``."""
        counter = iter(range(seed * 1000, seed * 1000 + 1000))

        def walk(x):
            if isinstance(x, T):
                return convert(x.numpy(next(counter), dtype), x)
            if isinstance(x, (list, tuple)) and any(isinstance(e, (T, list, tuple)) for e in x):
                return type(x)(walk(e) for e in x)
            return x

        return [walk(a) for a in self.args], {k: walk(v) for k, v in self.kwargs.items()}


#: path -> rows
TABLE: dict[str, list[S]] = {}


def rows(path: str, *samples: S) -> None:
    """Add sample calls for ``path``, e.g. ``"torch.add"``; a path may be given once."""
    if path in TABLE:
        raise ValueError(f"samples for {path} are given twice")
    TABLE[path] = list(samples)
