"""Reading and writing PyTorch's files: ``save``, ``load``, and what a file may name when it is loaded safely."""

import enum
import inspect
from collections.abc import Callable
from mmap import MAP_PRIVATE
from typing import Any, TypeAlias

from .api import get_unsafe_globals_in_checkpoint, load, save
from .format import is_zip as _is_zipfile  # noqa: F401 (PyTorch's name; programs ask it which format a file has)
from .globals import StorageType
from .safe import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from .tensors import check_location


class SourceChangeWarning(Warning):
    """PyTorch's of a module class whose source has changed since it was saved; jtorch keeps no source."""


class LoadEndianness(enum.Enum):
    """The order of bytes in a file that does not tell; jtorch's and PyTorch's since 2.1 do."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


def _kept(what: str, value, parameter: str):
    """Two functions: what was last set, and setting it. The setting is kept for reading back."""

    def get():
        return value

    def set(*args, **kwargs) -> None:
        nonlocal value
        (value,) = signature.bind(*args, **kwargs).args

    signature = inspect.Signature([inspect.Parameter(parameter, inspect.Parameter.POSITIONAL_OR_KEYWORD)])
    set.__signature__ = signature

    get.__doc__ = f"{what}: kept for reading back."
    set.__doc__ = f"Set {what[0].lower()}{what[1:]}: kept for reading back."
    return get, set


get_crc32_options, set_crc32_options = _kept("Whether checksums are written: they always are", True, "compute_crc32")
get_default_load_endianness, set_default_load_endianness = _kept(
    "The order of bytes where a file does not tell", None, "endianness"
)
get_default_mmap_options, set_default_mmap_options = _kept(
    "Flags of memory maps: jtorch's are private", MAP_PRIVATE, "flags"
)


def location_tag(storage) -> str:
    """How files name the device of a storage."""
    return str(storage.device)


def default_restore_location(storage, location: str):
    """The storage on the device that a file names.

    Raises:
        RuntimeError: this machine has no such device.
    """
    check_location(location)
    return storage if str(storage.device) == location else storage.to(location)


DEFAULT_PROTOCOL = 2  # of pickle
#: What ``load`` takes as its ``map_location``, for annotations.
MAP_LOCATION: TypeAlias = Callable[[Any, str], Any] | Any | str | dict[str, str] | None

__all__ = [
    "LoadEndianness",
    "StorageType",
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "default_restore_location",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "load",
    "location_tag",
    "safe_globals",
    "save",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
]
