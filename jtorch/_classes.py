"""``torch.classes``: C++ classes by namespace. There are none here: the libraries that register them need PyTorch."""

from __future__ import annotations

from ._ops import ops


class _Namespace:
    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"Class {self.name}.{name} not registered!")


class Classes:
    """``torch.classes``."""

    def __getattr__(self, name: str) -> _Namespace:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Namespace(name)

    def load_library(self, path) -> None:
        """As :meth:`jtorch.ops.load_library`, which says what is possible instead."""
        ops.load_library(path)


classes = Classes()

__all__ = ["Classes", "classes"]
