"""Settings of the compiler (``torch.compiler.config``, ``torch._dynamo.config``); ``patch`` changes them in a block."""

from __future__ import annotations

import contextlib
import sys
import types

#: different cases (shapes, Python arguments) of one function that are captured; then it is only recorded
recompile_limit: int = 8

_ALIASES = {"cache_size_limit": "recompile_limit"}


class _Config(types.ModuleType):
    """A module whose settings go by PyTorch's older names as well."""

    def __setattr__(self, name, value):
        super().__setattr__(_ALIASES.get(name, name), value)

    def __getattr__(self, name):
        if name in _ALIASES:
            return getattr(self, _ALIASES[name])
        raise AttributeError(f"the compiler has no setting {name!r}")


sys.modules[__name__].__class__ = _Config


@contextlib.contextmanager
def patch(changes: dict | str | None = None, value=None, **more):
    """Inside the block (or the decorated function) the named settings have other values.

    Raises:
        AttributeError: there is no such setting.
    """
    module = sys.modules[__name__]
    changes = {changes: value} if isinstance(changes, str) else {**(changes or {}), **more}
    before = {name: getattr(module, name) for name in changes}
    for name, x in changes.items():
        setattr(module, name, x)
    try:
        yield
    finally:
        for name, x in before.items():
            setattr(module, name, x)
