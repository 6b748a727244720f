"""``torch.utils.hooks``: the handle that takes a hook away again."""

from jtorch.tape.node import RemovableHandle

__all__ = ["RemovableHandle"]
