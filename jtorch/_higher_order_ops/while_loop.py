"""``torch._higher_order_ops.while_loop``."""

from ..functions.oddments import while_loop

__all__ = ["while_loop"]
