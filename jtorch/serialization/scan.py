"""Looking at what a pickle refers to, without carrying it out."""

from __future__ import annotations

import pickle

from .globals import StorageType
from .unpickle import RestrictedUnpickler


class _Inert:
    """What a global or an object is to :class:`Scanner`: nothing, and everything may be done to it."""


class Scanner(RestrictedUnpickler):
    """Walks over a pickle without carrying it out; notes the globals it names and the storages it refers to."""

    def __init__(self, data, position: int = 0, encoding: str = "utf-8"):
        super().__init__(data, None, position, encoding)
        self.globals: dict[str, bool] = {}  # name -> whether it is allowed, in the order met
        self.persistent_ids: list[tuple] = []

    def find(self, module, name):
        try:
            found, allowed = super().find(module, name), True
        except pickle.UnpicklingError:
            found, allowed = None, False
        self.globals[f"{module}.{name}"] = allowed
        return found if isinstance(found, StorageType) else _Inert()

    def call(self, function, args):
        return _Inert()

    def new(self, cls, args, kwargs):
        return _Inert()

    def persistent(self, pid):
        self.persistent_ids.append(pid)
        return _Inert()

    def build(self, target, state):
        pass

    extend = update = add = build


def parse_persistent_id(pid: tuple) -> tuple[StorageType, str, str, int]:
    """(storage type, key, location, number of elements) of a persistent id, checked."""
    if isinstance(pid, tuple):  # Python 2 wrote byte strings, which encoding="bytes" leaves as they are
        pid = tuple(x.decode() if isinstance(x, bytes) else x for x in pid)
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
        raise pickle.UnpicklingError(f"unknown kind of reference in the file: {str(pid)[:40]}")
    _, kind, key, location, numel, *_ = pid
    key = key if isinstance(key, str) else str(key)
    if not isinstance(kind, StorageType) or not isinstance(location, str) or type(numel) is not int or numel < 0:
        raise pickle.UnpicklingError(f"the file's reference to storage {key!r} is damaged")
    return kind, key, location, numel
