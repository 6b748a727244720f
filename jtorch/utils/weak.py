"""``torch.utils.weak``: maps with tensors for keys, which are the same if they are one object."""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping


class WeakIdRef(weakref.ref):
    """A weak reference that is equal to another of the same object, and keeps its hash."""

    __slots__ = ("_id",)

    def __init__(self, key, callback=None):
        super().__init__(key, callback)
        self._id = id(key)

    def __hash__(self):
        return self._id

    def __eq__(self, other):
        mine, theirs = self(), other()
        return self is other if mine is None or theirs is None else mine is theirs


class WeakIdKeyDictionary(MutableMapping):
    """A map from objects, held weakly and compared by identity (tensors compare by elements), to values."""

    def __init__(self, dict=None):  # noqa: A002
        self.data: dict = {}
        self.update(dict or {})

    def __setitem__(self, key, value):
        self.data[WeakIdRef(key, lambda gone: self.data.pop(gone, None))] = value

    def __getitem__(self, key):
        return self.data[WeakIdRef(key)]

    def __delitem__(self, key):
        del self.data[WeakIdRef(key)]

    def __contains__(self, key):
        return WeakIdRef(key) in self.data

    def __iter__(self):
        return (key for ref in list(self.data) if (key := ref()) is not None)

    def __len__(self):
        return sum(ref() is not None for ref in list(self.data))


class TensorWeakRef:
    """A weak reference to a tensor: called, it is the tensor, or None once that is gone."""

    def __init__(self, tensor):
        self.ref = WeakIdRef(tensor)

    def __call__(self):
        return self.ref()


WeakTensorKeyDictionary, WeakTensorRefKey = WeakIdKeyDictionary, WeakIdRef

__all__ = ["TensorWeakRef", "WeakIdKeyDictionary", "WeakIdRef", "WeakTensorKeyDictionary", "WeakTensorRefKey"]
