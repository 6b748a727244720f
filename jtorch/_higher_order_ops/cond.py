"""``torch._higher_order_ops.cond``."""

from ..functions.oddments import cond

__all__ = ["cond"]
