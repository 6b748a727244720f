"""The translation table: operation name -> the function that writes it as ONNX nodes.

A translation is called as ``translate(g, node, **operands, **attributes)`` with the operation's own parameter names.
Operands are :class:`~.builder.Value` (promoted ones have been cast already), Python numbers, None, or tuples of these.
It returns the name of its result, or a tuple of names.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import OnnxExporterError
from .dims import Varying

TABLE: dict[str, Callable] = {}


def translates(*names: str):
    """Register a translation of one or more operations."""

    def register(fn):
        for name in names:
            if name in TABLE:
                raise ValueError(f"{name} has a translation already")
            TABLE[name] = fn
        return fn

    return register


def simple(table: dict[str, str]) -> None:
    """Operations that are one ONNX node with the same inputs and no attributes."""
    for name, op_type in table.items():

        def translate(g, node, *, _op_type=op_type, **operands):
            return g.node(_op_type, [x for x in operands.values() if x is not None])

        translates(name)(translate)


def static(node, **numbers):
    """Refuse attributes that vary with dynamic sizes.

    Raises:
        OnnxExporterError: one does.
    """
    for name, value in numbers.items():
        if any(isinstance(v, Varying) for v in (value if isinstance(value, tuple) else (value,))):
            raise OnnxExporterError(
                f"{node.name}: ONNX needs a fixed {name}, and it varies with the dynamic sizes (called at "
                f"{node.line}); make the dimension it comes from static"
            )


def refuse(node, why: str):
    """Raise for an operation that cannot be written as it is used."""
    raise OnnxExporterError(f"{node.name}, called at {node.line}, cannot be exported: {why}")


def axis_of(dim: int, ndim: int) -> int:
    """A dimension counted from the front."""
    return dim % ndim if ndim else 0


def axes_of(dim, ndim: int) -> list[int] | None:
    """``dim`` (an int, several, or None for all) as a list counted from the front; None for all."""
    if dim is None:
        return None
    dims = [dim] if isinstance(dim, int) else list(dim)
    return [axis_of(d, ndim) for d in dims]


def per_dim(value, n: int) -> list[int]:
    """An int or a list of ints as ``n`` ints."""
    values = [value] if isinstance(value, int) else list(value)
    return values * n if len(values) == 1 else values
