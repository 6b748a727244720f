"""``torch.fx._pytree``: taking a tree apart by a given form."""

from __future__ import annotations

from ..utils._pytree import _functions, register_pytree_node, tree_flatten

__all__ = ["register_pytree_node", "tree_flatten", "tree_flatten_spec"]


def tree_flatten_spec(pytree, spec) -> list:
    """The leaves of ``pytree`` that a tree formed ``spec`` has.

    Raises:
        KeyError: a dict lacks a key.
        RuntimeError: it is of another class, or lacks a part.
    """
    if spec.is_leaf():
        return [pytree]
    if isinstance(pytree, dict) and issubclass(spec.type, dict):
        missing = [k for k in spec.context if k not in pytree]
        if missing:
            raise KeyError(f"expected a dict with the keys {list(spec.context)}, got one without {missing}")
        parts = [pytree[k] for k in spec.context]
    elif isinstance(pytree, (list, tuple)) and issubclass(spec.type, (list, tuple)):
        parts = list(pytree)
    elif type(pytree) is spec.type:
        parts = list(_functions(spec.type)[0](pytree)[0])
    else:
        raise RuntimeError(f"expected a {spec.type.__name__} ({spec}), got a {type(pytree).__name__}")
    if len(parts) < spec.num_children:
        raise RuntimeError(f"expected {spec.num_children} entries ({spec}), got {len(parts)}")
    return [leaf for part, child in zip(parts, spec.children, strict=False) for leaf in tree_flatten_spec(part, child)]
