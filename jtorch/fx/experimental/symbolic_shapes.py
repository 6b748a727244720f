"""``torch.fx.experimental.symbolic_shapes``: questions about sizes. In jtorch a size is a number and has an answer."""

from __future__ import annotations

__all__ = ["GuardOnDataDependentSymNode", "free_symbols", "guard_int", "guard_or_false", "guard_or_true",
           "guard_size_oblivious", "ShapeEnv", "has_free_symbols", "statically_known_true"]  # fmt: skip


class GuardOnDataDependentSymNode(RuntimeError):
    """For ``except`` only: jtorch reads a size when a program asks for it, and never raises this."""


def guard_or_false(a) -> bool:
    """Whether ``a`` is true. It is always known."""
    return bool(a)


guard_or_true = guard_size_oblivious = statically_known_true = guard_or_false


def guard_int(a) -> int:
    """``a`` as a number."""
    return int(a)


def free_symbols(val) -> set:
    """The unknown sizes in ``val``: none."""
    return set()


def has_free_symbols(val) -> bool:
    """Whether ``val`` depends on unknown sizes: never."""
    return False


class ShapeEnv:
    """For ``isinstance`` only: jtorch has no symbolic sizes. Making one raises NotImplementedError."""

    def __init__(self, *args, **kwargs):
        raise NotImplementedError("ShapeEnv: jtorch has no symbolic sizes; give shapes that are known")
