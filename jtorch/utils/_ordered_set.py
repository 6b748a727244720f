"""A set that keeps the order in which elements were added."""

from __future__ import annotations

from collections.abc import Iterable, MutableSet


class OrderedSet(MutableSet):
    """A set whose elements come in the order of their adding."""

    def __init__(self, iterable: Iterable = ()):
        self._dict = dict.fromkeys(iterable)

    def __contains__(self, x) -> bool:
        return x in self._dict

    def __iter__(self):
        return iter(self._dict)

    def __reversed__(self):
        return reversed(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def __getitem__(self, index: int):
        """The element added as number ``index``."""
        return list(self._dict)[index]

    def add(self, x) -> None:
        self._dict[x] = None

    def discard(self, x) -> None:
        self._dict.pop(x, None)

    def update(self, *others: Iterable) -> None:
        """Add the elements of others."""
        for other in others:
            self._dict.update(dict.fromkeys(other))

    def union(self, *others: Iterable) -> OrderedSet:
        """The elements of this and of others."""
        found = OrderedSet(self)
        found.update(*others)
        return found

    def intersection(self, *others: Iterable) -> OrderedSet:
        """The elements that are in all others as well."""
        sets = [set(o) for o in others]
        return OrderedSet(x for x in self if all(x in s for s in sets))

    def difference(self, *others: Iterable) -> OrderedSet:
        """The elements that are in none of the others."""
        sets = [set(o) for o in others]
        return OrderedSet(x for x in self if not any(x in s for s in sets))

    def copy(self) -> OrderedSet:
        return OrderedSet(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)})"
