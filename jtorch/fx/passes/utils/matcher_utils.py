"""``torch.fx.passes.utils.matcher_utils``: finding a graph inside of another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jtorch

from ...graph import Graph
from ...graph_module import _get_attr
from ...node import Node

__all__ = ["InternalMatch", "SubgraphMatcher"]


@dataclass
class InternalMatch:
    """One place where the pattern was found.

    ``nodes_map`` gives for each Node of the pattern the one found (for a placeholder also a literal), ``anchors`` are
    the last ones of the pattern, ``placeholder_nodes`` what its placeholders stand for, ``returning_nodes`` what the
    Nodes that it returns were found as.
    """

    anchors: list[Node]
    nodes_map: dict[Node, Any] = field(default_factory=dict)
    placeholder_nodes: list = field(default_factory=list)
    returning_nodes: list[Node] = field(default_factory=list)
    name_node_map: dict[str, Node] = field(default_factory=dict)


class SubgraphMatcher:
    """Finds a pattern: Nodes of the same targets and arguments, whose results are used nowhere else, unless the
    pattern returns them. A placeholder stands for anything; two stand for two Nodes.

    Args:
        pattern: the graph.
        match_output, match_placeholder: the found Node must be an output, or a placeholder, where the pattern's is.
        remove_overlapping_matches: of matches that share Nodes take the first.
        ignore_literals: numbers and the like may differ.
    """

    def __init__(
        self,
        pattern: Graph,
        match_output: bool = False,
        match_placeholder: bool = False,
        remove_overlapping_matches: bool = True,
        ignore_literals: bool = False,
    ):
        if not len(pattern.nodes):
            raise ValueError("SubgraphMatcher cannot be initialized with an empty pattern")
        self.pattern, self.match_output, self.match_placeholder = pattern, match_output, match_placeholder
        self.remove_overlapping_matches, self.ignore_literals = remove_overlapping_matches, ignore_literals
        self.pattern_placeholder_nodes = [n for n in pattern.nodes if n.op == "placeholder"]
        output = pattern.output_node()
        self.pattern_returning_nodes = output.all_input_nodes
        self.pattern_anchors = (
            [output] if match_output else [n for n in output.all_input_nodes if list(n.users) == [output]]
        )

    def match(self, graph: Graph, node_name_match: str = "") -> list[InternalMatch]:
        """All places in ``graph``, in order.

        Args:
            node_name_match: the last Node's name must contain this.
        """
        found: list[InternalMatch] = []
        nodes = list(graph.nodes)
        taken: set[Node] = set()
        for node in nodes:
            if not self.pattern_anchors or (node_name_match and node_name_match not in node.name):
                continue
            for mapping in self._extend({}, list(self.pattern_anchors), nodes, first=node):
                match = self._finished(mapping)
                inner = {n for p, n in mapping.items() if p.op != "placeholder" and isinstance(n, Node)}
                if match is None or (self.remove_overlapping_matches and inner & taken):
                    continue
                taken |= inner
                found.append(match)
                break
        return found

    def _extend(self, mapping: dict, anchors: list[Node], nodes: list[Node], first: Node | None = None):
        """Mappings that give each of ``anchors`` a Node, the first one ``first`` if that is given."""
        if not anchors:
            yield mapping
            return
        for candidate in nodes if first is None else [first]:
            tried = dict(mapping)
            if self._same(anchors[0], candidate, tried):
                yield from self._extend(tried, anchors[1:], nodes)

    def _finished(self, mapping: dict) -> InternalMatch | None:
        inner = {n for p, n in mapping.items() if p.op != "placeholder"}
        returned = {mapping[p] for p in self.pattern_returning_nodes if p in mapping}
        for p, n in mapping.items():
            if p.op in ("placeholder", "get_attr", "output") or n in returned:
                continue
            if any(user not in inner for user in n.users):
                return None
        match = InternalMatch(list(self.pattern_anchors), mapping)
        match.placeholder_nodes = [mapping[p] for p in self.pattern_placeholder_nodes if p in mapping]
        match.returning_nodes = [mapping[p] for p in self.pattern_returning_nodes if p in mapping]
        match.name_node_map = {p.name: n for p, n in mapping.items()}
        return match

    def _same(self, p: Node, n, mapping: dict) -> bool:
        """Whether ``n`` is what ``p`` asks for; enters it and its inputs into ``mapping``."""
        if p in mapping:
            return mapping[p] is n or (not isinstance(n, Node) and mapping[p] == n)
        if isinstance(n, Node) and n in mapping.values():  # no Node stands in two places of the pattern
            return False
        if p.op == "placeholder":
            if self.match_placeholder and not (isinstance(n, Node) and n.op == "placeholder"):
                return False
            mapping[p] = n
            return True
        if not isinstance(n, Node) or p.op != n.op:
            return False
        if p.op == "get_attr":
            if not self._same_attribute(p, n):
                return False
        elif p.op != "output" and p.target != n.target:
            return False
        mapping[p] = n
        given, found = (p.args, p.kwargs), (n.args, n.kwargs)
        if (len(p.args), p.kwargs.keys()) != (len(n.args), n.kwargs.keys()) and p.op in (
            "call_function",
            "call_module",
        ):
            given, found = (
                m.normalized_arguments(m.graph.owning_module, normalize_to_only_use_kwargs=True) for m in (p, n)
            )
            if given is None or found is None:
                return False
        return self._same_value(given, found, mapping)

    @staticmethod
    def _same_attribute(p: Node, n: Node) -> bool:
        if p.graph.owning_module is None or n.graph.owning_module is None:
            return p.target == n.target
        a, b = _get_attr(p.graph.owning_module, p.target), _get_attr(n.graph.owning_module, n.target)
        return type(a) is type(b) and (isinstance(a, jtorch.Tensor) or a is b)

    def _same_value(self, a, b, mapping: dict) -> bool:
        if isinstance(a, Node):
            return self._same(a, b, mapping)
        if isinstance(b, Node):
            return False
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            return len(a) == len(b) and all(self._same_value(x, y, mapping) for x, y in zip(a, b, strict=True))
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(self._same_value(a[k], b[k], mapping) for k in a)
        if isinstance(a, slice) and isinstance(b, slice):
            return self._same_value((a.start, a.stop, a.step), (b.start, b.stop, b.step), mapping)
        return self.ignore_literals or (type(a) is type(b) and a == b)
