"""The FX graph of an exported program: the operations that were recorded, by their ATen names where they have one.

The program itself is StableHLO; this is what it was made from, to be read, printed and run operation by operation.
Sizes that were left open are read from the inputs by ``sym_size`` nodes.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import linecache
import operator

import jtorch

from ..tensor import Tensor
from ..tensor.dispatch import wrap
from ..trace.graph import Node as Recorded
from ..trace.graph import Ref
from ..trace.replay import Fitted, solver
from ..trace.replay import _number as as_array
from .draws import draw
from .signature import flat

#: overloads of operations whose other operand is a tensor, or a number that is made one
_TENSOR = frozenset(
    """add sub mul div rsub floor_divide remainder fmod true_divide bitwise_and bitwise_or bitwise_xor split
    masked_select""".split()
)
_COMPARISONS = frozenset("eq ne lt le gt ge".split())
_INT = frozenset("transpose select softmax log_softmax unbind size unflatten".split())
_OVER_DIMS = {"sum": "dim_IntList", "mean": "dim", "amax": "default", "amin": "default", "max": "dim", "min": "dim",
              "any": "dim", "all": "dim", "prod": "dim_int", "std": "correction", "var": "correction"}  # fmt: skip


def _overload(name: str, values: dict) -> str:
    def tensor(operand):
        return isinstance(values.get(operand), Ref)

    if name in _TENSOR:
        return "Tensor"
    if name in _COMPARISONS:
        return "Tensor" if tensor("other") else "Scalar"
    if name == "pow":
        return ("Tensor_" if tensor("input") else "") + ("Tensor" if tensor("exponent") else "Scalar")
    if name in _INT:
        return "int"
    if name in _OVER_DIMS:
        return "default" if values.get("dim") is None else _OVER_DIMS[name]
    if name == "masked_fill":
        return "Tensor" if tensor("value") else "Scalar"
    return "self" if name == "where" else "default"


#: Operations that are recorded in a form of our own: their ATen name, and its arguments
_SPELLED = {
    "view": lambda v: ("view.default", (v["input"], list(v["size"]))),
    "reshape": lambda v: ("reshape.default", (v["input"], list(v["shape"]))),
    "repeat": lambda v: ("repeat.default", (v["input"], list(v["repeats"]))),
    "alias": lambda v: ("alias.default", (v["input"],)),
    "_stopped": lambda v: ("detach.default", (v["input"],)),
    "slice": lambda v: (
        "slice.Tensor",
        (v["input"], v["dim"], v["start"], v["start"] + v["length"] * v["step"], v["step"]),
    ),
    "_softmax": lambda v: ("softmax.int", (v["input"], v["dim"], v["dtype"])),
    "_log_softmax": lambda v: ("log_softmax.int", (v["input"], v["dim"], v["dtype"])),
    "_batch_norm_eval": lambda v: (
        "batch_norm.default",
        (v["input"], v["weight"], v["bias"], v["running_mean"], v["running_var"], False, 0.1, v["eps"], False),
    ),
    "_embedding": lambda v: ("embedding.default", (v["weight"], v["input"])),
    "to_dtype": lambda v: ("to.dtype", (v["input"], v["dtype"])),
    "full": lambda v: ("full.default", (list(v["size"]), v["value"]), {"dtype": v["dtype"]}),
}


@functools.lru_cache(None)
def _parameters(name: str) -> tuple[str, ...] | None:
    """What the public function of an ATen name takes; None without one."""
    try:
        return tuple(inspect.signature(getattr(jtorch.ops.aten, name)._function).parameters)
    except (AttributeError, TypeError, ValueError):
        return None


def _spelled(node: Recorded, values: dict) -> tuple:
    """``(target, args, kwargs)`` of an operation."""
    name = node.op.name
    if name in _SPELLED:
        spelled, args, *kwargs = _SPELLED[name](values)
        packet, overload = spelled.split(".")
        return getattr(getattr(jtorch.ops.aten, packet), overload), args, kwargs[0] if kwargs else {}
    plain = name.split(".")[0]
    own = [p.name for p in node.op.parameters]
    if name[0] == "_" or (_parameters(plain) or ())[: len(own)] != tuple(own):
        target = getattr(jtorch.ops.jtorch, name.replace(".", "_")).default
        operands = [values[n] for n in node.op.operand_names]
        return target, tuple(operands), {n: values[n] for n in node.op.static_names}
    args, kwargs, by_name = [], {}, False
    for p in node.op.parameters:
        x = values[p.name]
        if x is None and (p.default is None or p.default is inspect.Parameter.empty) or x is p.default or (
            x.__class__ is p.default.__class__ and not isinstance(x, Ref) and x == p.default
        ):  # fmt: skip
            by_name = True  # what follows
        elif by_name or p.keyword_only:
            kwargs[p.name], by_name = x, True
        else:
            args.append(x)
    return getattr(getattr(jtorch.ops.aten, plain), _overload(plain, values)), tuple(args), kwargs


class Derived:
    """A part of a derivative, an operation that returns what its derivative needs as well, or a function that ``vmap``
    mapped: as it was recorded, for operands of those shapes. There is no public name for it."""

    __module__ = "recorded"

    def __init__(self, call):
        self._call, self._function = call, None
        self.__name__ = call.name.replace(".", "_") + ("_and_saved" if call.op and call.derivative else "")

    def __call__(self, *operands):
        """The results, as a tuple."""
        if self._function is None:
            self._function = jtorch.jax_function(self._run)
        return self._function(*operands)

    def _run(self, *arrays):
        with self._call.lowering():
            out = self._call.fn(*(a if hasattr(a, "dtype") else as_array(a) for a in arrays))
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)


def _flat(operands) -> tuple:
    """Operands as the call takes them: those of a list one by one, without those that are not given."""
    several = (x if isinstance(x, tuple) else (x,) for x in operands)
    return tuple(x for x in itertools.chain.from_iterable(several) if x is not None)


class Built:
    """A GraphModule and the names of its inputs and results.

    Attributes:
        module: takes parameters, buffers, constants and the caller's tensors, in this order, and returns a tuple of
            the new values of ``buffers_to_mutate`` and the results.
        constants: ``{input: tensor}``, what the function made of Python numbers and arrays.
        mutations: ``(result, buffer or input)``, as in ``changed``.
        results: of the caller.
        nodes: of the graph, by the slots of the recording; those that nothing uses are no longer in it.
        calls: the :class:`.calls.Calls` of the recording.
    """

    def __init__(
        self,
        graphs: list,
        dims: list,
        symbols,
        offsets: list,
        names: list[str],
        parameters,
        buffers,
        changed,
        calls,
        draws: list = (),
        used: list[bool] = (),
    ):
        self._graph = jtorch.fx.Graph()
        recorded = graphs[0]
        self.calls = calls
        self._numbers = {id(node): i for i, node in enumerate(recorded.nodes)}
        self._open = _Open(graphs, tuple(s - o if o else s for s, o in zip(symbols, offsets, strict=True)))
        self.nodes: dict[int, object] = {}
        self.constants: dict[str, Tensor] = {}
        slots = {name: slot for slot, name in recorded.names.items()}
        for prefix, several in (("p", parameters), ("b", buffers)):
            for name in several:
                slot = slots.get(name)
                aval = None if slot is None else recorded.leaves[-1 - slot].aval
                node = self._input(f"{prefix}_{flat(name)}", aval and [aval])
                if slot is not None:
                    self.nodes[slot] = node
        lives = [g.live() for g in graphs]
        #: the slots that operations and results read
        self._read = {x.slot for n in lives[0] for x in _flat(n.operands.values()) if isinstance(x, Ref)}
        self._read.update(r.slot for r in recorded.outputs)
        known = {*self.nodes, *(r.slot for r in recorded.inputs)}
        for slot in _leaves(lives[0], recorded.outputs):
            if slot not in known:
                name = f"c_lifted_tensor_{len(self.constants)}"
                self.constants[name] = wrap(recorded.leaves[-1 - slot])
                self.nodes[slot] = self._input(name, [recorded.leaves[-1 - slot].aval])
        for name, *refs in zip(names, *(g.inputs[: len(names)] for g in graphs), strict=True):
            self.nodes[refs[0].slot] = self._input(flat(name), [r.aval for r in refs])
        self._sizes: dict[tuple, object] = {}
        self._places = [self._size(*place, symbol) for place, symbol in zip(dims, symbols, strict=True)]
        sizes = [Polynomial.of(i) for i in range(len(dims))]
        slots = iter(recorded.inputs[len(names) :])
        self._draws = {next(slots).slot if u else ("unused", i): d for i, (d, u) in
                       enumerate(zip(draws, used, strict=True))}  # fmt: skip
        fitted = Fitted(graphs, tuple(s - o if o else s for s, o in zip(sizes, offsets, strict=True)))
        for (_, operands, statics), *nodes in zip(fitted.steps, *lives, strict=True):
            self._call(nodes, {**operands, **statics})
        results = [self._node(r.slot, {}) for r in recorded.outputs]
        for further in [*self._draws]:
            self._drawn(further, {})
        count = len(results) - len(changed)
        results = results[count:] + results[:count]
        self._graph.output(tuple(results))
        jtorch.fx.node.has_side_effect(draw)  # even where the numbers are not used
        self._graph.eliminate_dead_code()
        self.results = tuple(r.name for r in results[len(changed) :])
        self.mutations = [(r.name, name) for r, name in zip(results, changed, strict=False)]
        self.module = jtorch.fx.GraphModule(jtorch.nn.Module(), self._graph)

    def _input(self, name: str, avals: list | None):
        node = self._graph.placeholder(name)
        if avals is not None:
            node.meta.update(self._open.meta(avals))
        return node

    def _size(self, slot: int, dim: int, derived, symbol):
        """The node of an input's size, or of what it is derived from."""
        node = self._graph.call_function(jtorch.ops.aten.sym_size.int, (self.nodes[slot], dim))
        if derived is not None:
            return ((jtorch.fx.Proxy(node) - derived.offset) // derived.factor).node
        node.meta["size"] = symbol
        return node

    def _written_out(self, number: Polynomial, where: dict):
        """A number that depends on open sizes, in nodes that belong to the calls of ``where``."""
        key = number, tuple(where.get("nn_module_stack", ()))
        if key not in self._sizes:
            last = next(iter(reversed(self._graph.nodes)))
            made = number.at([jtorch.fx.Proxy(node) for node in self._places])
            self._sizes[key] = made.node if isinstance(made, jtorch.fx.Proxy) else made
            for node in itertools.takewhile(lambda n: n is not last, reversed(self._graph.nodes)):
                node.meta.update(where)
        return self._sizes[key]

    def _call(self, nodes: list[Recorded], values: dict) -> None:
        """One operation, as it was recorded at each of the sizes."""
        node, outputs = nodes[0], list(zip(*(n.outputs for n in nodes), strict=True))
        known = len(node.call.derivative[0].call.out_avals) if node.call.derivative else len(outputs)
        own = node.op is not None and node.op.name.replace(".", "_") in jtorch._ops.recorded()
        if not own or any(refs[0].slot in self._read for refs in outputs[known:]):
            target, args, kwargs = Derived(node.call), _flat(node.operands.values()), {}
            name, several = target.__name__, True
        else:
            outputs = outputs[:known]
            target, args, kwargs = _spelled(node, values)
            name, several = target.overloadpacket.__name__, len(outputs) > 1 or bool(node.op.returns)
        where = {
            "stack_trace": _origin(nodes[0].line),
            "nn_module_stack": self.calls.stack(self._numbers[id(nodes[0])]),
        }
        args, kwargs = self._arguments(args, where), self._arguments(kwargs, where)
        made = self._graph.call_function(target, args, kwargs, name=name)
        made.meta.update(where)
        metas = [self._open.meta([r.aval for r in refs]) for refs in outputs]
        if not several:
            made.meta.update(metas[0])
            self.nodes[outputs[0][0].slot] = made
            return
        for i, (refs, meta) in enumerate(zip(outputs, metas, strict=True)):
            part = self._graph.call_function(operator.getitem, (made, i))
            part.meta.update(where | meta)
            self.nodes[refs[0].slot] = part

    def _node(self, slot: int, where: dict):
        """The node of a slot. Random numbers are drawn where they are first used, in the order of the recording."""
        while slot in self._draws:
            self._drawn(next(iter(self._draws)), where)
        return self.nodes[slot]

    def _drawn(self, slot, where: dict) -> None:
        arguments = self._arguments(self._draws.pop(slot), where)
        self.nodes[slot] = self._graph.call_function(draw, arguments)
        self.nodes[slot].meta.update(where)

    def _arguments(self, x, where: dict):
        if isinstance(x, Ref):
            return self._node(x.slot, where)
        if isinstance(x, Polynomial):
            return self._written_out(x, where)
        if isinstance(x, dict):
            return {k: self._arguments(v, where) for k, v in x.items()}
        if isinstance(x, (tuple, list)):
            return type(x)([self._arguments(v, where) for v in x])
        return x


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """A whole number that depends on open sizes: ``(numbers of the sizes multiplied, factor)`` of each term."""

    terms: tuple[tuple[tuple[int, ...], int], ...]

    @staticmethod
    def of(number: int) -> Polynomial:
        """An open size by itself."""
        return Polynomial((((number,), 1),))

    def __add__(self, other) -> Polynomial:
        return _collected([*self.terms, *_terms(other)])

    def __sub__(self, other) -> Polynomial:
        return self + (-1 * other)

    def __mul__(self, other) -> Polynomial:
        return _collected([(tuple(sorted(a + b)), x * y) for a, x in self.terms for b, y in _terms(other)])

    __radd__, __rmul__ = __add__, __mul__

    def at(self, sizes: list):
        """The number where the open sizes are these (numbers, or Proxies)."""
        total = None
        for several, factor in self.terms:
            parts = [sizes[i] for i in several]
            parts = [factor, *parts] if factor != 1 or not parts else parts
            term = functools.reduce(operator.mul, parts)
            total = term if total is None else total + term
        return 0 if total is None else total


def _terms(x) -> tuple:
    return x.terms if isinstance(x, Polynomial) else (((), x),)


def _collected(terms: list) -> Polynomial:
    found: dict[tuple, int] = {}
    for several, factor in terms:
        found[several] = found.get(several, 0) + factor
    return Polynomial(tuple(sorted(((s, f) for s, f in found.items() if f), reverse=True)))


class _Open:
    """What nodes look like, with open sizes by name."""

    def __init__(self, graphs: list, symbols: tuple):
        self._symbols = symbols
        self._solve = solver(len(symbols)) if len(graphs) > 1 else None

    def meta(self, avals: list) -> dict:
        """Of a result whose shapes at the sizes that were recorded are given."""
        first = avals[0]
        if all(a.shape == first.shape for a in avals):
            return {"val": jtorch.empty(first.shape, dtype=first.dtype, device="meta")}
        shape = [
            sizes[0] if len(set(sizes)) == 1 else self._solve(list(sizes), self._symbols, "a result")
            for sizes in zip(*(a.shape for a in avals), strict=True)
        ]
        return {
            "tensor_meta": jtorch.fx.passes.shape_prop.TensorMetadata(
                tuple(shape), first.dtype, False, (), None, False, {}
            )
        }


def _origin(where: str) -> str:
    """``file:line`` as a line of a traceback."""
    file, _, line = where.rpartition(":")
    code = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
    return f'File "{file}", line {line}, in forward\n    {code}'


def _leaves(nodes, outputs) -> list[int]:
    """The leaves that nodes and results read, in order."""
    found: dict[int, None] = {}

    def visit(x):
        if isinstance(x, (tuple, list)):
            for y in x:
                visit(y)
        elif isinstance(x, Ref) and x.slot < 0:
            found.setdefault(x.slot)

    for node in nodes:
        visit(tuple(node.operands.values()))
    visit(outputs)
    return list(found)


__all__ = ["Built"]
