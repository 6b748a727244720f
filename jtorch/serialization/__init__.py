"""Reading and writing PyTorch's files: ``save``, ``load``, and what a file may name when it is loaded safely."""

from .api import get_unsafe_globals_in_checkpoint, load, save
from .safe import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals

DEFAULT_PROTOCOL = 2  # of pickle

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "safe_globals",
    "save",
]
