"""``torch._dynamo``: the names programs use of it; all of them are :mod:`jtorch.compiler`'s."""

import sys

from ..compiler import config
from ..compiler.api import (
    OptimizedModule,
    allow_in_graph,
    assume_constant_result,
    disable,
    error_on_graph_break,
    explain,
    graph_break,
    is_compiling,
    list_backends,
    lookup_backend,
    mark_dynamic,
    mark_static,
    mark_static_address,
    optimize,
    optimize_assert,
    register_backend,
    reset,
    run,
    set_stance,
    substitute_in_graph,
)
from . import eval_frame, exc, utils

sys.modules[f"{__name__}.config"] = config  # for programs that import it by this name

maybe_mark_dynamic = mark_unbacked = mark_dynamic
reset_code_caches = reset
disallow_in_graph = nonstrict_trace = dont_skip_tracing = allow_in_graph  # functions stay what they are
patch_dynamo_config = config.patch


def is_dynamo_supported() -> bool:
    """Whether functions can be compiled: everywhere."""
    return True


__all__ = [
    "OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph",
    "dont_skip_tracing", "error_on_graph_break", "eval_frame", "exc", "explain", "graph_break", "is_compiling",
    "is_dynamo_supported", "list_backends", "lookup_backend", "mark_dynamic", "mark_static", "mark_static_address",
    "mark_unbacked", "maybe_mark_dynamic", "nonstrict_trace", "optimize", "optimize_assert", "patch_dynamo_config",
    "register_backend", "reset", "reset_code_caches", "run", "set_stance", "substitute_in_graph", "utils",
]  # fmt: skip
