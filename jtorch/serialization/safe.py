"""What a file may name when it is loaded safely, beyond tensors and plain data: the program decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_user: dict[str, Any] = {}

HOW_TO_ALLOW = (
    "if you trust the file, allow it with jtorch.serialization.add_safe_globals([...]), or load with "
    "weights_only=False, which can run any code the file holds"
)


def not_allowed(name: str) -> str:
    """The message about a global that a file names and may not."""
    return (
        f"Weights only load failed: the file refers to {name}, which is not an allowed global. load() imports and "
        "calls nothing else that a file names. If you trust the file, allow it with "
        f"jtorch.serialization.add_safe_globals([{name}]) (or the safe_globals context manager), or load with "
        "weights_only=False, which can run any code the file holds"
    )


def _name(entry: Any) -> str:
    return f"{getattr(entry, '__module__', None)}.{getattr(entry, '__qualname__', None)}"


def _named(entries: Sequence[Callable | tuple[Callable, str]]) -> dict[str, Any]:
    out = {}
    for entry in entries:
        pair = entry if isinstance(entry, tuple) else (entry, _name(entry))
        if len(pair) != 2 or not callable(pair[0]) or not isinstance(pair[1], str):
            raise TypeError(f"a safe global is a class, a function, or a pair (class or function, name), got {entry!r}")
        out[pair[1]] = pair[0]
    return out


def add_safe_globals(safe_globals: Sequence[Callable | tuple[Callable, str]]) -> None:
    """Let files loaded with ``weights_only=True`` name these classes and functions, make instances and call them.

    A pair ``(object, "module.name")`` allows it under another name than its own.

    Raises:
        TypeError: an entry is none of these.
    """
    _user.update(_named(safe_globals))


def get_safe_globals() -> list[Any]:
    """What was added; entries under another name than their own as pairs."""
    return [f if name == _name(f) else (f, name) for name, f in _user.items()]


def clear_safe_globals() -> None:
    """Forget what was added."""
    _user.clear()


def user_globals() -> dict[str, Any]:
    """Name -> object, as of now."""
    return dict(_user)


class safe_globals:
    """``with safe_globals([MyClass]): load(...)``: :func:`add_safe_globals` for the length of a block."""

    def __init__(self, safe_globals: Sequence[Callable | tuple[Callable, str]]):
        self._entries = _named(safe_globals)

    def __enter__(self) -> safe_globals:
        self._before = dict(_user)
        _user.update(self._entries)
        return self

    def __exit__(self, *exc) -> None:
        _user.clear()
        _user.update(self._before)
