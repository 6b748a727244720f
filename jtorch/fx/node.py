"""A Node: one step of a graph, and the account of who uses whose result."""

from __future__ import annotations

import builtins
import inspect
import operator
import types
import typing
from collections.abc import Callable
from typing import Any

import jtorch

from .._ops import OpOverload, OpOverloadPacket
from .immutable_collections import immutable_dict, immutable_list
from .names import function_name, qualified_name
from .names import signature as signature_of

BaseArgumentTypes = typing.Union[  # noqa: UP007 (a public name that programs use in annotations)
    str, int, float, bool, complex, jtorch.dtype, jtorch.Tensor, jtorch.device, jtorch.memory_format, jtorch.layout
]
base_types = typing.get_args(BaseArgumentTypes)
Target = typing.Union[Callable[..., Any], str]  # noqa: UP007
#: What may be an argument of a Node: Nodes, numbers and the like, and tuples, lists, dicts, slices and ranges of them.
Argument = typing.Union[  # noqa: UP007
    tuple, list, dict, slice, range, "Node", str, int, float, bool, complex, jtorch.dtype, jtorch.Tensor,
    jtorch.device, jtorch.memory_format, jtorch.layout, None,
]  # fmt: skip

_legal_ops = dict.fromkeys(
    ("placeholder", "call_method", "call_module", "call_function", "get_attr", "output", "root")
)  # fmt: skip
#: Functions that :meth:`Graph.eliminate_dead_code` keeps although nobody uses their results.
_side_effectful_functions: set[Callable] = {jtorch._assert, operator.setitem}
_side_effect_free_modules: set = set()
_RANDOM = ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "poisson",
           "bernoulli", "multinomial")  # fmt: skip


class ArgsKwargsPair(typing.NamedTuple):
    """The arguments of a call."""

    args: tuple
    kwargs: dict


def has_side_effect(fn: Callable) -> Callable:
    """Keep calls of ``fn`` when dead code is removed. Returns ``fn``, so that it can decorate."""
    _side_effectful_functions.add(fn)
    return fn


def map_aggregate(a, fn: Callable[[Any], Any]):
    """``a`` with ``fn`` applied to everything in its tuples, lists, dicts and slices.

    Lists and dicts become immutable.
    """
    if isinstance(a, tuple):
        parts = [map_aggregate(x, fn) for x in a]
        return type(a)(*parts) if hasattr(a, "_fields") else tuple(parts)
    if isinstance(a, list):
        return immutable_list([map_aggregate(x, fn) for x in a])
    if isinstance(a, dict):
        return immutable_dict((k, map_aggregate(v, fn)) for k, v in a.items())
    if isinstance(a, slice):
        return slice(map_aggregate(a.start, fn), map_aggregate(a.stop, fn), map_aggregate(a.step, fn))
    return fn(a)


def map_arg(a, fn: Callable[[Node], Any]):
    """``a`` with ``fn`` applied to each Node in it."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


def _get_qualified_name(func) -> str:
    return qualified_name(func)


def _type_repr(obj) -> str:
    """A type as code has it: ``int``, ``torch.Tensor``, ``typing.List[int]``."""
    if isinstance(obj, type) and not isinstance(obj, types.GenericAlias):
        return obj.__qualname__ if obj.__module__ == "builtins" else qualified_name(obj)
    if obj is ...:
        return "..."
    if isinstance(obj, types.FunctionType):
        return obj.__name__
    return repr(obj).replace("jtorch.tensor.tensor.Tensor", "torch.Tensor").replace("jtorch.", "torch.")


def _format_arg(arg) -> str:
    if isinstance(arg, Node):
        return f"%{arg.name}"
    if isinstance(arg, tuple) and not hasattr(arg, "_fields"):
        return "(" + ", ".join(map(_format_arg, arg)) + (",)" if len(arg) == 1 else ")")
    if isinstance(arg, list):
        return "[" + ", ".join(map(_format_arg, arg)) + "]"
    if isinstance(arg, dict):
        return "{" + ", ".join(f"{k}: {_format_arg(v)}" for k, v in arg.items()) + "}"
    return str(arg)


class Node:
    """One step of a :class:`Graph`, linked with the ones before and after it.

    ``op`` says what kind of step:

    ===============  =======================================================================
    placeholder      an input; ``target`` is its name, ``args`` hold a default, if it has one
    get_attr         a parameter, buffer or module; ``target`` is its path in the root module
    call_function    ``target(*args, **kwargs)``
    call_method      ``getattr(args[0], target)(*args[1:], **kwargs)``
    call_module      the module at the path ``target``, called with ``args`` and ``kwargs``
    output           returns ``args[0]``
    ===============  =======================================================================

    ``users`` are the Nodes that have this one among their arguments, as keys of a dict; ``meta`` is for passes.

    Raises:
        AssertionError, ValueError: ``op`` is none of these, or ``target`` does not fit it.
    """

    def __init__(self, graph, name: str, op: str, target: Target, args: tuple, kwargs: dict, return_type=None):
        if op not in _legal_ops:
            raise AssertionError(f"op '{op}' is not in _legal_ops: {', '.join(_legal_ops)}")
        if op == "call_function" and not callable(target):
            raise ValueError(
                f"Node [graph = {graph}, name = '{name}'] target {target} has type {_type_repr(type(target))} "
                "but a Callable is expected"
            )
        if op != "call_function" and not isinstance(target, str):
            raise ValueError(
                f"Node [graph = {graph}, name = '{name}'] target {target} has type {_type_repr(type(target))} "
                "but a str is expected"
            )
        self.graph, self.name, self.op, self.target = graph, name, op, target
        self.type = return_type
        self.meta: dict[str, Any] = {}
        self.users: dict[Node, None] = {}
        self._input_nodes: dict[Node, None] = {}
        self._args, self._kwargs = (), {}
        self._prev = self._next = self
        self._erased = False
        self._repr_fn: Callable | None = None
        self._set_arguments(args, kwargs)

    # --- place in the graph

    @property
    def next(self) -> Node:
        """The Node after this one; after the last, the graph's root."""
        return self._next

    @property
    def prev(self) -> Node:
        """The Node before this one; before the first, the graph's root."""
        return self._prev

    def _remove_from_list(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    def prepend(self, x: Node) -> None:
        """Put ``x`` before this Node.

        Raises:
            AssertionError: ``x`` belongs to another graph.
        """
        if x.graph is not self.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if x is self:
            return
        x._remove_from_list()
        before = self._prev
        before._next, x._prev = x, before
        x._next, self._prev = self, x

    def append(self, x: Node) -> None:
        """Put ``x`` after this Node."""
        if x is not self:
            self._next.prepend(x)

    def _index(self) -> int:
        return next(i for i, n in enumerate(self.graph.nodes) if n is self)

    def __lt__(self, other: Node) -> bool:
        """Whether this Node comes before ``other`` in their graph."""
        return self._index() < other._index()

    def __gt__(self, other: Node) -> bool:
        return other < self

    def __le__(self, other: Node) -> bool:
        return self is other or self < other

    def __ge__(self, other: Node) -> bool:
        return self is other or other < self

    # --- arguments

    @property
    def args(self) -> tuple:
        """Positional arguments, by kind of step; assign a tuple to change them."""
        return self._args

    @args.setter
    def args(self, a: tuple) -> None:
        self._set_arguments(a, self._kwargs)

    @property
    def kwargs(self) -> dict:
        """Keyword arguments; assign a dict to change them."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, k: dict) -> None:
        self._set_arguments(self._args, k)

    def _set_arguments(self, args, kwargs) -> None:
        for old in self._input_nodes:
            old.users.pop(self, None)
        inputs: dict[Node, None] = {}

        def note(n):
            if isinstance(n, Node):
                inputs.setdefault(n)
                n.users.setdefault(self)
            return n

        self._args, self._kwargs = map_aggregate(tuple(args), note), map_aggregate(dict(kwargs), note)
        self._input_nodes = inputs

    def update_arg(self, idx: int, arg) -> None:
        """Replace the positional argument ``idx``."""
        args = list(self.args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg) -> None:
        """Add a positional argument before number ``idx``.

        Raises:
            AssertionError: ``idx`` is no place among the arguments.
        """
        if not 0 <= idx <= len(self.args):
            raise AssertionError("insert_args index must be between 0 and len(self.args)")
        self.args = (*self.args[:idx], arg, *self.args[idx:])

    def update_kwarg(self, key: str, arg) -> None:
        """Set the keyword argument ``key``."""
        self.kwargs = {**self.kwargs, key: arg}

    @property
    def all_input_nodes(self) -> list[Node]:
        """The Nodes among the arguments, each once, in order."""
        return list(self._input_nodes)

    def replace_all_uses_with(
        self,
        replace_with: Node,
        delete_user_cb: Callable[[Node], bool] = lambda user: True,
        *,
        propagate_meta: bool = False,
    ) -> list[Node]:
        """Put ``replace_with`` in the place of this Node wherever it is an argument.

        Args:
            delete_user_cb: says of each user whether to do so.
            propagate_meta: give ``replace_with``, whose ``meta`` must be empty, this Node's.

        Returns:
            The Nodes that used this one before.

        Raises:
            AssertionError: ``propagate_meta``, and there is ``meta`` already.
        """
        if propagate_meta:
            if replace_with.meta:
                raise AssertionError(
                    "Called node.replace_all_uses_with(replace_with, propagate_meta=True), but replace_with already "
                    "has .meta keys"
                )
            replace_with.meta.update(self.meta)
        before = list(self.users)
        for user in before:
            if delete_user_cb(user):
                self.graph._replacing(self, replace_with.name, user)
                user._substitute(self, replace_with)
        return before

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Put ``new_input`` in the place of ``old_input`` among this Node's arguments."""
        self.graph._replacing(old_input, new_input.name, self)
        self._substitute(old_input, new_input)

    def _substitute(self, old: Node, new: Node) -> None:
        def changed(n):
            return new if n is old else n

        self._set_arguments(map_arg(self._args, changed), map_arg(self._kwargs, changed))

    def normalized_arguments(self, root, arg_types=None, kwarg_types=None, normalize_to_only_use_kwargs=False):
        """``(args, kwargs)`` of a call by the signature of what it calls; None for other Nodes.

        Args:
            normalize_to_only_use_kwargs: everything by keyword.
        """
        if self.op == "call_module":
            signature = inspect.signature(root.get_submodule(self.target).forward)
        elif self.op == "call_function" and isinstance(self.target, types.FunctionType):
            signature = signature_of(self.target)
        else:
            return None
        try:
            bound = signature.bind(*self.args, **self.kwargs)
        except TypeError:
            return None
        bound.apply_defaults()
        if not normalize_to_only_use_kwargs:
            return ArgsKwargsPair(bound.args, bound.kwargs)
        if any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in signature.parameters.values()):
            return None
        return ArgsKwargsPair((), dict(bound.arguments))

    # --- what it is

    @property
    def stack_trace(self) -> str | None:
        """Where in the program the step was recorded, if the tracer recorded that."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether the step does more than to give a result, so that it is kept although nobody uses it.

        In-place methods count as pure, as in PyTorch: what they change is not followed.
        """
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            if self.target in _side_effectful_functions:
                return True
            return impure_random and qualified_name(self.target) in {f"torch.{name}" for name in _RANDOM}
        if self.op == "call_module":
            owner = self.graph.owning_module
            if owner is None:
                raise AssertionError("self.graph.owning_module not set for purity check")
            return getattr(owner.get_submodule(self.target), "_is_impure", False)
        return False

    def _rename(self, candidate: str) -> None:
        if candidate != self.name:
            self.name = self.graph._graph_namespace.create_name(candidate, self)

    def _pretty_print_target(self, target) -> str:
        if isinstance(target, str):
            return target
        name = function_name(target) if callable(target) and hasattr(target, "__name__") else ""
        if getattr(target, "__module__", None) == "_operator":
            return f"operator.{name}"
        if getattr(builtins, name, None) is target:
            return f"builtins.{name}"
        return qualified_name(target)

    def format_node(self, placeholder_names: list[str] | None = None, maybe_return_typename: list[str] | None = None):
        """The Node as a line of ``print(graph)``.

        Args:
            placeholder_names: a placeholder adds its name to this list, and the result is None.
            maybe_return_typename: the output writes its type to this list's first place.
        """
        typed = f"{_type_repr(self.type)} " if self.type is not None else ""
        head = f"%{self.name} : {typed}[num_users={len(self.users)}] = {self.op}[target="
        if self.op == "placeholder":
            if placeholder_names is not None:
                placeholder_names.append(f"{self.target} : {typed.strip()}" if typed else self.target)
                return None
            default = f"(default={self.args[0]})" if self.args else ""
            return f"{head}{self.target}]{default}"
        if self.op == "get_attr":
            return f"{head}{self.target}]"
        if self.op == "output":
            if self.type is not None and maybe_return_typename is not None:
                maybe_return_typename[0] = f" -> {_type_repr(self.type)}"
            return f"return {self.args[0]}"
        target = self._pretty_print_target(self.target)
        return f"{head}{target}](args = {_format_arg(self.args)}, kwargs = {_format_arg(self.kwargs)})"

    def __repr__(self) -> str:
        return self.name if self._repr_fn is None else self._repr_fn(self)

    def __copy__(self):
        return self

    def __reduce__(self):
        raise TypeError("a Node cannot be pickled by itself; pickle its Graph or GraphModule")


def target_to_name(target: Target) -> str:
    """What Nodes of this target are named after."""
    if callable(target):
        target = function_name(target) if hasattr(target, "__name__") else type(target).__name__
    if target.startswith("__") and target.endswith("__") and len(target) > 4:
        bare = target[2:-2]
        if hasattr(operator, target):
            return bare
    return target


def _is_overload(x) -> bool:
    return isinstance(x, (OpOverload, OpOverloadPacket))
