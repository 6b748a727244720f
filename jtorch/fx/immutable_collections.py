"""Lists and dicts that cannot be changed: the arguments of a Node, whose users the graph keeps account of."""

from __future__ import annotations

from ..utils._pytree import register_pytree_node


def _refusing(name: str, cls: str):
    def refuse(self, *args, **kwargs):
        raise TypeError(
            f"'{cls}' object does not support mutation. If you are attempting to modify the kwargs or args of a "
            "torch.fx.Node object,\ninstead create a new copy of it and assign the copy to the node:\n\n"
            "    new_args = ...  # copy and mutate args\n    node.args = new_args\n"
        )

    refuse.__name__ = name
    return refuse


def _immutable(cls, base, methods):
    for name in methods:
        setattr(cls, name, _refusing(name, cls.__name__))
    cls.__hash__ = lambda self: hash(tuple(self.items() if base is dict else self))
    cls.__reduce__ = lambda self: (cls, (base(self),))
    return cls


class immutable_list(list):
    """A list that raises TypeError when it is to be changed."""


class immutable_dict(dict):
    """A dict that raises TypeError when it is to be changed."""


_immutable(immutable_list, list, ("__delitem__", "__iadd__", "__imul__", "__setitem__", "append", "clear", "extend",
                                  "insert", "pop", "remove", "reverse", "sort"))  # fmt: skip
_immutable(immutable_dict, dict, ("__delitem__", "__ior__", "__setitem__", "clear", "pop", "popitem", "setdefault",
                                  "update"))  # fmt: skip

register_pytree_node(immutable_list, lambda x: (list(x), None), lambda parts, _: immutable_list(parts))
register_pytree_node(
    immutable_dict,
    lambda x: (list(x.values()), list(x)),
    lambda parts, keys: immutable_dict(zip(keys, parts, strict=True)),
)
