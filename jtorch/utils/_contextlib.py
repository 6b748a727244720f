"""``torch.utils._contextlib``: context managers that are decorators."""

from ..tape.modes import DecoratorContextManager as _DecoratorContextManager

__all__ = ["_DecoratorContextManager"]
