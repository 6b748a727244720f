"""Nodes of the graph, and the edges between them."""

from __future__ import annotations

from ..tape import engine
from ..tape.node import GradientEdge, Node
from .saved import disable_saved_tensors_hooks, register_multi_grad_hook, save_on_cpu, saved_tensors_hooks


def get_gradient_edge(tensor) -> GradientEdge:
    """The edge along which ``tensor``'s gradient flows.

    Raises:
        RuntimeError: it does not require grad.
    """
    edge = tensor._history()
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients.")
    return GradientEdge(*edge)


def _leaves_of(tensors) -> dict:
    """The leaves that the gradients of tensors flow to, by their ``id``."""
    found = {id(t): t for t in tensors if t.grad_fn is None}
    seen, stack = set(), [t.grad_fn for t in tensors if t.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found[id(leaf)] = leaf
        stack += [edge[0] for edge in node.edges if edge is not None]
    return found


def increment_version(tensor) -> None:
    """Count a write to ``tensor`` (or to each of several) that autograd has not seen."""
    for t in (tensor,) if hasattr(tensor, "_storage") else tensor:
        t._storage.version += 1


class allow_mutation_on_saved_tensors:
    """Inside, tensors may be written to in place after they were saved for backward: it uses what they held then.

    What operations save are values that nobody can write to, so nothing is cloned for this; only the refusal that
    PyTorch has taught programs to expect is left out.

    Raises:
        RuntimeError: on entering it inside another one.
    """

    def __enter__(self):
        if engine.saving.mutable:
            raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
        engine.saving.mutable = True
        return self

    def __exit__(self, *exc):
        engine.saving.mutable = False

    def clear(self) -> None:
        """Nothing to forget: no copies are kept."""


def _saved_tensors_hooks_is_enabled() -> bool:
    return engine.saving.refused is None


def _saved_tensors_hooks_get_disabled_error_message() -> str | None:
    return engine.saving.refused


def _saved_tensors_hooks_disable(message: str) -> None:
    engine.saving.refused = message


def _saved_tensors_hooks_enable() -> None:
    engine.saving.refused = None


__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip
