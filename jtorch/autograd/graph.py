"""Nodes of the graph, and the edges between them."""

from __future__ import annotations

from ..tape.node import GradientEdge, Node
from .saved import disable_saved_tensors_hooks, register_multi_grad_hook, save_on_cpu, saved_tensors_hooks


def get_gradient_edge(tensor) -> GradientEdge:
    """The edge along which ``tensor``'s gradient flows.

    Raises:
        RuntimeError: it does not require grad.
    """
    edge = tensor._history()
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(*edge)


def increment_version(tensor) -> None:
    """Count a write to ``tensor`` (or to each of several) that autograd has not seen."""
    for t in (tensor,) if hasattr(tensor, "_storage") else tensor:
        t._storage.version += 1


__all__ = [
    "GradientEdge", "Node", "disable_saved_tensors_hooks", "get_gradient_edge", "increment_version",
    "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip
