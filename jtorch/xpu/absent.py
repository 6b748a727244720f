"""What the functions of a package answer whose devices jtorch does not run on."""

from __future__ import annotations

from collections.abc import Callable


def _named(function: Callable, name: str, doc: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def zero(name: str) -> Callable:
    """A function that returns 0."""
    return _named(lambda *args, **kwargs: 0, name, "0: there is no device.")


def nothing(name: str) -> Callable:
    """A function that accepts its arguments and does nothing."""
    return _named(lambda *args, **kwargs: None, name, "Accepted; there is no device, and so nothing to do.")


def refusal(kind: str, name: str, hint: str) -> Callable:
    """A function that raises RuntimeError."""

    def refuse(*args, **kwargs):
        raise RuntimeError(f"torch.{kind}.{name}: {hint}")

    return _named(refuse, name, "Raises RuntimeError: there is no such device.")
