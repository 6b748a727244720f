"""``torch.fx.passes``: programs that read and change graphs."""

from . import shape_prop

__all__ = ["shape_prop"]
