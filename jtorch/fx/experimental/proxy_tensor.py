"""``torch.fx.experimental.proxy_tensor``: functions as graphs of the operations that they call."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable

import jtorch

from ... import debug
from ...export.calls import Calls
from ...export.draws import Drawn, taken
from ...export.graph import Built
from ...nn.parameter import Parameter
from ...tape import modes
from ...tensor import Tensor, dispatch
from ...trace import capture
from ...trace.capture import Log
from ...trace.recorder import open_traces
from ...utils._pytree import tree_flatten, tree_map_only, tree_unflatten
from ..graph import Graph
from ..graph_module import GraphModule
from ..node import Node
from ..pytree_codegen import _PyTreeCodeGen, _PyTreeInfo


def get_proxy_mode() -> None:
    """None: :func:`make_fx` records what runs, no mode is in force meanwhile."""


def make_fx(
    f: Callable, decomposition_table: dict | None = None, tracing_mode: str = "real",
    _allow_non_fake_inputs: bool = False, *, pre_dispatch: bool = False, record_module_stack: bool = False,
) -> Callable[..., GraphModule]:  # fmt: skip
    """A function that records ``f(*args)`` as a GraphModule of ATen operations, without running it.

    The graph is what jtorch records, which is functional: writes and views are operations that return new tensors, and
    what ``f`` writes to its arguments is copied there at the end. Operations have their ATen names where ATen has them
    with these arguments, and are not taken apart (``linear`` stays ``linear``); else they are ``torch.ops.jtorch``'s.
    Derivatives, operations together with what their derivatives need, and functions that ``vmap`` mapped are called
    ``recorded_…``, for the shapes that were traced. Numbers among the arguments are fixed; tensors from outside are
    attributes of the module.

    Args:
        tracing_mode: ``"real"`` or ``"fake"``, which are the same here.
        pre_dispatch, record_module_stack: without effect.

    Raises:
        RuntimeError: ``f`` reads a value of a tensor, draws random numbers on another device than the CPU, or writes to
            a tensor from outside.
        NotImplementedError: sizes are to stay open, or an operation is to be decomposed.
    """
    if tracing_mode not in ("real", "fake", "symbolic"):
        raise AssertionError(f"tracing_mode must be real/fake/symbolic, got {tracing_mode}")
    if tracing_mode == "symbolic":
        raise NotImplementedError(
            "make_fx(tracing_mode='symbolic'): the sizes of a graph made here are numbers; torch.export.export of a "
            "module, with dynamic_shapes, makes a program whose sizes are open"
        )

    def traced(*args) -> GraphModule:
        made = _Made(f, args)
        table = decomposition_table or {}
        for node in made.module.graph.nodes:
            if node.op == "call_function" and node.target in table:
                raise NotImplementedError(
                    f"make_fx: decomposition_table has {node.target}, but recorded operations are not taken apart; "
                    "leave it out of the table, or replace the node with torch.fx.replace_pattern"
                )
        return made.module

    return traced


class _Made:
    """One recording of ``f(*args)``; ``module`` is the result."""

    def __init__(self, f: Callable, args: tuple):
        self.f = f
        self.labels = _names(f, args)
        self.leaves, self.in_spec = tree_flatten(args)
        self.nested = any(tree_flatten(x)[1] != tree_flatten(0)[1] for x in args)
        self.tensors = [x for x in self.leaves if isinstance(x, Tensor)]
        self.log, self.parameters = Log(hold=True), {}
        grad = modes.state.grad
        recorded = debug.graph(lambda *given: self._run(given, grad), [t.detach() for t in self.tensors])
        if self.log.refusal is not None:
            raise RuntimeError(f"make_fx: {self.log.refusal}; a graph cannot depend on it")
        recorded, draws = taken(recorded, self.log)
        names = [f"arg{i}" for i in range(len(self.tensors))]
        self.built = Built(
            [recorded], [], (), [], names, [], [], [names[i] for i in self.mutated], Calls(None),
            [Drawn(*d).arguments({}) for d in draws], [used for _, used in draws],
        )  # fmt: skip
        self.module = self._module()

    def _run(self, given: tuple, grad: bool) -> list[Tensor]:
        for t, original in zip(given, self.tensors, strict=True):
            t.requires_grad_(original.requires_grad)
        before = [t._value() for t in given]
        replaced = iter(given)
        args = tree_unflatten([next(replaced) if isinstance(x, Tensor) else x for x in self.leaves], self.in_spec)
        dispatch.interceptors.append(self._note)
        try:
            with capture.watching(self.log), modes.set_grad_enabled(grad):
                result = self.f(*args)
        finally:
            dispatch.interceptors.remove(self._note)
        self.mutated = [i for i, (t, v) in enumerate(zip(given, before, strict=True)) if t._value() is not v]
        self._refuse_writes({id(t._storage) for t in given})
        self.results, self.out_spec = tree_flatten(result)
        return [*(x for x in self.results if isinstance(x, Tensor)), *(given[i] for i in self.mutated)]

    def _note(self, op, operands, statics):
        tree_map_only(Parameter, lambda p: self.parameters.setdefault(id(p._value()), p), operands)
        return operands, statics

    def _refuse_writes(self, allowed: set[int]) -> None:
        trace = next(iter(open_traces().values()))
        made = {id(v) for v in self.log.made}
        for storage, before in trace.written:
            value = trace.leaves[-1 - before] if isinstance(before, int) else before
            outside = value is not None and (value.trace is not trace or value.slot < 0) and id(value) not in made
            if storage is not None and id(storage) not in allowed and outside:
                raise RuntimeError(
                    "make_fx: the function writes to a tensor that is not among its arguments (a running statistic, a "
                    "buffer); pass it in, for a module by torch.func.functional_call, or put it in evaluation mode"
                )

    def _module(self) -> GraphModule:
        flat, graph, env, root = self.built.module.graph, Graph(), {}, jtorch.nn.Module()
        places = iter([n for n in flat.nodes if n.op == "placeholder" and n.target not in self.built.constants])
        placeholders = []
        for label, x in zip(self.labels, self.leaves, strict=True):
            placed = graph.placeholder(label)
            if isinstance(x, Tensor):
                node = next(places)
                env[node] = placed
                placed.meta.update(node.meta)
                placeholders.append(placed)

        def here(node: Node) -> Node:
            if node not in env:
                t = self._constant(node.target)
                kind = "param" if isinstance(t, Parameter) else "tensor"
                names = (f"_{kind}_constant{i}" for i in itertools.count())
                name = next(name for name in names if not hasattr(root, name))
                setattr(root, name, t)
                env[node] = graph.get_attr(name)
            return env[node]

        for node in flat.nodes:
            if node.op == "call_function":
                env[node] = graph.node_copy(node, here)
        (found,) = next(n for n in flat.nodes if n.op == "output").args
        news, values = found[: len(self.mutated)], iter(found[len(self.mutated) :])
        result = [here(next(values)) if isinstance(x, Tensor) else x for x in self.results]
        for i, new in zip(self.mutated, news, strict=True):
            graph.call_function(jtorch.ops.aten.copy_.default, (placeholders[i], here(new)))
        if self.nested:
            names = _parameters(self.f, len(self.in_spec.children))
            graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(names, self.in_spec, self.out_spec)))
            graph.output(result)
        else:
            graph.output(tree_unflatten(result, self.out_spec))
        return GraphModule(root, graph, getattr(self.f, "__name__", type(self.f).__name__))

    def _constant(self, name: str) -> Tensor:
        """The tensor from outside that a placeholder of the flat graph stands for."""
        t = self.built.constants[name]
        return self.parameters.get(id(t._value()), t)


def _parameters(f: Callable, count: int) -> list[str]:
    """What ``count`` positional arguments are called.

    Raises:
        RuntimeError: ``f`` takes another number of them.
    """
    unnamed = [f"arg{i}" for i in range(count)]
    if isinstance(f, jtorch.nn.Module):
        return unnamed
    try:
        found = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # a function that does not say
        return unnamed
    if any(p.kind is p.VAR_POSITIONAL for p in found):
        return unnamed
    named = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(named) != count:
        raise RuntimeError(f"Tracing expected {len(named)} arguments but got {count} concrete arguments")
    return named


def _names(f: Callable, args: tuple) -> list[str]:
    """What the placeholders are called: one for each leaf of the arguments."""
    labels = zip(_parameters(f, len(args)), args, strict=True)
    return [f"{name}_{i + 1}" for name, x in labels for i in range(len(tree_flatten(x)[0]))]


__all__ = ["get_proxy_mode", "make_fx"]
