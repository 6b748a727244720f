"""``torch._higher_order_ops``: control flow whose bodies are functions, each in the module of its name.

``cond``, ``while_loop`` and ``scan`` are one operation each; the others run as they are written, step by step, and are
recorded (and differentiated) like any other operations.
"""

from .cond import cond

__all__ = ["cond"]
