"""``torch.fx.passes.split_module``: one GraphModule as several that are called one after the other."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field

from ...nn.modules.module import Module
from ..graph import Graph
from ..graph_module import GraphModule, _get_attr
from ..node import Node, map_arg

__all__ = ["Partition", "split_module"]


@dataclass
class Partition:
    """The Nodes of one part, and what it needs of others and gives to them, each in the order of first use."""

    name: str
    submod_name: str = ""
    nodes: list[Node] = field(default_factory=list)
    inputs: dict[Node, None] = field(default_factory=dict)
    outputs: dict[Node, None] = field(default_factory=dict)
    dependencies: dict[str, None] = field(default_factory=dict)
    dependents: dict[str, None] = field(default_factory=dict)


def split_module(
    m: GraphModule,
    root_m: Module,
    split_callback: Callable[[Node], int],
    qualname_map: dict[str, str] | None = None,
    keep_original_order: bool = False,
    keep_original_node_name: bool = False,
    keep_original_input_name: bool = True,
    *,
    partition_affix: str | None = None,
    tuple_return: bool = False,
) -> GraphModule:
    """``m`` as a module that calls ``submod_<number>`` for each part.

    Parameters and buffers that are used directly stay in the outer module and are passed to the parts.

    Args:
        root_m: where modules and parameters are taken from.
        split_callback: gives the number of the part that a Node belongs to.
        qualname_map: is filled with the paths of modules in ``root_m``, by their paths in the result.
        keep_original_order: call the parts in the order of their first Nodes.
        keep_original_node_name: Nodes of the parts have the names they had.
        keep_original_input_name: inputs of the parts are named after the values; else ``arg_0`` and so on.
        partition_affix: a word between ``submod`` and the number.
        tuple_return: parts return tuples also of one value.

    Raises:
        RuntimeError: two parts need each other.
    """
    parts, part_of = _partitions(m.graph, split_callback, partition_affix)
    order = _in_order_of_nodes(parts) if keep_original_order else _sorted(parts)
    outer = Graph()
    values: dict[Node, Node] = {}
    attributes: dict[str, object] = {}

    def copied(node: Node) -> Node:
        """The outer graph's Node for one that belongs to no part."""
        if node not in values:
            values[node] = outer.node_copy(node, copied)
            if node.op == "get_attr":
                attributes[node.target] = _get_attr(root_m, node.target)
        return values[node]

    for node in m.graph.nodes:
        if node.op == "placeholder" or (node.op == "get_attr" and not keep_original_order):
            copied(node)
    for name in order:
        part = parts[name]
        module = _module_of(part, root_m, qualname_map, keep_original_node_name, keep_original_input_name, tuple_return)
        attributes[part.submod_name] = module
        call = outer.call_module(part.submod_name, tuple(copied(n) for n in part.inputs))
        if len(part.outputs) > 1 or (tuple_return and part.outputs):
            for i, node in enumerate(part.outputs):
                values[node] = outer.call_function(operator.getitem, (call, i))
        else:
            values.update(dict.fromkeys(part.outputs, call))
    for node in m.graph.nodes:
        if node.op == "output":
            made = outer.output(map_arg(node.args[0], copied), node.type)
            made.meta = dict(node.meta)
    return GraphModule(attributes, outer)


def _partitions(graph: Graph, split_callback, affix) -> tuple[dict[str, Partition], dict[Node, str]]:
    parts: dict[str, Partition] = {}
    part_of: dict[Node, str] = {}
    for node in graph.nodes:
        if node.op not in ("placeholder", "get_attr", "output"):
            name = str(split_callback(node))
            part_of[node] = name
            if name not in parts:
                parts[name] = Partition(name, f"submod_{affix}_{name}" if affix else f"submod_{name}")
            parts[name].nodes.append(node)
    for node in graph.nodes:
        user = part_of.get(node)
        if user is None and node.op != "output":
            continue
        for x in node.all_input_nodes:
            maker = part_of.get(x)
            if maker is not None and maker != user:
                parts[maker].outputs.setdefault(x)
                if user is not None:
                    parts[maker].dependents.setdefault(user)
                    parts[user].dependencies.setdefault(maker)
            if user is not None and maker != user:
                parts[user].inputs.setdefault(x)
    return parts, part_of


def _sorted(parts: dict[str, Partition]) -> list[str]:
    waiting = {name: set(part.dependencies) for name, part in parts.items()}
    ready = [name for name, needed in waiting.items() if not needed]
    done = []
    while ready:
        name = ready.pop()
        done.append(name)
        for user in parts[name].dependents:
            waiting[user].discard(name)
            if not waiting[user]:
                ready.append(user)
    if len(done) != len(parts):
        raise RuntimeError("cycle exists between partitions!")
    return done


def _in_order_of_nodes(parts: dict[str, Partition]) -> list[str]:
    """The parts as they were first met.

    Raises:
        RuntimeError: one needs a later one.
    """
    seen: set[str] = set()
    for name, part in parts.items():
        if not seen.issuperset(part.dependencies):
            raise RuntimeError(
                f"split_module(keep_original_order=True): {part.submod_name} needs values of parts that come later"
            )
        seen.add(name)
    return list(parts)


def _module_of(part: Partition, root_m, qualname_map, keep_names, keep_input_names, tuple_return) -> GraphModule:
    graph = Graph()
    values: dict[Node, Node] = {}
    attributes: dict[str, object] = {}
    for i, x in enumerate(part.inputs):
        values[x] = graph.placeholder(x.name if keep_input_names else f"arg_{i}", type_expr=x.type)
        values[x].meta = dict(x.meta)
    for node in part.nodes:
        target = node.target
        if node.op == "call_module":
            target = node.target.replace(".", "_")
            attributes[target] = root_m.get_submodule(node.target)
            if qualname_map is not None:
                qualname_map[f"{part.submod_name}.{target}"] = node.target
        args, kwargs = map_arg((node.args, node.kwargs), lambda n: values[n])
        made = graph.create_node(
            node.op, target, tuple(args), dict(kwargs), node.name if keep_names else None, node.type
        )
        made.meta = dict(node.meta)
        values[node] = made
    results = tuple(values[n] for n in part.outputs)
    if tuple_return or len(results) != 1:
        graph.output(results if results or tuple_return else None)
    else:
        graph.output(results[0])
    return GraphModule(attributes, graph)
