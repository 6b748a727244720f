"""Recording and running: a flat trace of op calls per thread and device, compiled whole and cached.

Read in this order: ``aval`` (what a value looks like), ``value`` (a value that exists or will), ``call`` (an op bound
to static attributes and operand avals), ``linearize`` (its derivative), ``recorder`` (the trace, and when it is
flushed), ``executor`` (a flushed trace becomes an XLA program), ``explain`` (why it ran, why it compiled).
"""

from .allocator import keep_freed_memory
from .recorder import flush_all, record, step_boundary, sync
from .value import Value

keep_freed_memory()

__all__ = ["Value", "flush_all", "record", "step_boundary", "sync"]
