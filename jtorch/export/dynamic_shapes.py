"""``torch.export.dynamic_shapes``: :mod:`.dims` under PyTorch's name."""

from .dims import Dim, dims

__all__ = ["Dim", "dims"]
