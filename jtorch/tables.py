"""Functions in tables, by name."""

from __future__ import annotations

from collections.abc import Callable


def by_name(table: dict[str, Callable]):
    """A decorator for a table: ``@enter("a", "b")`` puts what it decorates there under both names."""

    def enter(*names: str):
        def put(function):
            table.update(dict.fromkeys(names, function))
            return function

        return put

    return enter
