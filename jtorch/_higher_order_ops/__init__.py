"""``torch._higher_order_ops``: control flow whose bodies are functions, each in the module of its name.

They run as they are written, step by step, and are recorded (and differentiated) like any other operations; only
``cond`` and ``while_loop`` read a value.
"""

from .cond import cond

__all__ = ["cond"]
