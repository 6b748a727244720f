"""``torch._inductor``: PyTorch's code generator. XLA is the one here; programs that tune the other still run."""

from ..compiler.api import cudagraph_mark_step_begin
from . import config, utils

__all__ = ["config", "cudagraph_mark_step_begin", "utils"]
