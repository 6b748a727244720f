"""``torch._dynamo.eval_frame``."""

from ..compiler.module import OptimizedModule

__all__ = ["OptimizedModule"]
