"""Libraries that are needed late and load slowly (optax takes longer than all of jtorch's own ops)."""

from __future__ import annotations

import importlib
import importlib.util
import sys


def lazily(name: str):
    """The module ``name``, executed at the first use of one of its attributes.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
