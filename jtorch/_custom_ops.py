"""``torch._custom_ops``: the older place of what :mod:`jtorch.library` has."""

from .library import impl_abstract

__all__ = ["impl_abstract"]
