"""``torch.storage``: the storage classes under PyTorch's path."""

from .functions.storages import EXPORTS as _exports

globals().update(_exports)
__all__ = sorted(_exports)
