"""The named tuples that operations with several results return: ``torch.return_types.max`` and its like."""

from __future__ import annotations

from collections import namedtuple


class _Results:
    """Prints as PyTorch's do: a field a line, under the name of the operation."""

    __slots__ = ()

    def __new__(cls, *values, **named):
        # PyTorch's take one sequence of all values, namedtuples the values: both are meant here
        if len(values) == 1 and not named and len(cls._fields) > 1 and isinstance(values[0], (tuple, list)):
            values = values[0]
        return super().__new__(cls, *values, **named)

    def __repr__(self) -> str:
        fields = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{type(self).__name__}(\n{fields})"

    def __reduce__(self):
        return _build, (type(self).__name__, self._fields, tuple(self))


def named(name: str, fields: tuple[str, ...]) -> type:
    """The type of an operation's results; one for each name, an attribute of this module."""
    kind = globals().get(name)
    if kind is None:
        members = {"__slots__": (), "__module__": "torch.return_types"}
        kind = globals()[name] = type(name, (_Results, namedtuple(name, fields)), members)
    return kind


def fields_of(name: str) -> tuple[str, ...] | None:
    """What the operation returns whose type has this name, or None. Who knows the operations replaces it."""
    return None


def __getattr__(name: str) -> type:
    """The type of an operation that has not run yet."""
    fields = None if name.startswith("__") else fields_of(name)
    if fields is None:
        raise AttributeError(f"module 'jtorch.return_types' has no attribute {name!r}")
    return named(name, fields)


def _build(name, fields, values):
    return named(name, fields)(*values)
