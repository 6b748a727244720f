"""Unique names for Nodes and for the globals of generated code."""

from __future__ import annotations

import builtins
import keyword
import re

from .codegen import known_globals

_ILLEGAL = re.compile(r"[^0-9a-zA-Z_]+")
_NUMBERED = re.compile(r"(.*)_(\d+)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def snake_case(text: str) -> str:
    """``myConv.BatchNorm`` as ``my_conv.batch_norm``."""
    return _CAMEL.sub("_", text).lower()


class _Namespace:
    """Names given so far: each is used once, and none hides a keyword, a built-in or what generated code refers to."""

    def __init__(self):
        self._names: dict[int, tuple[object, str]] = {}  # by the id of what is named
        self._used_names: set[str] = set()
        self._counts: dict[str, int] = {}

    def create_name(self, candidate: str, obj: object | None) -> str:
        """``candidate``, or with a number appended so that it is new. ``obj`` has the name from then on."""
        if obj is not None and id(obj) in self._names:
            return self._names[id(obj)][1]
        candidate = _ILLEGAL.sub("_", candidate) or "_unnamed"
        if candidate[0].isdigit():
            candidate = f"_{candidate}"
        numbered = _NUMBERED.fullmatch(candidate)
        base, number = (numbered[1], int(numbered[2])) if numbered else (candidate, None)
        if number is None or candidate in self._used_names:
            number = self._counts.get(base, 0)
            if self._is_taken(candidate, obj):
                number += 1
                candidate = f"{base}_{number}"
        while candidate in self._used_names:
            number += 1
            candidate = f"{base}_{number}"
        self._used_names.add(candidate)
        self._counts[base] = number
        if obj is not None:
            self._names[id(obj)] = (obj, candidate)
        return candidate

    @staticmethod
    def _is_taken(name: str, obj) -> bool:
        if keyword.iskeyword(name):
            return True
        known = known_globals()
        if name in known:
            return known[name] is not obj
        return hasattr(builtins, name) and getattr(builtins, name) is not obj

    def associate_name_with_obj(self, name: str, obj: object) -> None:
        """``obj`` has this name, which :meth:`create_name` has made."""
        if self._names.setdefault(id(obj), (obj, name))[1] is not name:
            raise AssertionError("obj is already associated")
