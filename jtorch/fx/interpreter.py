"""``torch.fx.interpreter``: running a graph Node by Node."""

from __future__ import annotations

from typing import Any

import jtorch

from .graph import Graph
from .graph_module import GraphModule
from .node import Node, map_arg
from .proxy import Proxy
from .traceback import set_current_meta

__all__ = ["Interpreter", "Transformer"]


class Interpreter:
    """Runs a GraphModule Node by Node. Subclasses override what a kind of Node does.

    Args:
        module: the module; its ``graph`` is run, unless another is given.
        garbage_collect_values: forget a value after its last use.
        graph: the graph to run on the module's parameters.
    """

    def __init__(self, module: jtorch.nn.Module, garbage_collect_values: bool = True, graph: Graph | None = None):
        self.module = module
        self.submodules = dict(module.named_modules())
        self.graph = module.graph if graph is None else graph
        self.env: dict[Node, Any] = {}
        self.name = "Interpreter"
        self.garbage_collect_values = garbage_collect_values
        self.extra_traceback = True
        self.user_to_last_uses: dict[Node, list[Node]] = {}
        if garbage_collect_values:
            seen: set[Node] = set()
            for node in reversed(self.graph.nodes):
                for x in node.all_input_nodes:
                    if x not in seen:
                        seen.add(x)
                        self.user_to_last_uses.setdefault(node, []).append(x)

    def run(self, *args, initial_env: dict[Node, Any] | None = None, enable_io_processing: bool = True):
        """The graph's result for these arguments.

        Args:
            initial_env: values of Nodes that are not to be computed.
            enable_io_processing: take arguments apart and put the result together as the graph's function does.

        Raises:
            RuntimeError: an argument is missing. Errors of a Node say which.
        """
        self.env = {} if initial_env is None else initial_env
        if enable_io_processing:
            args = self.graph.process_inputs(*args)
        self.args_iter = iter(args)
        for node in self.graph.nodes:
            if node in self.env:
                continue
            try:
                self.env[node] = self.run_node(node)
            except Exception as error:
                if self.extra_traceback:
                    _say_where(error, node)
                raise
            for used in self.user_to_last_uses.get(node, ()):
                del self.env[used]
            if node.op == "output":
                result = self.env[node]
                return self.graph.process_outputs(result) if enable_io_processing else result
        return None

    def boxed_run(self, args_list: list):
        """:meth:`run` of a list of arguments, which is emptied, so that they can be freed."""
        env = {}
        for node, value in zip([n for n in self.graph.nodes if n.op == "placeholder"], args_list, strict=True):
            env[node] = value
        args_list.clear()
        return self.run(initial_env=env)

    def run_node(self, n: Node):
        """The result of one Node, from the values in ``env``: what the method named like ``n.op`` gives."""
        with set_current_meta(n):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            return getattr(self, n.op)(n.target, args, kwargs)

    def placeholder(self, target: str, args: tuple, kwargs: dict):
        """The next argument; a placeholder ``*args`` takes all that are left.

        Raises:
            RuntimeError: there is none, and no default.
        """
        if target.startswith("*"):
            return list(self.args_iter)
        for value in self.args_iter:
            return value
        if args:
            return args[0]
        raise RuntimeError(f"Expected positional argument for parameter {target}, but one was not passed in!")

    def get_attr(self, target: str, args: tuple, kwargs: dict):
        """What stands at a path in the module."""
        return self.fetch_attr(target)

    def call_function(self, target, args: tuple, kwargs: dict):
        """The function's result."""
        return target(*args, **kwargs)

    def call_method(self, target: str, args: tuple, kwargs: dict):
        """The method's result."""
        receiver, *rest = args
        return getattr(receiver, target)(*rest, **kwargs)

    def call_module(self, target: str, args: tuple, kwargs: dict):
        """The module's result."""
        return self.fetch_attr(target)(*args, **kwargs)

    def output(self, target: str, args: tuple, kwargs: dict):
        """The graph's result."""
        return args[0]

    def fetch_attr(self, target: str):
        """What stands at a path in the module.

        Raises:
            RuntimeError: nothing.
        """
        found = self.module
        parts = target.split(".")
        for i, part in enumerate(parts):
            if not hasattr(found, part):
                raise RuntimeError(f"Node referenced nonexistent target {'.'.join(parts[: i + 1])}")
            found = getattr(found, part)
        return found

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[tuple, dict]:
        """``(args, kwargs)`` of a Node, in values."""
        args, kwargs = self.map_nodes_to_values(n.args, n), self.map_nodes_to_values(n.kwargs, n)
        return args, kwargs

    def map_nodes_to_values(self, args, n: Node):
        """``args`` with values in the places of Nodes.

        Raises:
            RuntimeError: a Node has none yet.
        """

        def value(x: Node):
            if x not in self.env:
                raise RuntimeError(
                    f"Node {n} referenced nonexistent value {x}! Run Graph.lint() to diagnose such issues"
                )
            return self.env[x]

        return map_arg(args, value)


def _say_where(error: Exception, node: Node) -> None:
    said = f"While executing {node.format_node()}\nOriginal traceback:\n{node.stack_trace}"
    if error.args and isinstance(error.args[0], str):
        error.args = (f"{error.args[0]}\n\n{said}" if error.args[0] else said, *error.args[1:])
    else:
        error.add_note(said)


class Transformer(Interpreter):
    """Runs a GraphModule with Proxies, and so makes another. Subclasses override what a kind of Node becomes.

    Args:
        module: the module; :meth:`transform` gives the new one.
    """

    def __init__(self, module: GraphModule):
        super().__init__(module)
        from ._symbolic_trace import Tracer

        class TransformerTracer(Tracer):
            def __init__(self, graph: Graph):
                super().__init__()
                self.graph, self.tensor_attrs = graph, {}

            def is_leaf_module(self, m, module_qualified_name):
                return True

        self.new_graph = Graph()
        self.new_graph.set_codegen(module.graph._codegen)
        self.tracer = TransformerTracer(self.new_graph)
        self.tracer.root = module

    def placeholder(self, target: str, args: tuple, kwargs: dict) -> Proxy:
        """An input of the new graph."""
        default = args[0] if args else ...
        return Proxy(self.new_graph.placeholder(target, default_value=default), self.tracer)

    def get_attr(self, target: str, args: tuple, kwargs: dict) -> Proxy:
        """A parameter or buffer."""
        return self.tracer.create_proxy("get_attr", target, args, kwargs)

    def call_module(self, target: str, args: tuple, kwargs: dict):
        """A call of a module."""
        if not isinstance(target, str):
            raise AssertionError(f"Expected str target, got {type(target)}")
        return self.tracer.call_module(self.fetch_attr(target), self.fetch_attr(target).forward, args, kwargs)

    def call_function(self, target, args: tuple, kwargs: dict):
        """A call of a function."""
        return self.tracer.create_proxy("call_function", target, args, kwargs)

    def transform(self) -> GraphModule:
        """The new module."""
        result = super().run(enable_io_processing=False)
        if result is not None:
            made = map_to_nodes(result)
            output = self.new_graph.output(made)
            old = next((n for n in reversed(self.graph.nodes) if n.op == "output"), None)
            if old is not None:
                output.type, output.meta = old.type, dict(old.meta)
        return GraphModule(self.module, self.new_graph, type(self.module).__name__)


def map_to_nodes(x):
    """``x`` with Nodes in the places of Proxies."""
    from .node import map_aggregate

    return map_aggregate(x, lambda p: p.node if isinstance(p, Proxy) else p)
