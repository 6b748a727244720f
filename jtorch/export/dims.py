"""``Dim``: sizes that an exported program leaves open."""

from __future__ import annotations


class UserError(ValueError):
    """What a program asked to be exported does not fit the module (``torch._dynamo.exc.UserError``)."""


class _Hint:
    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"Dim.{self.name}"


class Dim:
    """A size left open, the same wherever the same ``Dim`` is given: ``Dim("batch", min=1, max=64)``.

    In ``dynamic_shapes`` a plain int or ``Dim.STATIC`` (or None) fixes a size; ``Dim.AUTO`` and ``Dim.DYNAMIC`` leave
    it open under a name of its own.

    Raises:
        ValueError: the name is no identifier, or ``min`` exceeds ``max``.
    """

    AUTO = _Hint("AUTO")
    DYNAMIC = _Hint("DYNAMIC")
    STATIC = _Hint("STATIC")

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None):
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"Dim: the name must be an identifier, got {name!r}")
        if min is not None and max is not None and min > max:
            raise ValueError(f"Cannot create Dim with inconsistent min={min}, max={max}")
        self.__name__, self.min, self.max = name, min, max

    def __repr__(self) -> str:
        return f"Dim('{self.__name__}', min={self.min or 0}, max={self.max or 'int_oo'})"


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """Several Dims at once."""
    return tuple(Dim(name, min=min, max=max) for name in names)


class ValueRanges:
    """The sizes from ``lower`` to ``upper`` (None: any), both included."""

    def __init__(self, lower: int, upper: int | None):
        self.lower, self.upper = lower, upper

    def __contains__(self, size: int) -> bool:
        return self.lower <= size and (self.upper is None or size <= self.upper)

    def __eq__(self, other) -> bool:
        return isinstance(other, ValueRanges) and (self.lower, self.upper) == (other.lower, other.upper)

    def __hash__(self) -> int:
        return hash((self.lower, self.upper))

    def __repr__(self) -> str:
        return f"VR[{self.lower}, {'int_oo' if self.upper is None else self.upper}]"


class Shapes:
    """The shapes of a program's inputs, with the Dims in them.

    Args:
        names: what messages call each input.
        tensors: the example inputs.
        given: per input its dynamic dimensions: None, ``{dimension: Dim}`` or one entry per dimension.
    """

    def __init__(self, names: list[str], tensors: list, given: list):
        self.dims: list[Dim] = []
        self.examples: list[int] = []
        self.shapes: list[tuple] = []
        for name, t, entry in zip(names, tensors, given, strict=True):
            shape: list = list(t.shape)
            for i, d in _entries(name, t, entry):
                if d is None or d is Dim.STATIC:
                    continue
                if isinstance(d, int):
                    if d != t.shape[i]:
                        raise UserError(f"dynamic_shapes fix dimension {i} of {name} at {d}; it is {shape[i]}")
                    continue
                if isinstance(d, _Hint):
                    d = Dim(f"d{len(self.dims)}")
                if not isinstance(d, Dim):
                    raise TypeError(f"dynamic_shapes of {name}: expected a Dim, an int or None, got {d!r}")
                self._note(d, shape[i], name, i)
                shape[i] = d
            self.shapes.append(tuple(shape))

    def _note(self, d: Dim, size: int, name: str, i: int) -> None:
        if d in self.dims:
            known = self.examples[self.dims.index(d)]
            if known != size:
                raise ValueError(
                    f"Constraints violated ({d.__name__})! dimension {i} of {name} is {size}, but {d.__name__} is "
                    f"{known} elsewhere: give them different Dims, or example inputs of equal size"
                )
            return
        if (d.min is not None and size < d.min) or (d.max is not None and size > d.max):
            raise ValueError(f"dimension {i} of {name} is {size}, outside the range of {d!r}")
        if any(d.__name__ == other.__name__ for other in self.dims):
            raise ValueError(f"two different Dims are called {d.__name__!r}")
        self.dims.append(d)
        self.examples.append(size)

    def constraints(self) -> list[str]:
        """The ranges, in JAX's words."""
        found = []
        for d in self.dims:
            if d.min is not None:
                found.append(f"{d.__name__} >= {d.min}")
            if d.max is not None:
                found.append(f"{d.__name__} <= {d.max}")
        return found

    def at(self, sizes: dict) -> list[tuple[int, ...]]:
        """The shapes with these sizes in the place of the Dims."""
        return [tuple(sizes[d] if isinstance(d, Dim) else d for d in shape) for shape in self.shapes]

    def texts(self) -> list[str]:
        """The shapes as JAX reads them: ``"batch, 3, 32"``."""
        return [", ".join(d.__name__ if isinstance(d, Dim) else str(d) for d in shape) for shape in self.shapes]


def _entries(name: str, t, entry):
    if entry is None:
        return []
    if isinstance(entry, dict):
        for i in entry:
            if not (isinstance(i, int) and -t.dim() <= i < t.dim()):
                raise UserError(f"dynamic_shapes of {name} name dimension {i!r}; it has {t.dim()}")
        return [(i % t.dim(), d) for i, d in entry.items()]
    if isinstance(entry, (list, tuple)):
        if len(entry) != t.dim():
            raise UserError(f"dynamic_shapes of {name} have {len(entry)} entries; it has {t.dim()} dimensions")
        return list(enumerate(entry))
    raise TypeError(f"dynamic_shapes of {name} must be None, a dict or one entry per dimension, got {entry!r}")
