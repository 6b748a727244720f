"""What a launched process says about its own failure (:mod:`.errors`)."""

from . import errors
from .errors import record

__all__ = ["errors", "record"]
