"""``torch.utils._pytree``: nested tuples, lists and dicts as a flat list of leaves and a description of the nesting.

Unlike ``jax.tree`` dicts keep their order, and None is a leaf.
"""

from __future__ import annotations

import collections
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..size import Size


@dataclasses.dataclass(frozen=True)
class TreeSpec:
    """A container's class, what else rebuilds it (a dict's keys), and its parts; a leaf has class None."""

    type: type | None
    context: Any = None
    children: tuple[TreeSpec, ...] = ()

    @property
    def num_leaves(self) -> int:
        return 1 if self.type is None else sum(child.num_leaves for child in self.children)

    @property
    def num_children(self) -> int:
        return len(self.children)

    @property
    def num_nodes(self) -> int:
        return 1 + sum(child.num_nodes for child in self.children)

    def is_leaf(self) -> bool:
        """Whether this is the form of a single leaf."""
        return self.type is None

    def child(self, index: int) -> TreeSpec:
        """The form of one part."""
        return self.children[index]

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        return f"{self.type.__name__}({', '.join(map(repr, self.children))})"


_LEAF = TreeSpec(None)


class _Leaf(type):
    def __instancecheck__(cls, spec) -> bool:
        return isinstance(spec, TreeSpec) and spec.type is None


class LeafSpec(metaclass=_Leaf):
    """``LeafSpec()`` is the form of a leaf; ``isinstance(spec, LeafSpec)`` tells whether a form is one."""

    def __new__(cls):
        warnings.warn(
            "`isinstance(treespec, LeafSpec)` is deprecated, use `isinstance(treespec, TreeSpec) and "
            "treespec.is_leaf()` instead.",
            FutureWarning,
            stacklevel=2,
        )
        return _LEAF

    def __init_subclass__(cls):
        raise TypeError("LeafSpec cannot be subclassed")


@dataclasses.dataclass(frozen=True)
class SequenceKey:
    """The place of a part in a tuple or list: ``[idx]``."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence):
        """The part at this place."""
        return sequence[self.idx]


@dataclasses.dataclass(frozen=True)
class MappingKey:
    """The place of a part in a dict: ``[key]``."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping):
        """The part at this place."""
        return mapping[self.key]


@dataclasses.dataclass(frozen=True)
class GetAttrKey:
    """The place of a part that is an attribute: ``.name``."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj):
        """The part at this place."""
        return getattr(obj, self.name)


class NodeDef(NamedTuple):
    """A container class: how to take it apart, to put it together, and to take it apart with the parts' places."""

    type: type
    flatten_fn: Callable
    unflatten_fn: Callable
    flatten_with_keys_fn: Callable | None


def _positions(flatten: Callable) -> Callable:
    def with_keys(tree):
        parts, context = flatten(tree)
        return [(SequenceKey(i), part) for i, part in enumerate(parts)], context

    return with_keys


def _entries(context_of: Callable) -> Callable:
    def with_keys(tree):
        return [(MappingKey(k), v) for k, v in tree.items()], context_of(tree)

    return with_keys


def _list_flatten(x):
    return x, None


def _list_unflatten(parts, context) -> list:
    return list(parts)


def _tuple_flatten(x):
    return list(x), None


def _tuple_unflatten(parts, context) -> tuple:
    return tuple(parts)


def _size_unflatten(parts, context) -> tuple:
    """A Size again, as captured functions return it, unless its numbers have become something else."""
    return Size(parts) if all(isinstance(n, int) for n in parts) else tuple(parts)


def _dict_flatten(entries) -> tuple[list, tuple]:
    return list(entries.values()), tuple(entries)


def _dict_unflatten(parts, keys) -> dict:
    return dict(zip(keys, parts, strict=True))


def _default_flatten(entries):
    return list(entries.values()), (entries.default_factory, tuple(entries))


def _deque_flatten(entries):
    return list(entries), entries.maxlen


# Programs hand these to register_pytree_node for classes of their own that are lists, tuples or dicts.
_list_flatten_with_keys, _tuple_flatten_with_keys = _positions(_list_flatten), _positions(_tuple_flatten)
_dict_flatten_with_keys = _entries(tuple)


#: Every class that counts as a container.
SUPPORTED_NODES: dict[type, NodeDef] = {
    node.type: node
    for node in (
        NodeDef(tuple, _tuple_flatten, _tuple_unflatten, _tuple_flatten_with_keys),
        NodeDef(Size, _tuple_flatten, _size_unflatten, _tuple_flatten_with_keys),
        NodeDef(list, _list_flatten, _list_unflatten, _list_flatten_with_keys),
        NodeDef(dict, _dict_flatten, _dict_unflatten, _dict_flatten_with_keys),
        NodeDef(
            collections.OrderedDict, _dict_flatten,
            lambda parts, keys: collections.OrderedDict(zip(keys, parts, strict=True)), _dict_flatten_with_keys,
        ),
        NodeDef(
            collections.defaultdict, _default_flatten,
            lambda parts, context: collections.defaultdict(context[0], zip(context[1], parts, strict=True)),
            _entries(lambda d: (d.default_factory, tuple(d))),
        ),
        NodeDef(collections.deque, _deque_flatten, collections.deque, _positions(_deque_flatten)),
    )
}  # fmt: skip


def register_pytree_node(
    cls: type, flatten_fn: Callable, unflatten_fn: Callable, *, flatten_with_keys_fn: Callable | None = None, **ignored
) -> None:
    """Treat ``cls`` as a container: ``flatten_fn(x) -> (parts, context)`` and ``unflatten_fn(parts, context) -> x``.

    Args:
        flatten_with_keys_fn: ``f(x) -> ([(key, part), ...], context)``, for the functions that tell places.

    Raises:
        ValueError: the class is registered already.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node")
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)


_register_pytree_node = register_pytree_node


def register_dataclass(cls: type, *, field_names=None, drop_field_names=None, serialized_type_name=None) -> None:
    """Treat a dataclass as a container of its fields (those of ``field_names``, without ``drop_field_names``)."""
    dropped = set(drop_field_names or ())
    if not dataclasses.is_dataclass(cls) and field_names is None:
        raise ValueError(f"{cls} is no dataclass: give the names of its fields as field_names")
    names = field_names or [f.name for f in dataclasses.fields(cls) if f.init and f.name not in dropped]

    def flatten(x):
        return [getattr(x, n) for n in names], None

    def with_keys(x):
        return [(GetAttrKey(n), getattr(x, n)) for n in names], None

    register_pytree_node(
        cls, flatten, lambda parts, _: cls(**dict(zip(names, parts, strict=True))), flatten_with_keys_fn=with_keys
    )


def register_constant(cls: type) -> None:
    """Treat instances of ``cls`` as containers without parts: they belong to the form.

    Raises:
        TypeError: the class compares by identity, so that equal forms could not be recognised.
    """
    if cls.__eq__ is object.__eq__:
        raise TypeError(
            f"register_constant(cls) expects `cls` to have a non-default `__eq__` implementation, got {cls}"
        )
    register_pytree_node(cls, lambda x: ([], x), lambda _, x: x, flatten_with_keys_fn=lambda x: ([], x))


def _is_namedtuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def _get_node_type(tree) -> type:
    """The class a value is registered under (that of all named tuples is ``collections.namedtuple``)."""
    return collections.namedtuple if _is_namedtuple(type(tree)) else type(tree)


def _node(cls: type) -> NodeDef | None:
    found = SUPPORTED_NODES.get(cls)
    if found is None and _is_namedtuple(cls):
        return NodeDef(
            cls, _tuple_flatten, lambda parts, _: cls(*parts),
            lambda t: ([(GetAttrKey(n), x) for n, x in zip(cls._fields, t, strict=True)], None),
        )  # fmt: skip
    return found


def _is_leaf(tree, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether a value is a leaf: ``is_leaf`` says so, or its class is no container."""
    return (is_leaf is not None and is_leaf(tree)) or _node(type(tree)) is None


def tree_is_leaf(tree, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether a value is a leaf, not a container of others."""
    return _is_leaf(tree, is_leaf)


def is_structseq_instance(obj) -> bool:
    """Whether ``obj`` is a structure of the interpreter's (``os.stat_result``): a tuple with named fields."""
    cls = type(obj)
    return isinstance(obj, tuple) and cls.__base__ is tuple and isinstance(getattr(cls, "n_sequence_fields", None), int)


def _broadcast_to_and_flatten(tree, treespec: TreeSpec, is_leaf: Callable[[Any], bool] | None = None) -> list | None:
    """The leaf of ``tree`` that is above each leaf of ``treespec``, or None: it does not begin as that does."""
    if _is_leaf(tree, is_leaf):
        return [tree] * treespec.num_leaves
    if treespec.is_leaf():
        return None
    parts, context = _functions(type(tree))[0](tree)
    if type(tree) is not treespec.type or context != treespec.context or len(parts) != treespec.num_children:
        return None
    found = [_broadcast_to_and_flatten(x, s, is_leaf) for x, s in zip(parts, treespec.children, strict=True)]
    return None if any(part is None for part in found) else [x for part in found for x in part]


def _functions(cls: type) -> tuple[Callable, Callable] | None:
    found = _node(cls)
    return None if found is None else (found.flatten_fn, found.unflatten_fn)


# The recursions are functions of their own: a function that calls itself through its closure is a reference cycle, and
# keeps the leaves, tensors as a rule, until Python looks for cycles.


def _take_apart(x, is_leaf, leaves: list) -> TreeSpec:
    functions = None if is_leaf is not None and is_leaf(x) else _functions(type(x))
    if functions is None:
        leaves.append(x)
        return _LEAF
    parts, context = functions[0](x)
    return TreeSpec(type(x), context, tuple([_take_apart(part, is_leaf, leaves) for part in parts]))


def _put_together(spec: TreeSpec, rest: Iterator):
    if spec.type is None:
        return next(rest)
    parts = [_put_together(child, rest) for child in spec.children]
    return _functions(spec.type)[1](parts, spec.context)


def tree_flatten(tree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list, TreeSpec]:
    """``(leaves, spec)``; :func:`tree_unflatten` puts them together again."""
    leaves: list = []
    return leaves, _take_apart(tree, is_leaf, leaves)


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
    return _put_together(treespec, iter(leaves))


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


def tree_map_only(type_or_types_or_pred, func: Callable, tree, is_leaf=None):
    """``func`` of each leaf that is one of these types (or for which this function is true); the others stay."""
    wanted = type_or_types_or_pred
    if isinstance(wanted, type) or not callable(wanted):
        return tree_map_only(lambda x: isinstance(x, type_or_types_or_pred), func, tree, is_leaf)
    return tree_map(lambda x: func(x) if wanted(x) else x, tree, is_leaf=is_leaf)


def tree_map_(func: Callable, tree, *rests, is_leaf=None):
    """Call ``func`` on each leaf; returns ``tree`` itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only_(type_or_types_or_pred, func: Callable, tree, is_leaf=None):
    """Call ``func`` on each leaf of these types; returns ``tree`` itself."""
    tree_map_only(type_or_types_or_pred, func, tree, is_leaf)
    return tree


def tree_iter(tree, is_leaf=None):
    """The leaves one after the other."""
    yield from tree_flatten(tree, is_leaf)[0]


def arg_tree_leaves(*args, **kwargs) -> list:
    """The leaves of arguments."""
    return [leaf for tree in (*args, *kwargs.values()) for leaf in tree_leaves(tree)]


def tree_all(pred: Callable, tree, is_leaf=None) -> bool:
    """Whether ``pred`` holds of each leaf."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable, tree, is_leaf=None) -> bool:
    """Whether ``pred`` holds of a leaf."""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(type_or_types, pred: Callable, tree, is_leaf=None) -> bool:
    """Whether ``pred`` holds of each leaf of these types."""
    return all(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


def tree_any_only(type_or_types, pred: Callable, tree, is_leaf=None) -> bool:
    """Whether ``pred`` holds of a leaf of these types."""
    return any(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


# --- places


def tree_flatten_with_path(tree, is_leaf=None) -> tuple[list, TreeSpec]:
    """``([(path, leaf), ...], spec)``; a path is a tuple of keys.

    Raises:
        ValueError: a container was registered without ``flatten_with_keys_fn``.
    """
    found: list = []

    def visit(x, path) -> None:
        node = None if is_leaf is not None and is_leaf(x) else _node(type(x))
        if node is None:
            found.append((path, x))
            return
        if node.flatten_with_keys_fn is None:
            raise ValueError(
                f"Did not find a flatten_with_keys_fn for type: {type(x)}. Please pass a flatten_with_keys_fn argument "
                "to register_pytree_node."
            )
        for key, part in node.flatten_with_keys_fn(x)[0]:
            visit(part, (*path, key))

    visit(tree, ())
    return found, tree_structure(tree, is_leaf)


def tree_leaves_with_path(tree, is_leaf=None) -> list:
    """``[(path, leaf), ...]``."""
    return tree_flatten_with_path(tree, is_leaf)[0]


def tree_map_with_path(func: Callable, tree, *rests, is_leaf=None):
    """``func(path, leaf, ...)`` of each leaf."""
    found, spec = tree_flatten_with_path(tree, is_leaf)
    columns = [tree_leaves(rest, is_leaf) for rest in rests]
    return tree_unflatten([func(*row[0], *row[1:]) for row in zip(found, *columns, strict=True)], spec)


def keystr(kp) -> str:
    """A path as text: ``['a'][0].b``."""
    return "".join(map(str, kp))


def key_get(obj, kp):
    """The part of ``obj`` at a path."""
    for key in kp:
        obj = key.get(obj)
    return obj


def treespec_pprint(treespec: TreeSpec) -> str:
    """The form with a star for each leaf."""
    return repr(treespec)


PyTree = Context = Any

__all__ = [
    "GetAttrKey", "LeafSpec", "MappingKey", "NodeDef", "PyTree", "SUPPORTED_NODES", "SequenceKey", "TreeSpec",
    "arg_tree_leaves", "is_structseq_instance", "key_get", "keystr", "register_constant", "register_dataclass",
    "register_pytree_node", "tree_all", "tree_all_only", "tree_any", "tree_any_only", "tree_flatten",
    "tree_flatten_with_path", "tree_is_leaf", "tree_iter", "tree_leaves", "tree_leaves_with_path", "tree_map",
    "tree_map_", "tree_map_only", "tree_map_only_", "tree_map_with_path", "tree_structure", "tree_unflatten",
    "treespec_pprint",
]  # fmt: skip
