"""All guards at once, in loops that run in C.

:meth:`.guards.Guards.changed` asks one object after the other, which costs some calls for each, and can say what
changed. Nearly always nothing has: then everything is the very object it was, and that is what is asked here. Any
other answer, also because of an equal value in place of another, is left to the long way.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter, is_, itemgetter

#: what is guarded of a tensor besides its storage, and the gradient
PLAIN = ("_lens", "_strides", "_root", "_edge", "_requires_grad", "_hooks", "_post_accumulate_hooks", "_inference")
_GUARDED = frozenset((*PLAIN, "_storage"))
#: what a plain gradient has no value of its own for
_NOT_IN_PLAIN_GRADS = frozenset(("_lens", "_edge", "_strides", "_requires_grad"))

_aval, _device, _grad = attrgetter("value.aval"), attrgetter("value.device"), itemgetter("_grad")
_content = attrgetter("cell_contents", "cell_contents")  # two names: then it gives a tuple
_parts = attrgetter("__code__", "__defaults__", "__kwdefaults__")


def entries_of(names):
    """A function that gives the entries of a dict under these names, as a tuple."""
    if not names:
        return lambda d: ()
    return itemgetter(*names) if len(names) > 1 else itemgetter(*names, *names)


class Quick:
    """What guards compare, listed: ``holds()`` is whether all of it is as it was when this was made.

    Attributes:
        left: containers that are compared the long way.
    """

    def __init__(self):
        self.left: list = []
        self._dicts: list[dict] = []  # whose keys, in order, are `_keys`
        self._keys: list[tuple] = []
        self._lists: list[list] = []  # whose lengths are `_lengths`
        self._lengths: list[int] = []
        self._readers: list[tuple] = []  # (function, what it reads): the objects read are `_objects`
        self._objects: list = []
        self._storages: list = []
        self._avals: list = []
        self._devices: list = []
        self._with_grads: list[dict] = []
        self._grad_keys: list[tuple] = []

    def _read(self, reader, owner) -> None:
        self._readers.append((reader, owner))
        self._objects += reader(owner)

    def _dict(self, d: dict) -> bool:
        keys = tuple(d)
        if type(d) is not dict or not all(type(k) is str for k in keys):
            return False
        self._dicts.append(d)
        self._keys.append(keys)
        return True

    # --- what is compared

    def values(self, d) -> bool:
        """Keys and values of a dict; whether it can be compared here, as of the other methods."""
        if not self._dict(d):
            return False
        self._read(dict.values, d)
        return True

    def keys(self, d) -> bool:
        return self._dict(d)

    def attributes(self, d, names: tuple) -> bool:
        """The keys of a dict, and some entries."""
        return all(n in d for n in names) and self._dict(d) and (not names or self.entries(d, names))

    def entries(self, d, names: tuple) -> bool:
        if not all(n in d for n in names):
            return False
        self._read(entries_of(names), d)
        return True

    def sequence(self, x) -> bool:
        if type(x) is not list:
            return False
        self._lists.append(x)
        self._lengths.append(len(x))
        self._read(iter, x)
        return True

    def cell(self, cell) -> bool:
        try:
            self._read(_content, cell)
        except ValueError:
            return False
        return True

    def parts(self, function) -> bool:
        self._read(_parts, function)
        return True

    def tensor(self, t, storage) -> bool:
        own = t.__dict__
        if own.get("_root") is not None or not self._dict(own):
            return False
        names = [n for n in own if n in _GUARDED]
        grad = own.get("_grad")
        if grad is not None:
            keys = tuple(grad.__dict__)
            if not _NOT_IN_PLAIN_GRADS.isdisjoint(keys):
                self._dicts.pop(), self._keys.pop()
                return False
            self._with_grads.append(own)
            self._grad_keys.append(keys)
        elif "_grad" in own:
            names.append("_grad")
        self._read(entries_of(names), own)
        self._storages.append(storage)
        self._avals.append(storage.value.aval)
        self._devices.append(storage.value.device)
        return True

    def holds(self) -> bool:
        try:
            return (
                list(map(tuple, self._dicts)) == self._keys
                and list(map(len, self._lists)) == self._lengths
                and all(map(is_, chain.from_iterable([read(owner) for read, owner in self._readers]), self._objects))
                and list(map(_aval, self._storages)) == self._avals
                and list(map(_device, self._storages)) == self._devices
                and list(map(tuple, map(vars, map(_grad, self._with_grads)))) == self._grad_keys
            )
        except (KeyError, ValueError, TypeError):  # an entry, the content of a cell or a gradient is gone
            return False
