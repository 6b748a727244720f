"""``torch.compiler``: whole functions captured and replayed.

Read in this order: ``api`` (what programs call), ``function`` (learn, capture, replay), ``watch`` (what code runs),
``guards`` (has anything it read changed?), ``captured`` (the run as a stretch of a trace, and its effects on Tensors),
``buckets`` (one program for many sizes, where that is proven right).
"""

from . import config
from .api import (
    allow_in_graph,
    assume_constant_result,
    compile,
    cudagraph_mark_step_begin,
    disable,
    exporting,
    is_compiling,
    is_dynamo_compiling,
    is_exporting,
    list_backends,
    reset,
    set_stance,
    substitute_in_graph,
)

__all__ = [
    "allow_in_graph", "assume_constant_result", "compile", "config", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset", "set_stance",
    "substitute_in_graph",
]  # fmt: skip
