"""``torch._dynamo``: the names programs use of it; all of them are :mod:`jtorch.compiler`'s."""

from ..compiler import config
from ..compiler.api import (
    OptimizedModule,
    allow_in_graph,
    assume_constant_result,
    disable,
    explain,
    graph_break,
    is_compiling,
    list_backends,
    mark_dynamic,
    mark_static,
    mark_static_address,
    optimize,
    reset,
)
from . import eval_frame, exc, utils

maybe_mark_dynamic = mark_unbacked = mark_dynamic
reset_code_caches = reset


def is_dynamo_supported() -> bool:
    """Whether functions can be compiled: everywhere."""
    return True


__all__ = [
    "OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable",
    "eval_frame", "exc", "explain", "graph_break", "is_compiling", "is_dynamo_supported", "list_backends",
    "mark_dynamic", "mark_static", "mark_static_address", "mark_unbacked", "maybe_mark_dynamic", "optimize", "reset",
    "reset_code_caches", "utils",
]  # fmt: skip
