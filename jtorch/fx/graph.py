"""``torch.fx.graph``: a program as a list of Nodes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jtorch

from .codegen import CodeGen, PythonCode, dotted, inplace_methods, magic_methods
from .names import qualified_name, resolve
from .namespace import _Namespace, snake_case
from .node import Node, Target, _is_overload, map_arg, target_to_name
from .pytree_codegen import _PyTreeCodeGen, _PyTreeInfo  # noqa: F401 (whose place PyTorch has here)

__all__ = ["CodeGen", "Graph", "PythonCode", "inplace_methods", "magic_methods"]
_format_target = dotted
_snake_case = snake_case


class _NodeList:
    """``graph.nodes``: a view of the linked list. A Node may be erased, or others inserted, while it is walked."""

    def __init__(self, graph: Graph, forward: bool = True):
        self.graph, self.forward = graph, forward

    def __len__(self) -> int:
        return self.graph._len

    def __iter__(self) -> Iterator[Node]:
        root = self.graph._root
        at = root._next if self.forward else root._prev
        while at is not root:
            if not at._erased:
                yield at
            at = at._next if self.forward else at._prev

    def __reversed__(self) -> Iterator[Node]:
        return iter(_NodeList(self.graph, not self.forward))


class _InsertPoint:
    """Where new Nodes go, for the time of a ``with`` block, or from the call on."""

    def __init__(self, graph: Graph, insert: Callable[[Node], None]):
        self.graph, self.before = graph, graph._insert
        graph._insert = insert

    def __enter__(self):
        return None

    def __exit__(self, *exc):
        self.graph._insert = self.before


class Graph:
    """A program as a list of :class:`Node`; ``GraphModule(root, graph)`` makes a module of it.

    ``print(graph)`` shows the Nodes, ``graph.python_code("self").src`` the source text of the function.
    """

    def __init__(self, owning_module=None, tracer_cls: type | None = None, tracer_extras: dict | None = None):
        self._root = Node(self, "", "root", "", (), {})
        self._len = 0
        self._insert = self._root.prepend
        self._graph_namespace = _Namespace()
        self._owning_module = owning_module
        self._tracer_cls, self._tracer_extras = tracer_cls, tracer_extras
        self._codegen = CodeGen()

    # --- what there is

    @property
    def owning_module(self):
        """The GraphModule whose graph this is, or None."""
        return self._owning_module

    @owning_module.setter
    def owning_module(self, module) -> None:
        self._owning_module = module

    @property
    def nodes(self) -> _NodeList:
        """All Nodes in order; ``reversed(graph.nodes)`` works too."""
        return _NodeList(self)

    def find_nodes(self, *, op: str, target: Target | None = None, sort: bool = True) -> list[Node]:
        """The Nodes of one kind, and of one target if given, in order."""
        return [n for n in self.nodes if n.op == op and (target is None or n.target == target)]

    def output_node(self) -> Node:
        """The output.

        Raises:
            AssertionError: there is none.
        """
        last = next(iter(reversed(self.nodes)), None)
        if last is None or last.op != "output":
            raise AssertionError(f"Expected output node, got {'none' if last is None else f'op={last.op}'}")
        return last

    # --- making Nodes

    def create_node(
        self,
        op: str,
        target: Target,
        args: tuple | None = None,
        kwargs: dict | None = None,
        name: str | None = None,
        type_expr: Any | None = None,
    ) -> Node:
        """A new Node at the point of insertion, which is the end if nothing else was said.

        Args:
            name: its name, with a number appended if it is taken; by default one made of ``target``.
            type_expr: the type of its result, for the generated code.

        Raises:
            AssertionError, ValueError: ``op`` and ``target`` are no step (see :class:`Node`).
        """
        args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
        if not isinstance(args, tuple):
            raise AssertionError("args must be a tuple")
        if not isinstance(kwargs, dict):
            raise AssertionError("kwargs must be a dict")
        candidate = name if name is not None else snake_case(target_to_name(target))
        unique = self._graph_namespace.create_name(candidate, None)
        node = Node(self, unique, op, target, args, kwargs, type_expr)
        owner = self._owning_module
        for hook in getattr(owner, "_create_node_hooks", ()):
            hook(node)
        self._graph_namespace.associate_name_with_obj(unique, node)
        self._insert(node)
        self._len += 1
        return node

    def placeholder(self, name: str, type_expr: Any | None = None, default_value: Any = ...) -> Node:
        """An input of this name. ``*args`` and ``**kwargs`` take what is left over."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args=args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any | None = None) -> Node:
        """A parameter, buffer or module by its path in the root module. Warns if the owning module has none there."""
        if self._owning_module is not None and not _has_attribute(self._owning_module, qualified_name):
            warnings.warn(
                "Attempted to insert a get_attr Node with no underlying reference in the owning GraphModule! Call "
                "GraphModule.add_submodule to add the necessary submodule, GraphModule.add_parameter to add the "
                "necessary Parameter, or nn.Module.register_buffer to add the necessary buffer",
                stacklevel=2,
            )
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(self, module_name: str, args=None, kwargs=None, type_expr=None) -> Node:
        """A call of the module at this path.

        Raises:
            AttributeError: the owning module has none there.
        """
        if self._owning_module is not None:
            self._owning_module.get_submodule(module_name)
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(self, method_name: str, args=None, kwargs=None, type_expr=None) -> Node:
        """A call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(self, the_function: Callable, args=None, kwargs=None, type_expr=None, name=None) -> Node:
        """A call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name=name, type_expr=type_expr)

    def output(self, result, type_expr: Any | None = None) -> Node:
        """The end: what the function returns."""
        return self.create_node("output", "output", args=(result,), type_expr=type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Any] = lambda x: x) -> Node:
        """A copy of a Node of another graph.

        Args:
            arg_transform: gives for each Node among its arguments the one of this graph.
        """
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        made = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        made.meta = copy.copy(node.meta)
        return made

    def graph_copy(self, g: Graph, val_map: dict[Node, Node], return_output_node: bool = False):
        """Copy all Nodes of ``g`` but the output to the point of insertion.

        Args:
            val_map: Nodes of ``g`` that stand for others here are not copied; the copies are entered.
            return_output_node: return ``(result, output Node of g)``.

        Returns:
            What ``g`` returns, in Nodes of this graph; None if ``g`` has no output.
        """
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                result = map_arg(node.args[0], lambda n: val_map[n])
                return (result, node) if return_output_node else result
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    # --- changing it

    def inserting_before(self, n: Node | None = None) -> _InsertPoint:
        """New Nodes go before ``n``; before the first if none is given. Use it with ``with``, or set it for good.

        Raises:
            AssertionError: ``n`` is not in this graph.
        """
        if n is None:
            return self.inserting_after(self._root)
        if n.graph is not self:
            raise AssertionError("Node to insert before is not in graph.")
        return _InsertPoint(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> _InsertPoint:
        """New Nodes go right after ``n``, each before the one made last; at the end if none is given.

        Raises:
            AssertionError: ``n`` is not in this graph.
        """
        if n is None:
            return self.inserting_before(self._root)
        if n.graph is not self:
            raise AssertionError("Node to insert after is not in graph.")
        return _InsertPoint(self, n.append)

    def erase_node(self, to_erase: Node) -> None:
        """Remove a Node that nobody uses.

        Raises:
            RuntimeError: it is used, or belongs to another graph.
        """
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in the graph: "
                f"{to_erase.users}!"
            )
        if to_erase.graph is not self:
            raise RuntimeError(f"Attempting to remove {to_erase} from wrong graph!")
        if to_erase._erased:
            warnings.warn(f"erase_node({to_erase}) on an already erased node", stacklevel=2)
            return
        for hook in getattr(self._owning_module, "_erase_node_hooks", ()):
            hook(to_erase)
        to_erase._remove_from_list()
        to_erase._erased = True
        self._len -= 1
        to_erase._set_arguments((), {})

    def _replacing(self, old: Node, new: str, user: Node) -> None:
        for hook in getattr(self._owning_module, "_replace_hooks", ()):
            hook(old=old, new=new, user=user)

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Remove Nodes that nobody uses and that do nothing else (:meth:`Node.is_impure`).

        Args:
            is_impure_node: says instead whether a Node is to be kept.

        Returns:
            Whether there were any.
        """
        self.lint()
        changed = False
        for node in reversed(self.nodes):
            impure = node.is_impure() if is_impure_node is None else _needed(node, is_impure_node)
            if not impure and not node.users:
                self.erase_node(node)
                changed = True
        return changed

    def lint(self) -> None:
        """Check that the graph is a program: Nodes belong to it, stand before their users and refer to what exists.

        Raises:
            RuntimeError: it is none.
        """
        names: set[str] = set()
        defined: set[Node] = set()

        def check(arg: Node, node: Node):
            context = f"of Node '{node}' "
            if arg.graph is not self:
                raise RuntimeError(
                    f"Argument '{arg}' {context}does not belong to this Graph, but was used as an argument! If you "
                    "are copying nodes from another graph, make sure to use ``arg_transform`` on node_copy() to remap "
                    f"values\n{self}"
                )
            if arg not in defined:
                raise RuntimeError(
                    f"Argument '{arg}' {context}was used before it has been defined! Please check that Nodes in the "
                    f"graph are topologically ordered\n{self}"
                )

        for node in self.nodes:
            if node.graph is not self:
                raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
            for x in node.all_input_nodes:
                check(x, node)
            defined.add(node)
            if node.name in names:
                raise RuntimeError(f"Node redefined name {node.name}!")
            names.add(node.name)
            if self._owning_module is not None and node.op in ("get_attr", "call_module"):
                self._check_reference(node)

    def _check_reference(self, node: Node) -> None:
        place = self._owning_module
        *path, last = node.target.split(".")
        for i, part in enumerate([*path, last]):
            found = getattr(place, part, None)
            if found is None:
                raise RuntimeError(
                    f"Node {node} target {node.target} references nonexistent attribute {part} of {'.'.join(path[:i])}"
                )
            place = found
        if node.op == "call_module" and not isinstance(place, jtorch.nn.Module):
            raise RuntimeError(
                f"Node {node} target {node.target} {last} of {'.'.join(path)} does not reference an nn.Module"
            )

    # --- as text

    def set_codegen(self, codegen: CodeGen) -> None:
        """Write the function by this :class:`CodeGen`."""
        self._codegen = codegen

    def on_generate_code(self, make_transformer: Callable) -> Any:
        """Have the lines of the function's body pass through a function, when code is generated.

        Args:
            make_transformer: is given the present such function or None and returns the new one (or None), which takes
                and returns a list of lines.

        Returns:
            A context manager that takes it back at its end.
        """
        codegen, before = self._codegen, self._codegen._body_transformer
        codegen._body_transformer = make_transformer(before)

        class Undo:
            def __enter__(self):
                return self

            def __exit__(self, *exc):
                codegen._body_transformer = before

        return Undo()

    def process_inputs(self, *args):
        """Arguments of the function as those of the graph: they differ where a tree is taken apart."""
        return self._codegen.process_inputs(*args)

    def process_outputs(self, out):
        """The graph's result as that of the function."""
        return self._codegen.process_outputs(out)

    def python_code(
        self,
        root_module: str,
        *,
        verbose: bool = False,
        include_stride: bool = False,
        include_device: bool = False,
        expanded_def: bool = False,
        additional_meta: list[str] | None = None,
    ) -> PythonCode:
        """The function as source text, with the globals it needs.

        Args:
            root_module: the name by which the text reaches the module (``"self"``).
            verbose: with shapes that passes have noted, and where in the program a step comes from.
            expanded_def: a line for each parameter.
            additional_meta: keys of ``node.meta`` to show.
        """
        namespace = _Namespace()

        def name_of(n: Node) -> str:
            return namespace.create_name(n.name, n)

        before = [(n, n._repr_fn) for n in self.nodes]
        try:
            for n, _ in before:
                n._repr_fn = name_of
            return self._codegen._gen_python_code(
                self.nodes, root_module, namespace, verbose=verbose, include_stride=include_stride,
                include_device=include_device, expanded_def=expanded_def, additional_meta=additional_meta,
            )  # fmt: skip
        finally:
            for n, was in before:
                n._repr_fn = was

    def __str__(self) -> str:
        return "\n    ".join(["graph():", *(n.format_node() for n in self.nodes)])

    def print_tabular(self) -> None:
        """Print the Nodes as a table.

        Raises:
            ModuleNotFoundError: the package ``tabulate`` is not installed.
        """
        try:
            from tabulate import tabulate
        except ImportError:
            print(
                "`print_tabular` relies on the library `tabulate`, which could not be found on this machine. Run `pip "
                "install tabulate` to install the library."
            )
            raise
        rows = [[n.op, n.name, n.target, n.args, n.kwargs] for n in self.nodes]
        print(tabulate(rows, headers=["opcode", "name", "target", "args", "kwargs"]))

    # --- copies

    def __deepcopy__(self, memo=None) -> Graph:
        memo = {} if memo is None else memo
        made = Graph(tracer_cls=self._tracer_cls, tracer_extras=self._tracer_extras)
        made._codegen = copy.deepcopy(self._codegen)
        nodes: dict[Node, Node] = {}
        for node in self.nodes:
            nodes[node] = made.node_copy(node, lambda n: nodes[n])
        memo[id(self)] = made
        return made

    def __reduce__(self):
        return _rebuilt, (type(self), [_record(n) for n in self.nodes], self._codegen, self._tracer_cls)


def _needed(node: Node, is_impure_node) -> bool:
    return node.op in ("placeholder", "output") or is_impure_node(node)


def _has_attribute(module, path: str) -> bool:
    *names, last = path.split(".")
    try:
        return hasattr(module.get_submodule(".".join(names)), last)
    except AttributeError:
        return False


class _Ref:
    """A Node in a pickle: its name."""

    def __init__(self, name: str):
        self.name = name


class _Public:
    """A public function in a pickle: PyTorch's name of it."""

    def __init__(self, name: str):
        self.name = name


def _record(node: Node) -> tuple:
    target = node.target
    if callable(target) and not isinstance(target, type):
        name = qualified_name(target)
        if name.startswith("torch.") or _is_overload(target):
            target = _Public(name)
    args, kwargs = map_arg((node.args, node.kwargs), lambda n: _Ref(n.name))
    return node.op, node.name, target, args, dict(kwargs), node.type, bool(node.meta.get("is_wrapped"))


def _rebuilt(cls, records, codegen, tracer_cls) -> Graph:
    from .node import map_aggregate

    graph = cls(tracer_cls=tracer_cls)
    graph._codegen = codegen
    nodes: dict[str, Node] = {}

    def given(x):
        return nodes[x.name] if isinstance(x, _Ref) else x

    for op, name, target, args, kwargs, type_expr, wrapped in records:
        target = resolve(target.name) if isinstance(target, _Public) else target
        args, kwargs = map_aggregate((args, kwargs), given)
        nodes[name] = graph.create_node(op, target, tuple(args), dict(kwargs), name, type_expr)
        if wrapped:
            nodes[name].meta["is_wrapped"] = True
    return graph
