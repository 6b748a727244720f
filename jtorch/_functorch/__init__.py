"""``torch._functorch``: settings of a tracer that is not used here; programs that make them still run."""

from . import config

__all__ = ["config"]
