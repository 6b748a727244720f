"""``torch._tensor``: the tensor class and the functions that pickles of its subclasses call."""

from __future__ import annotations

from ._utils import _set_obj_state
from .tensor import Tensor

__all__ = ["Tensor"]


def _rebuild_from_type(func, type, args, dict):
    """``func(*args)`` as an instance of a subclass with these attributes."""
    t = func(*args)
    return t if type is Tensor else _set_obj_state(t.as_subclass(type), dict)


def _rebuild_from_type_v2(func, new_type, args, state):
    """:func:`_rebuild_from_type` for classes that may have a ``__setstate__`` of their own."""
    t = func(*args)
    if type(t) is not new_type:
        t = t.as_subclass(new_type)
    restore = getattr(type(t), "__setstate__", None)
    if restore is getattr(Tensor, "__setstate__", None):
        return _set_obj_state(t, state)
    restore(t, state)
    return t
