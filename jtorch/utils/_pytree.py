"""``torch.utils._pytree``: nested tuples, lists and dicts as a flat list of leaves and a description of the nesting.

Unlike ``jax.tree`` dicts keep their order, and None is a leaf.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class TreeSpec:
    """A container's class, what else rebuilds it (a dict's keys), and its parts; a leaf has class None."""

    type: type | None
    context: Any = None
    children: tuple[TreeSpec, ...] = ()

    @property
    def num_leaves(self) -> int:
        return 1 if self.type is None else sum(child.num_leaves for child in self.children)

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        return f"{self.type.__name__}({', '.join(map(repr, self.children))})"


_LEAF = TreeSpec(None)


def _dict(entries) -> tuple[list, tuple]:
    return list(entries.values()), tuple(entries)


#: By class: how to take it apart into (parts, context), and how to put it together again.
_NODES: dict[type, tuple[Callable, Callable]] = {
    tuple: (lambda t: (list(t), None), lambda parts, _: tuple(parts)),
    list: (lambda t: (t, None), lambda parts, _: list(parts)),
    dict: (_dict, lambda parts, keys: dict(zip(keys, parts, strict=True))),
    collections.OrderedDict: (_dict, lambda parts, keys: collections.OrderedDict(zip(keys, parts, strict=True))),
    collections.defaultdict: (
        lambda d: (list(d.values()), (d.default_factory, tuple(d))),
        lambda parts, context: collections.defaultdict(context[0], zip(context[1], parts, strict=True)),
    ),
    collections.deque: (lambda d: (list(d), d.maxlen), collections.deque),
}


def register_pytree_node(cls: type, flatten_fn: Callable, unflatten_fn: Callable, **ignored) -> None:
    """Treat ``cls`` as a container: ``flatten_fn(x) -> (parts, context)`` and ``unflatten_fn(parts, context) -> x``.

    Raises:
        ValueError: the class is registered already.
    """
    if cls in _NODES:
        raise ValueError(f"{cls} is already registered as pytree node")
    _NODES[cls] = (flatten_fn, unflatten_fn)


def _functions(cls: type) -> tuple[Callable, Callable] | None:
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return (lambda t: (list(t), None)), (lambda parts, _: cls(*parts))
    return _NODES.get(cls)


def tree_flatten(tree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list, TreeSpec]:
    """``(leaves, spec)``; :func:`tree_unflatten` puts them together again."""
    leaves: list = []

    def visit(x) -> TreeSpec:
        functions = None if is_leaf is not None and is_leaf(x) else _functions(type(x))
        if functions is None:
            leaves.append(x)
            return _LEAF
        parts, context = functions[0](x)
        return TreeSpec(type(x), context, tuple(visit(part) for part in parts))

    return leaves, visit(tree)


def tree_unflatten(leaves: Iterable, treespec: TreeSpec):
    """The tree of this form with these leaves.

    Raises:
        ValueError: their number does not fit.
    """
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec refers to a pytree that "
            f"holds {treespec.num_leaves} items ({treespec})"
        )
    rest = iter(leaves)

    def build(spec: TreeSpec):
        if spec.type is None:
            return next(rest)
        parts = [build(child) for child in spec.children]
        return _functions(spec.type)[1](parts, spec.context)

    return build(treespec)


def tree_leaves(tree, is_leaf=None) -> list:
    """The leaves, in order."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree, is_leaf=None) -> TreeSpec:
    """The form without the leaves."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable, tree, *rests, is_leaf=None):
    """``func`` of each leaf, and of the leaves at its place in ``rests``.

    Raises:
        ValueError: the trees are not formed alike.
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves]
    for rest in rests:
        found, other = tree_flatten(rest, is_leaf)
        if other != spec:
            raise ValueError(f"Node type mismatch: trees are formed {spec} and {other}")
        columns.append(found)
    return tree_unflatten([func(*row) for row in zip(*columns, strict=True)], spec)


def tree_map_only(types, func: Callable, tree, is_leaf=None):
    """``func`` of each leaf that is one of these types; the others stay."""
    return tree_map(lambda x: func(x) if isinstance(x, types) else x, tree, is_leaf=is_leaf)


__all__ = [
    "TreeSpec", "register_pytree_node", "tree_flatten", "tree_leaves", "tree_map", "tree_map_only", "tree_structure",
    "tree_unflatten",
]  # fmt: skip
