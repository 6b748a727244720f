"""Which of these functions enclose the code that runs; leaves are marked with the one that made them."""

from __future__ import annotations

import itertools
import threading


class _Level(threading.local):
    open: tuple[int, ...] = ()  # the numbers of the enclosing ones, the outermost first

    @property
    def depth(self) -> int:
        return len(self.open)


level = _Level()
#: A number for each of them, as what one has made may be used when it has long returned.
numbers = itertools.count(1)


def leads_out(variable) -> bool:
    """Whether a leaf of the graph is a user's, or made by one of the enclosing ones."""
    made_by = getattr(variable, "_func_level", None)
    return made_by is None or made_by in level.open


__all__ = ["leads_out", "level", "numbers"]
