"""``torch.fx``: programs as graphs that programs can read and change.

:func:`symbolic_trace` runs a module with :class:`Proxy` objects for its inputs; what happens to them is recorded as
:class:`Node` objects in a :class:`Graph`, and :class:`GraphModule` is a module whose ``forward`` is generated from it.
"""

from . import immutable_collections
from ._symbolic_trace import PH, ProxyableClassMeta, Tracer, symbolic_trace, wrap
from .codegen import CodeGen
from .graph import Graph
from .graph_module import GraphModule
from .interpreter import Interpreter, Transformer
from .node import Node, has_side_effect, map_arg
from .proxy import Proxy
from .subgraph_rewriter import replace_pattern

__all__ = [
    "PH", "CodeGen", "Graph", "GraphModule", "Interpreter", "Node", "Proxy", "ProxyableClassMeta", "Tracer",
    "Transformer", "has_side_effect", "map_arg", "replace_pattern", "symbolic_trace", "wrap",
]  # fmt: skip
