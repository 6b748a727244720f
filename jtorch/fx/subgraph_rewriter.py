"""``torch.fx.subgraph_rewriter``: replacing parts of a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..nn.modules.module import Module
from ._symbolic_trace import symbolic_trace
from .graph import Graph
from .graph_module import GraphModule, _copy_attr, _get_attr
from .node import Node
from .passes.utils.matcher_utils import InternalMatch, SubgraphMatcher

__all__ = ["Match", "ReplacedPatterns", "replace_pattern", "replace_pattern_with_filters"]


class Match(NamedTuple):
    """A place where the pattern was: the pattern's last Node, and the Node found for each of the pattern's."""

    anchor: Node
    nodes_map: dict[Node, Node]


@dataclass
class ReplacedPatterns:
    """A :class:`Match`, and the Nodes that were put there."""

    anchor: Node
    nodes_map: dict[Node, Node]
    replacements: list[Node]


def replace_pattern(
    gm: GraphModule, pattern: Callable | GraphModule, replacement: Callable | GraphModule
) -> list[Match]:
    """Replace each part of ``gm`` that does what ``pattern`` does by ``replacement``, and recompile.

    A part fits if it has the same steps with the same arguments, the pattern's parameters standing for anything, and
    nothing outside uses what the pattern does not return. Of parts that overlap the first is taken.

    Args:
        pattern, replacement: functions or modules with the same parameters.

    Returns:
        What was found.
    """
    return [Match(m.anchor, m.nodes_map) for m in replace_pattern_with_filters(gm, pattern, replacement)]


def replace_pattern_with_filters(
    gm: GraphModule,
    pattern: Callable | Graph | GraphModule,
    replacement: Callable | Graph | GraphModule | None = None,
    match_filters: list[Callable[[InternalMatch, Graph, Graph], bool]] | None = None,
    ignore_literals: bool = False,
    replacement_callback: Callable[[InternalMatch, Graph, Graph], Graph] | None = None,
    node_name_match: str = "",
) -> list[ReplacedPatterns]:
    """:func:`replace_pattern` for those parts for which all filters are true.

    Args:
        match_filters: called with ``(match, graph, pattern_graph)``.
        ignore_literals: numbers and the like may differ from the pattern's.
        replacement_callback: gives the replacement for a part, in place of ``replacement``.
        node_name_match: the part's last Node must have this in its name.

    Raises:
        AssertionError: neither ``replacement`` nor ``replacement_callback``, or both.
        ValueError: the replacement takes or returns another number of values than the pattern.
    """
    if (replacement is None) == (replacement_callback is None):
        raise AssertionError("Must provide either replacement GraphModule or replacement_callback")
    wanted = _graph(pattern)
    made = None if replacement is None else _graph(replacement)
    graph = gm.graph
    matches = [
        m
        for m in SubgraphMatcher(wanted, ignore_literals=ignore_literals).match(graph, node_name_match)
        if all(accept(m, graph, wanted) for accept in match_filters or ())
    ]
    gone: dict[Node, Node] = {}
    found = []
    for match in matches:
        new = made if replacement_callback is None else replacement_callback(match, graph, wanted)
        nodes = _put_in_place(graph, wanted, match, new, gone)
        found.append(ReplacedPatterns(match.anchors[0], match.nodes_map, nodes))
    gm.recompile()
    if isinstance(replacement, Module):
        _take_attributes(gm, replacement)
    return found


def _graph(program) -> Graph:
    if isinstance(program, GraphModule):
        return program.graph
    return program if isinstance(program, Graph) else symbolic_trace(program).graph


def _put_in_place(graph: Graph, pattern: Graph, match: InternalMatch, new: Graph, gone: dict) -> list[Node]:
    inputs = [n for n in pattern.nodes if n.op == "placeholder"]
    parameters = [n for n in new.nodes if n.op == "placeholder"]
    if len(inputs) != len(parameters):
        raise ValueError(f"the pattern takes {len(inputs)} values, its replacement {len(parameters)}")
    values: dict[Node, Node] = {}
    for p, r in zip(inputs, parameters, strict=True):
        value = match.nodes_map.get(p)
        while isinstance(value, Node) and value in gone:
            value = gone[value]
        values[r] = value
    inner = {n for p, n in match.nodes_map.items() if p.op not in ("placeholder", "output")}
    users = {u for n in match.returning_nodes for u in n.users if u not in inner}
    at = next(n for n in graph.nodes if n in users) if users else match.nodes_map[match.anchors[0]].next
    nodes = []
    with graph.inserting_before(at):
        for node in new.nodes:
            if node.op == "output":
                results = node.all_input_nodes
            elif node not in values:
                values[node] = graph.node_copy(node, lambda n: values[n])
                nodes.append(values[node])
    results = [values[n] for n in results]
    if len(results) != len(match.returning_nodes):
        raise ValueError(f"the pattern returns {len(match.returning_nodes)} values, its replacement {len(results)}")
    for old, result in zip(match.returning_nodes, results, strict=True):
        old.replace_all_uses_with(result)
        gone[old] = result
    for p in reversed(pattern.nodes):
        n = match.nodes_map.get(p)
        if p.op not in ("placeholder", "output") and isinstance(n, Node) and not n._erased and not n.users:
            graph.erase_node(n)
    return nodes


def _take_attributes(gm: GraphModule, source: Module) -> None:
    """Modules and parameters that ``gm`` now refers to, taken from the replacement."""
    for node in gm.graph.nodes:
        if node.op in ("call_module", "get_attr"):
            try:
                _get_attr(gm, node.target)
            except AttributeError:
                _copy_attr(source, gm, node.target)
    gm.delete_all_unused_submodules()
