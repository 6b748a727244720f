"""``torch.export.unflatten``: an exported program's graph taken apart into the modules it was made from."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator

import jtorch

from ..fx.codegen import CodeGen
from ..fx.graph import Graph
from ..fx.graph_module import GraphModule
from ..fx.node import Node, map_arg
from ..tensor import Tensor
from . import structure
from .calls import Signature
from .program import ExportedProgram, check, register_state
from .signature import InputKind

aten = jtorch.ops.aten


class InterpreterModule(GraphModule):
    """One module of an unflattened program: the operations that were recorded while the original was called."""

    def __init__(self, graph: Graph | None = None):
        super().__init__({}, Graph() if graph is None else graph, type(self).__mro__[1].__name__)

    def __str__(self) -> str:
        return repr(self)


class UnflattenedModule(InterpreterModule):
    """What :func:`unflatten` returns: called as the original module was, with its parameters and buffers by name."""


def unflatten(module: ExportedProgram, flat_args_adapter: Callable | None = None) -> UnflattenedModule:
    """A module with the submodules of the one that was exported, each with the operations it called.

    Any of them may be replaced by another that takes and returns the same. Without
    ``export(..., preserve_module_call_signature=(name, ...))`` a submodule takes the tensors it reads, in the order in
    which it reads them, and returns those that are used outside of it (one, or a tuple).

    A module that was called several times is there once if it did the same each time; else its further calls are
    modules of their own, ``name@1``, which take their parameters as arguments. Modules that call none of their own
    operations, and calls of modules that are not inside the caller, are not shown.

    Raises:
        RuntimeError: the program was loaded from a file, which holds no graph.
        ValueError: a submodule whose signature was to be preserved reads or writes what is not among its arguments.
        NotImplementedError: ``flat_args_adapter``.
    """
    if flat_args_adapter is not None:
        raise NotImplementedError("unflatten(): flat_args_adapter is not supported; give arguments as in the example")
    return _Unflattening(module).made()


class _Nested(CodeGen):
    """A function of arguments that are nested as they were when the program was recorded."""

    def __init__(self, form: CallForm):
        super().__init__()
        self.form = form

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        head = super().gen_fn_def(["*args", "**kwargs"], maybe_return_annotation, expanded_def=expanded_def)
        names = [v.partition(":")[0].strip() for v in free_vars]
        return f"{head}\n    {', '.join(['sizes', *names])}, = call_form.taken(args, kwargs)"

    def generate_output(self, output_args) -> str:
        return f"return call_form.nested({output_args!r}, sizes)"

    def additional_globals(self) -> list:
        return [("call_form", self.form)]

    def process_inputs(self, *args):
        return self.form.taken(args, {})[1:]

    def process_outputs(self, outputs):
        return self.form.nested(outputs, {})


class CallForm:
    """How a module's arguments and results are nested.

    Args:
        inputs: what the tensors among the arguments must look like; None of inner modules, which are not checked.
        ranges: of open sizes.
    """

    def __init__(self, in_form, out_form, inputs: list | None = None, ranges: dict | None = None):
        self.in_form, self.out_form, self.inputs, self.ranges = in_form, out_form, inputs, ranges

    def taken(self, args: tuple, kwargs: dict) -> list:
        """The open sizes by name, then the tensors among the arguments."""
        tensors = structure.match_call(self.in_form, args, kwargs, RuntimeError)
        return [{} if self.inputs is None else check(self.inputs, tensors, self.ranges, RuntimeError), *tensors]

    def nested(self, tensors: tuple, sizes: dict):
        return structure.build(self.out_form, list(tensors), sizes)


class _Scope:
    """A call of a module: operations and further calls, in order.

    Args:
        call: as in ``nn_module_stack``.
        name: of the module.
        number: of earlier calls of it in the same caller.
        copied: whether it is, or is within, a further call, so that parameters are arguments.
    """

    def __init__(self, call: str, name: str, number: int = 0, copied: bool = False):
        self.call, self.name, self.number, self.copied = call, name, number, copied
        self.items: list[Node | _Scope] = []
        self._counts: dict[str, int] = {}

    def enter(self, call: str, name: str) -> _Scope:
        number = self._counts[name] = self._counts.get(name, -1) + 1
        self.items.append(_Scope(call, name, number, self.copied or number > 0))
        return self.items[-1]

    def holds(self, name: str) -> bool:
        """Whether a name is of something in this module."""
        return not self.name or name.startswith(f"{self.name}.")

    def within(self, name: str) -> str:
        """What this module calls something in it."""
        return name[len(self.name) + 1 :] if self.name else name

    def nodes(self) -> Iterator[Node]:
        """Its operations and those of the calls within."""
        for item in self.items:
            if isinstance(item, _Scope):
                yield from item.nodes()
            else:
                yield item


def _scopes(graph: Graph) -> _Scope:
    """The calls by which the operations of a graph are nested."""
    root = _Scope("L__self__", "")
    opened = [root]
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        path = [root]
        for call, (name, _) in node.meta.get("nn_module_stack", {}).items():
            if not name or not path[-1].holds(name):
                continue  # the outermost module, or one that is elsewhere
            same = opened[: len(path)] == path and [scope.call for scope in opened[len(path) : len(path) + 1]] == [call]
            path.append(opened[len(path)] if same else path[-1].enter(call, name))
        path[-1].items.append(node)
        opened = path
    return root


class _Unflattening:
    def __init__(self, program: ExportedProgram):
        self.program = program
        self.built = program._built()
        self.flat: Graph = self.built.module.graph
        signature = program.graph_signature
        placeholders = {n.target: n for n in self.flat.nodes if n.op == "placeholder"}
        self.alive = set(self.flat.nodes)
        self.state: dict[Node, list[str]] = {}  # the names of a parameter or buffer
        self.constants: dict[Node, Tensor] = {}
        self.inputs: list[Node] = []
        for spec in signature.input_specs:
            node = placeholders[spec.arg.name]
            if spec.kind is InputKind.USER_INPUT:
                self.inputs.append(node)
            elif spec.kind is InputKind.CONSTANT_TENSOR:
                self.constants[node] = self.built.constants[spec.arg.name]
            else:
                self.state[node] = [spec.target, *(n for n, first in program.aliases.items() if first == spec.target)]
        (self.results,) = next(n for n in self.flat.nodes if n.op == "output").args
        by_name = {names[0]: n for n, names in self.state.items()}
        by_name |= dict(zip(signature.user_inputs, self.inputs, strict=True))
        #: parameters, buffers and inputs that are written, and their new values
        self.written = {by_name[name]: self.results[i] for i, (_, name) in enumerate(self.built.mutations)}
        self.root = _scopes(self.flat)
        #: where each is written: in the innermost call that does all of it, as the list of calls that leads there
        self.homes = {node: self._home(node, new) for node, new in self.written.items()}

    def made(self) -> UnflattenedModule:
        program = self.program
        module = UnflattenedModule()
        form = CallForm(program.in_form, program.out_form, program.inputs, program.range_constraints)
        results = self.results[len(self.written) :]
        self._fill(module, self.root, self.inputs, results, form)
        register_state(module, program)
        order = {name: i for i, name in enumerate(self.built.calls.names)}
        for path, m in module.named_modules():
            prefix = f"{path}." if path else ""
            places = {n: order.get(f"{prefix}{n}".partition("@")[0], len(order)) for n in m._modules}
            m._modules = dict(sorted(m._modules.items(), key=lambda entry, places=places: places[entry[0]]))
        return module

    def _home(self, node: Node, new: Node) -> list[_Scope]:
        path = [self.root]
        concerned = {new, *(user for user in node.users if user.op != "output")}
        while node in self.state:
            inner = (x for x in path[-1].items if isinstance(x, _Scope) and not x.copied)
            inner = (x for x in inner if x.holds(self.state[node][0]) and concerned.issubset(x.nodes()))
            found = next(inner, None)
            if found is None:
                break
            path.append(found)
        return path

    def _fill(self, module: InterpreterModule, scope: _Scope, inputs, results, form: CallForm | None) -> None:
        """Give ``module`` the graph of a scope, from the nodes ``inputs`` to the nodes ``results`` (None: dead)."""
        graph, env = Graph(), {}
        for node in inputs:
            placed = graph.placeholder("unused" if node is None else node.name)
            if node is not None:
                env[node] = placed
                placed.meta.update(node.meta)
        targets: dict[Node, Node] = {}
        for node, path in self.homes.items():  # what is written, is written at the end: until then it is needed
            if path[-1] is scope:
                targets[node] = env[node] if node in env else graph.get_attr(scope.within(self.state[node][0]))
        for node, target in targets.items():
            env[node] = graph.call_function(aten.clone.default, (target,))

        def here(node: Node) -> Node:
            if node not in env and "size" in node.meta:
                of, dim = next((x, i) for x in inputs if (i := _sized(x, node)) is not None)
                env[node] = graph.call_function(node.target, (env[of], dim))
            elif node not in env:
                name = self._own_name(scope, node)
                if name is None:
                    name = node.target
                    module.register_buffer(name, self.constants[node], persistent=False)
                env[node] = graph.get_attr(name)
                env[node].meta.update(node.meta)
            return env[node]

        known: dict[tuple, tuple[str, bool]] = {}
        for item in scope.items:
            if isinstance(item, _Scope):
                self._call(module, graph, scope, item, known, here, env)
            elif "size" not in item.meta:  # sizes are read where they are needed
                env[item] = graph.node_copy(item, here)
        for node, target in targets.items():
            target, new = (graph.call_function(aten.detach.default, (n,)) for n in (target, here(self.written[node])))
            graph.call_function(aten.copy_.default, (target, new))
        found = tuple(None if node is None else here(node) for node in results)
        if form is None:
            graph.output(found[0] if len(found) == 1 else found)
        else:
            graph.set_codegen(_Nested(form))
            graph.output(found)
        module.graph = graph

    def _call(self, module, graph: Graph, caller: _Scope, scope: _Scope, known: dict, here, env: dict) -> None:
        """Add a call of a submodule to the graph of its caller, and the submodule unless it is there already."""
        inside = list(scope.nodes())
        key = scope.name, self._shape(scope, inside)
        label, scope.copied = known.get(key, (None, scope.copied))
        inputs, results = self._read(scope, inside), self._used_outside(scope, inside)
        signature = None if scope.copied else self.built.calls.signatures.get(scope.call)
        form = None
        if signature is not None:
            inputs, results, form = self._as_called(scope, signature, inputs, results)
        if label is None:
            label = caller.within(scope.name) + (f"@{scope.number}" if scope.number else "")
            known[key] = label, scope.copied
            made = InterpreterModule()
            self._fill(made, scope, inputs, results, form)
            module.add_submodule(label, made)
        given = [None if n is None else here(n) for n in inputs]
        if form is None:
            called = graph.call_module(label, tuple(given))
            parts = [called] if len(results) == 1 else [_item(graph, called, i) for i in range(len(results))]
        else:
            args, kwargs = structure.build(form.in_form, given, {})
            called = graph.call_module(label, tuple(args), kwargs)
            parts = _parts(graph, called, form.out_form, results)
        for node, part in zip(results, parts, strict=True):
            if node is not None and node not in env:
                env[node] = part
                part.meta.update({k: v for k, v in node.meta.items() if k in ("val", "tensor_meta")})

    def _own_name(self, scope: _Scope, node: Node) -> str | None:
        """What the module of a scope calls a parameter or buffer of its own that is not written."""
        if scope.copied or scope not in self.homes.get(node, [scope]):
            return None
        names = (n for n in self.state.get(node, ()) if scope.holds(n))
        return next(map(scope.within, names), None)

    def _read(self, scope: _Scope, inside: list[Node]) -> list[Node]:
        """What a module reads and does not have, in order."""
        found: dict[Node, None] = {}
        own = set(inside)
        for node in inside:
            for x in node.all_input_nodes:
                if x not in own and x not in self.constants and self._own_name(scope, x) is None:
                    found.setdefault(x)
        return [x for x in found if all(_sized(y, x) is None for y in found)]

    def _used_outside(self, scope: _Scope, inside: list[Node]) -> list[Node]:
        own = set(inside)
        returned = set(self.results[len(self.written) :])
        returned.update(new for node, new in self.written.items() if scope not in self.homes[node])
        return [n for n in inside if n in returned or any(u not in own and u.op != "output" for u in n.users)]

    def _shape(self, scope: _Scope, inside: list[Node]) -> str:
        """Two calls of one module with equal shapes do the same."""
        numbers: dict[Node, str] = {}

        def number(node: Node) -> str:
            fixed = scope in self.homes.get(node, [scope]) and any(map(scope.holds, self.state.get(node, ())))
            return node.name if fixed or node in self.constants else numbers.setdefault(node, f"%{len(numbers)}")

        lines = [f"{number(n)} {n.target} {map_arg((n.args, n.kwargs), number)}" for n in inside]
        return "\n".join([*lines, *map(number, self._used_outside(scope, inside))])

    def _as_called(self, scope: _Scope, signature: Signature, inputs: list, results: list) -> tuple:
        """``(inputs, results, form)`` of a module that keeps its signature."""

        def nodes(slots) -> list:
            found = (self.built.nodes.get(slot) for slot in slots)
            return [n if n in self.alive else None for n in found]

        given, returned = nodes(signature.inputs), nodes(signature.outputs)
        for kind, needed, has in (("reads", inputs, given), ("makes", results, returned)):
            further = [n.name for n in needed if n not in has]
            if further:
                raise ValueError(
                    f"unflatten(): the module {scope.name!r} {kind} {', '.join(further)}, which is not among its "
                    f"{'arguments' if kind == 'reads' else 'results'}: leave it out of preserve_module_call_signature"
                )
        return given, returned, CallForm(signature.in_form, signature.out_form)


def _sized(node: Node | None, size: Node) -> int | None:
    """The dimension of ``node`` whose size is the open one that ``size`` reads, if it has one."""
    shape = getattr(node and node.meta.get("tensor_meta"), "shape", ())
    return next((i for i, n in enumerate(shape) if "size" in size.meta and str(n) == str(size.meta["size"])), None)


def _item(graph: Graph, whole: Node, key) -> Node:
    return graph.call_function(operator.getitem, (whole, key))


def _parts(graph: Graph, whole: Node, form, results: list) -> list:
    """The tensors of a nested result, by their numbers: nodes that take them out of ``whole``."""
    parts: list = [None] * len(results)
    for number, path in _paths(form):
        if results[number] is not None:
            parts[number] = functools.reduce(functools.partial(_item, graph), path, whole)
    return parts


def _paths(form, path: tuple = ()) -> Iterator[tuple[int, tuple]]:
    """``(number of a tensor, keys that lead to it)``."""
    kind, content = structure.kind_of(form)
    if kind == "tensor":
        yield content, path
    elif kind == "node":
        raise ValueError(f"unflatten(): a module that returns a {content} cannot keep its call signature")
    elif kind != "value":
        entries = [v for _, v in form["fields"]] if kind == "namedtuple" else content
        for key, inner in entries if kind in ("dict", "ordered") else enumerate(entries):
            yield from _paths(inner, (*path, key))


__all__ = ["InterpreterModule", "UnflattenedModule", "unflatten"]
