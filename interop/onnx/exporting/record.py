"""One graph that holds at all sizes, from recordings of the model at several.

A recording computes nothing, so it costs little whatever the sizes. The first family of sizes at which the model can be
recorded and the recordings agree is taken; a family that does not tell all sizes apart is named in a warning.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from jtorch import debug
from jtorch.compiler import exporting

from ..errors import OnnxExporterError
from .builder import Symbol, Value
from .dims import Varying, merge, same_constant
from .inputs import Inputs, Symbolic

#: Sizes of one symbol to record at, ``n`` being the example's, and what is known if only these work.
_FAMILIES = (
    (lambda n: (n, n + 1, n + 2, 2 * n + 1, 3 * n + 2, n + 1013), None),
    (lambda n: (n, n + 1, n + 2, 2 * n + 1, 3 * n + 2), "{low} to {high}"),
    (lambda n: tuple(n * k for k in (1, 2, 3, 5, 128)), "multiples of {low}"),
    (lambda n: tuple(n * k for k in (1, 2, 3, 5)), "multiples of {low} up to {high}"),
    (lambda n: (n, n - 1, n - 2, n // 2, n // 2 + 1, n // 3), "{low} to {high}"),
    (lambda n: (n - 1, n - 2, n // 2, n // 2 + 1, n // 3), "{low} to {high}"),  # n may be the end of a table
    (lambda n: (n + 1, n + 2, n + 3, 2 * n + 1, 3 * n + 2, n + 1013), None),  # n may be a special case
)


@dataclass
class Step:
    """A node of the merged graph, in the terms translations use."""

    name: str
    op: object
    operands: dict
    statics: dict
    outputs: tuple
    promoted: object
    line: str
    slots: tuple[int, ...]


@dataclass
class Merged:
    """What :func:`record` returns: operands are ``("slot", slot)`` or numbers."""

    steps: list[Step]
    inputs: list[Value]
    input_slots: list[int]
    outputs: list[tuple[int, object, tuple]]  # (slot, dtype, shape)
    names: dict[int, str]
    constants: dict[int, object]
    other_sizes: list[list[tuple[int, ...]]]  # shapes of the inputs, for trying the result out


def record(model, inputs: Inputs, names, dynamic: list[dict[int, Symbolic]], named) -> Merged:
    """The model's operations from ``inputs``, whose sizes ``dynamic`` vary.

    Raises:
        OnnxExporterError: the model cannot be recorded, or does different things at different sizes.
    """
    symbols = list({id(s): s for axes in dynamic for s in axes.values()}.values())
    recorded: dict[tuple, object] = {}

    def graphs(points):
        for point in points:
            key = tuple(point.values())
            if key not in recorded or not symbols:
                recorded[key] = _graph(model, inputs, dynamic, point, named)
            yield recorded[key]

    def merged(points) -> Merged:
        return _merge(list(graphs(points)), points, inputs, names, dynamic)

    try:
        start = {id(s): s.size if s.allows(s.size) else max(s.low, 3) for s in symbols}
        if not symbols:
            return merged([{}, {}])  # twice, so that whatever is drawn at random shows
        sizes = {}
        for s in symbols:
            sizes[id(s)] = _sizes(s, start, merged)
            start[id(s)] = sizes[id(s)][0]
        points = [start] + [{**start, key: n} for key, own in sizes.items() for n in own[1:]]
        if len(symbols) > 1:  # and all of them at once
            points.append({key: own[1 + i % 2] for i, (key, own) in enumerate(sizes.items())})
        return merged(points)
    except OnnxExporterError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise OnnxExporterError(f"the model cannot be recorded: {error}") from error


def _sizes(symbol: Symbolic, start: dict[int, int], merged) -> list[int]:
    """Sizes of ``symbol``, the others at their start, at which the model is found to do the same."""
    first: Exception | None = None
    n = start[id(symbol)]
    for family, meaning in _FAMILIES:
        own = [k for k in dict.fromkeys(family(n)) if symbol.allows(k)]
        if symbol.high is not None:
            own += [k for k in (n, symbol.high, symbol.low, symbol.high - 1) if symbol.allows(k) and k not in own]
        if len(own) < 3:
            continue
        try:
            merged([{**start, id(symbol): k} for k in own])
        except (OnnxExporterError, RuntimeError, ValueError, IndexError, TypeError) as error:
            first = first or error
            continue
        if meaning is not None and symbol.high is None:
            found = meaning.format(low=min(own), high=max(own))
            warnings.warn(
                f"the dynamic size {symbol.name!r} was found to work for {found}; "
                f"the exported graph may fail or be wrong at others (where recording says: {first})",
                stacklevel=6,
            )
        return own
    if first is None:
        raise OnnxExporterError(
            f"the bounds of the dynamic size {symbol.name!r}, {symbol.low} to {symbol.high}, leave too few sizes to "
            "record at: three are needed"
        )
    raise first


def _shapes(inputs: Inputs, dynamic, point) -> list[tuple[int, ...]]:
    return [
        tuple(point[id(axes[d])] if d in axes else n for d, n in enumerate(t.shape))
        for t, axes in zip(inputs.tensors, dynamic, strict=True)
    ]


def _graph(model, inputs: Inputs, dynamic, point, named):
    tensors = inputs.at(_shapes(inputs, dynamic, point))
    with exporting():  # models that look at values leave that out when they are exported
        return debug.graph(lambda *given: inputs.call(model, given), tensors, named)


def _merge(graphs, points, inputs: Inputs, names, dynamic) -> Merged:
    lives = [g.live() for g in graphs]
    base, nodes = graphs[0], lives[0]
    for live in lives:
        for a, b in zip(nodes, live, strict=False):
            if a.name != b.name:
                raise OnnxExporterError(
                    f"the model does not do the same at all sizes: {a.name} (at {a.line}) becomes {b.name} "
                    f"(at {b.line})"
                )
        if len(live) != len(nodes):
            raise OnnxExporterError("the model calls more operations at some sizes than at others")
    # slots may differ between recordings where operations that nobody needs do: count live results and used leaves
    places = [_places(g, live) for g, live in zip(graphs, lives, strict=True)]
    constants, leaf_names = {}, {}
    for slot, place in places[0].items():
        if slot >= 0 or slot in {r.slot for r in base.inputs}:
            continue
        others = [next((s for s, p in where.items() if p == place), None) for where in places[1:]]
        named = {base.names.get(slot), *(g.names.get(s) for g, s in zip(graphs[1:], others, strict=True))}
        if named == {None}:
            array = base.constant(slot)
            for g, s in zip(graphs[1:], others, strict=True):
                if g.leaves[-1 - s] is not base.leaves[-1 - slot] and not same_constant(array, g.constant(s)):
                    raise OnnxExporterError(
                        "a tensor that the model makes while it runs differs from call to call: it is drawn at random, "
                        "or depends on the dynamic sizes through Python numbers. Random numbers "
                        "(dropout in training mode) cannot be exported; "
                        "compute with tensor operations (jtorch.arange, x.shape) instead of Python lists"
                    )
        elif len(named) > 1:
            raise OnnxExporterError(
                f"the model reads different parameters at different sizes: {sorted(map(str, named))}"
            )
        else:
            leaf_names[slot] = base.names[slot]
        constants[slot] = base.constant(slot)

    def value_of(parts, where: str):
        first = parts[0]
        if isinstance(first, tuple):
            return tuple(value_of(inner, where) for inner in zip(*parts, strict=True))
        if hasattr(first, "slot"):
            if len({places[k][p.slot] for k, p in enumerate(parts)}) != 1:
                raise OnnxExporterError(f"{where} takes different tensors at different sizes")
            return Value(f"%{first.slot}", first.aval.dtype, merge([tuple(p.aval.shape) for p in parts], where))
        return merge(parts, where)

    steps = []
    for several in zip(*lives, strict=True):
        node = several[0]
        where = f"{node.name}, called at {node.line},"
        operands = {k: value_of([n.operands[k] for n in several], where) for k in node.operands}
        statics = {k: merge([n.statics[k] for n in several], where) for k in node.statics}
        for k, v in statics.items():
            if _varies(v) and k not in _SIZES and (node.name, k) != ("tile", "dims"):
                raise OnnxExporterError(f"{where} is given another {k} at other sizes: {v!r}")
        outputs = tuple(
            Value(f"%{refs[0].slot}", refs[0].aval.dtype, merge([tuple(r.aval.shape) for r in refs], where))
            for refs in zip(*(n.outputs for n in several), strict=True)
        )
        steps.append(Step(node.name, node.op, operands, statics, outputs, node.promoted, node.line,
                          tuple(r.slot for r in node.outputs)))  # fmt: skip
    given = []
    for i, ref in enumerate(base.inputs):
        shape = [
            Symbol(dynamic[i][d].name, [p[id(dynamic[i][d])] for p in points]) if d in dynamic[i] else n
            for d, n in enumerate(ref.aval.shape)
        ]
        given.append(Value(names[i], ref.aval.dtype, shape))
    outputs = [
        (r.slot, r.aval.dtype, merge([tuple(g.outputs[i].aval.shape) for g in graphs], f"output {i}"))
        for i, r in enumerate(base.outputs)
    ]
    others = [_shapes(inputs, dynamic, points[1 if len(dynamic_names(dynamic)) == 1 else -1])] if points[0] else []
    return Merged(steps, given, [r.slot for r in base.inputs], outputs, leaf_names, constants, others)


def dynamic_names(dynamic) -> set[str]:
    """The names of all dynamic sizes."""
    return {s.name for axes in dynamic for s in axes.values()}


#: Attributes that say how large something is, and may follow the dynamic sizes; all others choose what is computed.
_SIZES = frozenset(
    ("size", "sizes", "shape", "length", "lengths", "repeats", "pad", "k", "n", "m", "num_classes", "output_size")
)


def _varies(x) -> bool:
    return any(map(_varies, x)) if isinstance(x, tuple) else isinstance(x, Varying)


def _places(graph, live) -> dict[int, tuple]:
    """Slot -> where it stands, in terms that do not depend on operations nobody needs."""
    places: dict[int, tuple] = {r.slot: ("input", i) for i, r in enumerate(graph.inputs)}
    leaves = 0

    def visit(x):
        nonlocal leaves
        if isinstance(x, tuple):
            for y in x:
                visit(y)
        elif hasattr(x, "slot") and x.slot < 0 and x.slot not in places:
            places[x.slot] = ("leaf", leaves)
            leaves += 1

    for k, node in enumerate(live):
        for x in node.operands.values():
            visit(x)
        for j, r in enumerate(node.outputs):
            places[r.slot] = ("node", k, j)
    for r in graph.outputs:
        visit(r)
    return places
