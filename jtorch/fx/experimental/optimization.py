"""``torch.fx.experimental.optimization``: faster graphs for inference."""

from __future__ import annotations

import copy

import jtorch

from ...nn.utils.fusion import fuse_conv_bn_eval
from .._symbolic_trace import Tracer
from ..graph_module import GraphModule, _parent
from ..node import Node

__all__ = ["fuse", "matches_module_pattern", "remove_dropout", "replace_node_module"]
_DROPOUTS = (jtorch.nn.Dropout, jtorch.nn.Dropout1d, jtorch.nn.Dropout2d, jtorch.nn.Dropout3d, jtorch.nn.AlphaDropout)


def matches_module_pattern(pattern, node: Node, modules: dict) -> bool:
    """Whether ``node`` calls a module of the last class in ``pattern``, on the result of one of the first."""
    if not node.args or not isinstance(node.args[0], Node):
        return False
    return all(
        n.op == "call_module" and type(modules.get(n.target)) is expected
        for expected, n in zip(pattern, (node.args[0], node), strict=True)
    )


def replace_node_module(node: Node, modules: dict, new_module: jtorch.nn.Module) -> None:
    """Put ``new_module`` in the place of the module that ``node`` calls."""
    place, name = _parent(modules[""], node.target)
    modules[node.target] = new_module
    setattr(place, name, new_module)


def fuse(model: jtorch.nn.Module, inplace: bool = False, no_trace: bool = False) -> jtorch.nn.Module:
    """The model with each batch normalization folded into the convolution before it, for inference.

    Args:
        inplace: use the model's own modules, not copies.
        no_trace: the model is a GraphModule already.
    """
    patterns = [
        (jtorch.nn.Conv1d, jtorch.nn.BatchNorm1d),
        (jtorch.nn.Conv2d, jtorch.nn.BatchNorm2d),
        (jtorch.nn.Conv3d, jtorch.nn.BatchNorm3d),
    ]
    model = model if inplace else copy.deepcopy(model)
    traced = model if no_trace and isinstance(model, GraphModule) else None
    if traced is None:
        traced = GraphModule(model, Tracer().trace(model))
    modules = dict(traced.named_modules())
    for pattern in patterns:
        for node in traced.graph.nodes:
            if not matches_module_pattern(pattern, node, modules) or len(node.args[0].users) > 1:
                continue
            convolution, normalization = modules[node.args[0].target], modules[node.target]
            if not normalization.track_running_stats:
                continue
            replace_node_module(node.args[0], modules, fuse_conv_bn_eval(convolution, normalization))
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    return GraphModule(traced, traced.graph)


def remove_dropout(model: jtorch.nn.Module) -> jtorch.nn.Module:
    """The model without its dropout layers."""
    traced = GraphModule(model, Tracer().trace(model))
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(traced.get_submodule(node.target), _DROPOUTS):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    return GraphModule(traced, traced.graph, type(model).__name__)
