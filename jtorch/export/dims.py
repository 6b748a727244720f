"""``Dim``: sizes that an exported program leaves open."""

from __future__ import annotations

import re

from ..errors import TorchDynamoException


class UserError(TorchDynamoException):
    """What a program asked to be exported does not fit the module (``torch._dynamo.exc.UserError``)."""


class _Hint:
    """A size without a name: ``Dim.AUTO``, or ``Dim.AUTO(min=2, max=64)``."""

    def __init__(self, name: str, min: int | None = None, max: int | None = None):
        self.name, self.min, self.max = name, min, max

    def __call__(self, min: int | None = None, max: int | None = None) -> _Hint:
        if self.name == "STATIC":
            raise TypeError(f"a static size has no range, got min={min}, max={max}")
        return _Hint(self.name, min, max)

    def __repr__(self) -> str:
        bounds = [f"{n}={x}" for n, x in (("min", self.min), ("max", self.max)) if x is not None]
        return f"DimHint({', '.join([self.name, *bounds])})"


class Dim:
    """A size left open, the same wherever the same ``Dim`` is given: ``Dim("batch", min=1, max=64)``.

    In ``dynamic_shapes`` a plain int or ``Dim.STATIC`` (or None) fixes a size; ``Dim.AUTO`` and ``Dim.DYNAMIC`` leave
    it open under a name of its own.

    Two Dims of one name and one range are the same size.

    Raises:
        AssertionError: the name is no identifier, or ``min`` exceeds ``max``.
    """

    AUTO = _Hint("AUTO")
    DYNAMIC = _Hint("DYNAMIC")
    STATIC = _Hint("STATIC")

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None):
        if not (isinstance(name, str) and name.isidentifier()):
            raise AssertionError(f"Dim name must be a valid identifier, got {name}")
        if min is not None and max is not None and min > max:
            raise AssertionError(f"Cannot create Dim with inconsistent min={min}, max={max}")
        self.__name__, self.min, self.max = name, min, max

    def __repr__(self) -> str:
        low = "" if self.min == 2 else f", min={self.min or 0}"  # PyTorch's programs are for two or more by themselves
        return f"Dim('{self.__name__}'{low}{'' if self.max is None else f', max={self.max}'})"

    def __add__(self, n: int) -> Derived:
        return Derived(self, 1, n)

    def __sub__(self, n: int) -> Derived:
        return self + (-n)

    def __mul__(self, n: int) -> Derived:
        return Derived(self, n, 0)

    __radd__, __rmul__ = __add__, __mul__


class Derived(Dim):
    """A size that is ``factor * root + offset``: ``2 * batch``, ``length - 1``.

    Raises:
        NotImplementedError: the numbers are no integers, or the size would not grow with the root.
    """

    def __init__(self, root: Dim, factor: int, offset: int):
        only = "(Only increasing linear operations with integer coefficients are supported.)"
        if not isinstance(factor, int) or factor < 1:
            raise NotImplementedError(
                f"Attempted to multiply {factor!r} with {root.__name__}, where a positive integer was expected. {only}"
            )
        if not isinstance(offset, int):
            raise NotImplementedError(
                f"Attempted to add {offset!r} to {root.__name__}, where an integer was expected. {only}"
            )
        self.root, self.factor, self.offset = root, factor, offset
        times = root.__name__ if factor == 1 else f"{factor}*{root.__name__}"
        self.__name__ = times if not offset else f"{times} {'-' if offset < 0 else '+'} {abs(offset)}"
        self.min = self.max = None

    def __eq__(self, other) -> bool:
        return isinstance(other, Derived) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return self.__name__

    def _key(self) -> tuple:
        return self.root, self.factor, self.offset

    def __add__(self, n: int) -> Derived:
        return Derived(self.root, self.factor, self.offset + n)

    def __mul__(self, n: int) -> Derived:
        return Derived(self.root, self.factor * n, self.offset * n)

    __radd__, __rmul__ = __add__, __mul__

    def root_of(self, size: int) -> int | None:
        """The root's size where this one's is ``size``; None where it is of no whole number."""
        n, rest = divmod(size - self.offset, self.factor)
        return None if rest or n < 0 else n


_TEXT = re.compile(r"(?:(\d+)\*)?([^\W\d]\w*)(?: ([+-]) (\d+))?")


def parsed(text: str) -> Dim:
    """The Dim of this name: as derived ones are called, too."""
    factor, name, sign, offset = _TEXT.fullmatch(text).groups()
    if factor is None and offset is None:
        return Dim(name)
    return Derived(Dim(name), int(factor or 1), int(f"{sign or ''}{offset or 0}"))


class ShapesCollection:
    """Dynamic shapes by tensor: ``shapes[x] = {0: Dim("batch")}`` for a tensor somewhere among the example inputs."""

    def __init__(self):
        self._of: dict[int, tuple] = {}

    def __setitem__(self, t, shape) -> None:
        known = self._of.get(id(t))
        if known is not None and known[1] != shape:
            raise ValueError(f"Shapes assigned to the same tensor do not match: {known[1]} and {shape}")
        self._of[id(t)] = t, shape

    def __getitem__(self, t):
        return self._of[id(t)][1] if id(t) in self._of else None

    def __len__(self) -> int:
        return len(self._of)

    def dynamic_shapes(self, m, args, kwargs=None):
        """This collection, which :func:`.program.export` takes as ``dynamic_shapes``."""
        return self


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
                    d = Dim(f"d{len(self.dims)}", min=d.min, max=d.max)
                if not isinstance(d, Dim):
                    raise UserError(f"dynamic_shapes of {name}: expected a Dim, an int or None, got {d!r}")
                shape[i] = self._note(d, shape[i], name, i)
            self.shapes.append(tuple(shape))

    def _note(self, d: Dim, size: int, name: str, i: int) -> Dim:
        """The Dim that stands for ``d`` here: the first of those that are the same size."""
        if isinstance(d, Derived):
            root = d.root_of(size)
            if root is None:
                raise UserError(f"dimension {i} of {name} is {size}, which is {d.__name__} of no size")
            return Derived(self._note(d.root, root, name, i), d.factor, d.offset)
        same = next((other for other in self.dims if other.__name__ == d.__name__), None)
        if same is not None:
            if (same.min, same.max) != (d.min, d.max):
                raise UserError(f"Found different definitions {same!r} and {d!r} for the same symbolic dimension")
            known = self.examples[self.dims.index(same)]
            if known != size:
                raise UserError(
                    f"Constraints violated ({d.__name__})! dimension {i} of {name} is {size}, but {d.__name__} is "
                    f"{known} elsewhere: give them different Dims, or example inputs of equal size"
                )
            return same
        if (d.min is not None and size < d.min) or (d.max is not None and size > d.max):
            raise UserError(f"dimension {i} of {name} is {size}, outside the range of {d!r}")
        self.dims.append(d)
        self.examples.append(size)
        return d

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

        def size(d):
            if isinstance(d, Derived):
                return d.factor * sizes[d.root] + d.offset
            return sizes[d] if isinstance(d, Dim) else d

        return [tuple(map(size, shape)) for shape in self.shapes]

    def texts(self) -> list[str]:
        """The shapes as JAX reads them: ``"batch, 3, 32"``."""
        return [", ".join(d.__name__ if isinstance(d, Dim) else str(d) for d in shape) for shape in self.shapes]


def settled(names: list[str], tensors: list, given: list, works) -> list:
    """``given`` without hints: each ``AUTO`` and ``DYNAMIC`` has become a Dim, or nothing where a size must stay.

    Sizes that agree in the example are opened by themselves if ``works(given)`` accepts that, else as one, else one
    after the other. Sizes 0 and 1 stay, as in PyTorch.

    Raises:
        UserError: a size that is ``DYNAMIC`` must stay.
    """
    entries = [dict(_entries(*each)) for each in zip(names, tensors, given, strict=True)]
    hints = {(k, i): d for k, entry in enumerate(entries) for i, d in entry.items() if _leaves_open(d)}
    if not hints:
        return given
    for k, i in hints:
        entries[k][i] = None
    groups: dict[int, list] = {}
    for k, i in hints:
        if tensors[k].shape[i] > 1 or hints[k, i].name == "DYNAMIC":
            groups.setdefault(tensors[k].shape[i], []).append((k, i))
    names_used, failure = 0, None

    def accepted(places, several: bool) -> bool:
        nonlocal entries, names_used, failure
        trial = [dict(entry) for entry in entries]
        asked = [hints[place] for place in (places if several else places[:1])]
        dims = [Dim(f"d{names_used + n}", min=d.min, max=d.max) for n, d in enumerate(asked)]
        for n, (k, i) in enumerate(places):
            trial[k][i] = dims[n * several]
        try:
            works(trial)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            failure = error
            return False
        entries, names_used = trial, names_used + len(dims)
        return True

    for places in groups.values():
        if not accepted(places, True) and len(places) > 1 and not accepted(places, False):
            for place in places:
                accepted([place], True)
        for k, i in places:
            if hints[k, i].name == "DYNAMIC" and entries[k][i] is None:
                raise UserError(f"dimension {i} of {names[k]} is DYNAMIC, but must be {tensors[k].shape[i]}: {failure}")
    return entries


def _leaves_open(d) -> bool:
    return isinstance(d, _Hint) and d.name != "STATIC"


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
    raise UserError(f"dynamic_shapes of {name} must be None, a dict or one entry per dimension, got {entry!r}")
