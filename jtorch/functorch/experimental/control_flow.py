"""``functorch.experimental.control_flow``: the older place of ``cond`` and ``map``."""

from ..._higher_order_ops import cond
from ..._higher_order_ops.map import map

__all__ = ["cond", "map"]
