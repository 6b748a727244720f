"""``torch._inductor.config``: settings of a code generator that is not used here. They are kept, and govern nothing.

A setting that was never made cannot be read: its default in PyTorch would say nothing about XLA.
"""

from __future__ import annotations

import contextlib
import sys
import types


class _Section:
    """Settings under one name, such as ``triton``."""

    def __init__(self, name: str):
        self.__dict__["_name"] = name

    def __getattr__(self, name: str):
        raise AttributeError(f"torch._inductor.config.{self._name} has no setting {name!r} that was made before")


triton, cpp, cuda, aot_inductor, halide, rocm = map(
    _Section, ("triton", "cpp", "cuda", "aot_inductor", "halide", "rocm")
)  # fmt: skip


class _Config(types.ModuleType):
    def __getattr__(self, name: str):
        raise AttributeError(f"{self.__name__} has no setting {name!r} that was made before")


_MISSING = object()


def _place(name: str) -> tuple:
    """The object that holds a setting, whose name may be ``section.setting``."""
    section, _, last = name.rpartition(".")
    module = sys.modules[__name__]
    return (getattr(module, section) if section else module), last


@contextlib.contextmanager
def patch(changes: dict | str | None = None, value=None, **more):
    """Inside the block (or the decorated function) the named settings have other values."""
    changes = {changes: value} if isinstance(changes, str) else {**(changes or {}), **more}
    before = []
    for name, new in changes.items():
        holder, last = _place(name)
        before.append((holder, last, vars(holder).get(last, _MISSING)))
        setattr(holder, last, new)
    try:
        yield
    finally:
        for holder, last, old in reversed(before):
            if old is _MISSING:
                delattr(holder, last)
            else:
                setattr(holder, last, old)


sys.modules[__name__].__class__ = _Config
