"""Reading and writing PyTorch's files: ``save``, ``load``, and what a file may name when it is loaded safely."""

from collections.abc import Callable
from typing import Any, TypeAlias

from .api import get_unsafe_globals_in_checkpoint, load, save
from .format import is_zip as _is_zipfile  # noqa: F401 (PyTorch's name; programs ask it which format a file has)
from .safe import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals


class SourceChangeWarning(Warning):
    """PyTorch's of a module class whose source has changed since it was saved; jtorch keeps no source."""


DEFAULT_PROTOCOL = 2  # of pickle
#: What ``load`` takes as its ``map_location``, for annotations.
MAP_LOCATION: TypeAlias = Callable[[Any, str], Any] | Any | str | dict[str, str] | None

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "safe_globals",
    "save",
]
