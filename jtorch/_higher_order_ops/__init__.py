"""``torch._higher_order_ops``: control flow whose bodies are functions, each in the module of its name.

``cond``, ``while_loop`` and ``scan`` are one operation each; the others run as they are written, step by step, and are
recorded (and differentiated) like any other operations.
"""

from .associative_scan import associative_scan
from .cond import cond
from .map import map
from .scan import scan
from .while_loop import while_loop

__all__ = ["associative_scan", "cond", "map", "scan", "while_loop"]
