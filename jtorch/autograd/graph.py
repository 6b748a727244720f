"""Nodes of the graph, and the edges between them."""

from __future__ import annotations

from collections import namedtuple

from ..tape.node import Node

GradientEdge = namedtuple("GradientEdge", ["node", "output_nr"])


def get_gradient_edge(tensor) -> GradientEdge:
    """The edge along which ``tensor``'s gradient flows.

    Raises:
        RuntimeError: it does not require grad.
    """
    edge = tensor._history()
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(*edge)


__all__ = ["GradientEdge", "Node", "get_gradient_edge"]
