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
    get_default_backend,
    is_compiling,
    is_dynamo_compiling,
    is_exporting,
    list_backends,
    load_cache_artifacts,
    nested_compile_region,
    reset,
    save_cache_artifacts,
    set_default_backend,
    set_enable_guard_collectives,
    set_stance,
    substitute_in_graph,
    wrap_numpy,
)

__all__ = [
    "allow_in_graph", "assume_constant_result", "compile", "config", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset", "set_stance",
    "get_default_backend", "load_cache_artifacts", "nested_compile_region", "save_cache_artifacts",
    "set_default_backend", "set_enable_guard_collectives", "substitute_in_graph", "wrap_numpy",
]  # fmt: skip
