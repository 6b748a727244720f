"""``torch.fx``: graphs that are changed, run and split do what PyTorch's do; errors are as PyTorch's."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import operator
import typing

import pytest

from .both import Table, check, check_raises, part

table = Table()  # programs that return results


_WRAPPED = """
import math
from math import floor

def mine(x, n=1):
    return x * n if x.sum() > 0 else x

@fx.wrap
def decorated(x):
    return len(x)

fx.wrap("mine")
fx.wrap("len")

def forward(x):
    return mine(x, n=2) + decorated(x) + len(x) + math.sqrt(x.size(0)) + floor(x.size(0)), len([1, 2])
"""


@table
def wrapped_functions(torch):
    place = {"torch": torch, "fx": part(torch, "fx"), "__name__": "program"}
    exec(_WRAPPED, place)
    gm = place["fx"].symbolic_trace(place["forward"])
    assert place["len"] is len if "len" in place else True
    return [gm.code, str(gm.graph), gm(torch.ones(4)), place["forward"](torch.ones(4)), place["mine"].__name__]


# --- changing graphs


@table
def surgery(torch):
    fx = part(torch, "fx")
    gm = fx.symbolic_trace(lambda x, y: torch.relu(x) + torch.relu(y) * 2)
    said = []
    for node in gm.graph.nodes:
        if node.op == "call_function" and node.target is torch.relu:
            with gm.graph.inserting_after(node):
                new = gm.graph.call_function(torch.nn.functional.gelu, node.args)
            said.append([str(n) for n in node.replace_all_uses_with(new)])
            gm.graph.erase_node(node)
    gm.graph.lint()
    before = gm.code
    gm.recompile()
    x = torch.linspace(-1, 1, 5)
    said += [before, gm.code, gm(x, x), len(gm.graph.nodes), [n.name for n in reversed(gm.graph.nodes)]]
    x_node, y_node, *_ = gm.graph.nodes
    multiply = gm.graph.find_nodes(op="call_function", target=operator.mul)[0]
    multiply.update_arg(1, 3)
    multiply.insert_arg(0, y_node)
    multiply.args = multiply.args[1:]
    multiply.replace_input_with(multiply.args[0], x_node)
    multiply.prepend(x_node.next.next)
    gm.graph.output_node().args = ({"a": multiply, "b": (x_node, [y_node])},)
    said += [str(gm.graph), multiply.all_input_nodes, x_node.users, multiply.format_node(), multiply.next.name]
    said += [gm.graph.eliminate_dead_code(), str(gm.graph), gm.graph.eliminate_dead_code(), x_node < y_node]
    gm.recompile()
    return [str(s) if isinstance(s, (list, dict)) else s for s in said] + [gm(x, x)["a"]]


@table
def by_hand(torch):
    fx, nn = part(torch, "fx"), torch.nn
    graph = fx.Graph()
    x = graph.placeholder("x", type_expr=torch.Tensor)
    n = graph.placeholder("n", default_value=2)
    w = graph.get_attr("a.weight")
    y = graph.call_module("a.linear", (x,))
    z = graph.call_method("mul", (y, n), {})
    names = [graph.create_node("call_function", f, (x, x), name=name).name for f, name in [
        (torch.relu, None), (torch.relu, None), (torch.relu, "relu"), (operator.and_, None), (getattr, None),
        (torch.sum, None), (torch.ops.aten.relu.default, None), (torch.relu, "in"),
    ]]  # fmt: skip
    names += [graph.call_method(n, (x,)).name for n in ("__getitem__", "float", "myName", "__and__")]
    graph.output([z, w])
    linear, weight = nn.Linear(2, 2), nn.Parameter(torch.ones(2))
    with torch.no_grad():
        linear.weight.fill_(1.0), linear.bias.fill_(0.5)
    text = graph.python_code("self").src
    for node in list(reversed(graph.nodes))[1:]:
        if not node.users and node.op != "placeholder":
            graph.erase_node(node)
    gm = fx.GraphModule({"a.linear": linear, "a.weight": weight}, graph, "Mine")
    copied = fx.Graph()
    values = {}
    copied.output(copied.graph_copy(graph, values))
    kinds = [type(gm).__name__, str(gm), gm.training, isinstance(gm, nn.Module), gm.graph.owning_module is gm]
    return [names, text, *gm(torch.ones(1, 2)), *kinds, str(copied), sorted(gm.state_dict()), fx.map_arg([z, 1], str)]


@table
def rewriting_with_proxies(torch):
    fx = part(torch, "fx")
    gm = fx.symbolic_trace(lambda x: torch.relu(torch.nn.functional.silu(x)) + 1)
    rules = {torch.relu: lambda x: (x > 0) * x, torch.nn.functional.silu: lambda x, **_: torch.sigmoid(x) * x}
    graph, env = fx.Graph(), {}
    for node in gm.graph.nodes:
        if node.op == "call_function" and node.target in rules:
            tracer = part(torch, "fx.proxy").GraphAppendingTracer(graph)
            args = [fx.Proxy(env[a.name], tracer) if isinstance(a, fx.Node) else a for a in node.args]
            env[node.name] = rules[node.target](*args, **node.kwargs).node
        else:
            env[node.name] = graph.node_copy(node, lambda n: env[n.name])
    made = fx.GraphModule(gm, graph)
    return [made.code, made(torch.linspace(-1, 1, 5))]


@table
def own_tracers(torch):
    fx, nn = part(torch, "fx"), torch.nn

    class Inner(nn.Module):
        def forward(self, x):
            return x.relu() if x.dim() > 1 else x

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = Inner(), nn.Linear(2, 2)

        def forward(self, x):
            return self.last(self.inner(x)) * self.last.weight.shape[0]

    seen = []

    class Mine(fx.Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            seen.append(module_qualified_name)
            return isinstance(m, Inner) or super().is_leaf_module(m, module_qualified_name)

        def create_node(self, *args, **kwargs):
            node = super().create_node(*args, **kwargs)
            node.meta["mine"] = node.op
            return node

    model = Model()
    graph = Mine(param_shapes_constant=True).trace(model)
    stacks = [[k for k in n.meta.get("nn_module_stack", {})] for n in graph.nodes]
    gm = fx.GraphModule(model, graph)
    return [seen, str(graph), [n.meta["mine"] for n in graph.nodes], stacks, gm(torch.ones(1, 2)).shape == (1, 2)]


@table
def interpreting(torch):
    fx = part(torch, "fx")
    gm = fx.symbolic_trace(lambda x, y=2: torch.sigmoid(x.neg()) + y)
    x = torch.linspace(-1, 1, 5)

    class Swapped(fx.Interpreter):
        def call_function(self, target, args, kwargs):
            return x * 10 if target is torch.sigmoid else super().call_function(target, args, kwargs)

        def call_method(self, target, args, kwargs):
            return args[0] if target == "neg" else super().call_method(target, args, kwargs)

    class Changed(fx.Transformer):
        def call_function(self, target, args, kwargs):
            if target is torch.sigmoid:
                return torch.tanh(*args, **kwargs)
            return super().call_function(target, args, kwargs)

        def call_method(self, target, args, kwargs):
            return self.tracer.create_proxy("call_method", "abs", args, kwargs)

    made = Changed(gm).transform()
    first = next(iter(gm.graph.nodes))
    known = fx.Interpreter(gm).run(3, initial_env={first: x})
    return [fx.Interpreter(gm).run(x), Swapped(gm).run(x, 1), made.code, made(x, 1), known,
            fx.Interpreter(gm).boxed_run([x, 3])]  # fmt: skip


@table
def replacing_patterns(torch):
    fx, rewriter = part(torch, "fx"), part(torch, "fx.subgraph_rewriter")

    def program(a, b):
        kept = torch.relu(a)
        return (torch.relu(a + 1) + b) + (torch.relu(b) + a) + torch.cat([a, b], dim=0) + (kept + b) * kept

    gm = fx.symbolic_trace(program)
    found = fx.replace_pattern(gm, lambda x, w: torch.relu(x) + w, lambda x, w: torch.sigmoid(x) * w)
    said = [[sorted((str(k), str(v)) for k, v in m.nodes_map.items()) for m in found], gm.code]
    fx.replace_pattern(gm, lambda x, y: torch.cat([x, y], dim=0), lambda x, y: torch.maximum(x, y))
    said += [gm.code, gm(torch.ones(2), torch.zeros(2))]
    chain = fx.symbolic_trace(lambda x: x.neg().neg().neg())
    fx.replace_pattern(chain, lambda x: x.neg().neg(), lambda x: x.abs())
    only = fx.symbolic_trace(lambda x: torch.add(x, 1) + torch.add(x, 2))
    done = rewriter.replace_pattern_with_filters(
        only, lambda x: torch.add(x, 1), lambda x: torch.mul(x, 5),
        match_filters=[lambda match, *_: True], ignore_literals=True,
    )  # fmt: skip
    return said + [chain.code, only.code, [[str(n) for n in d.replacements] for d in done]]


@table
def propagating_shapes(torch):
    fx, nn = part(torch, "fx"), torch.nn
    gm = fx.symbolic_trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()))
    part(torch, "fx.passes.shape_prop").ShapeProp(gm).propagate(torch.ones(2, 1, 4, 4))
    said = [[str(n.meta["tensor_meta"]), n.meta["type"].__name__] for n in gm.graph.nodes]
    return [said, gm.print_readable(print_output=False)]


@table
def fusing(torch):
    fx, nn = part(torch, "fx"), torch.nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.seq = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
            self.seq[1].running_mean.fill_(0.5)

        def forward(self, x):
            return self.seq(x)

    model = Model().eval()
    fused = part(torch, "fx.experimental.optimization").fuse(model)
    x = torch.linspace(0, 1, 16).reshape(1, 1, 4, 4)
    close = torch.allclose(model(x), fused(x), atol=1e-6)
    return [fused.code, sorted(fused.state_dict()), close, str(fx.symbolic_trace(model).graph)]


@table
def splitting(torch):
    fx, nn = part(torch, "fx"), torch.nn
    split = part(torch, "fx.passes.split_module").split_module

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.p = nn.Linear(2, 2), nn.Linear(2, 2), nn.Parameter(torch.ones(2))

        def forward(self, x, y=1):
            u = self.a(x)
            v = torch.relu(u) + self.p
            return self.b(v) + u, v * y

    model = Model()
    gm, paths, said = fx.symbolic_trace(model), {}, []
    numbers = {"b": 1, "add_1": 1, "mul": 2}
    for made in (
        split(gm, model, lambda n: numbers.get(n.name, 0), qualname_map=paths),
        split(gm, model, lambda n: n.name not in ("a", "relu"), partition_affix="q", tuple_return=True),
        split(gm, model, lambda n: n.name not in ("a", "relu"), keep_original_order=True,
              keep_original_node_name=True, keep_original_input_name=False),
    ):  # fmt: skip
        x = torch.ones(1, 2)
        said += [made.code, [(name, child.code) for name, child in made.named_children()], sorted(made.state_dict())]
        said.append(torch.allclose(made(x)[0], model(x)[0]))
    try:
        split(gm, model, lambda n: n.name not in ("a", "b"))
    except RuntimeError as error:
        said.append(str(error))
    return [*said, paths, gm.print_readable(print_output=False, expanded_def=True)]


@table
def own_modules(torch):
    fx, nn = part(torch, "fx"), torch.nn
    gm = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Sequential(nn.ReLU())))
    said = [gm.add_submodule("a.b.c", nn.Linear(1, 1)), [n for n, _ in gm.named_modules()]]
    said += [gm.delete_submodule("a.b.c"), gm.delete_submodule("nothing")]
    gm.delete_all_unused_submodules()
    return said + [[n for n, _ in gm.named_modules()]]


@table
def iterating(torch):
    fx = part(torch, "fx")

    def unpacked(x):
        (a, b), c = x
        return a + b + c

    class pair(typing.NamedTuple):
        a: int
        b: int

    return [fx.symbolic_trace(unpacked).code, fx.symbolic_trace(lambda x: pair(x, 1)).code,
            repr(fx.Proxy(fx.Graph().placeholder("x")))]  # fmt: skip


class Kind(enum.Enum):
    first = 1


@dataclasses.dataclass
class Both:
    a: int
    b: object


@table
def other_values(torch):
    fx = part(torch, "fx")

    class Pair(metaclass=fx.ProxyableClassMeta):
        def __init__(self, a, b):
            self.a, self.b = a, b

        def total(self):
            return self.a + self.b

    class Deciding(fx.Tracer):
        def to_bool(self, obj):
            return True

        def iter(self, obj):
            return iter([obj[0], obj[1]])

    def doubled(f):
        @functools.wraps(f)
        def wrapper(*args):
            return f(*args) * 2

        return wrapper

    said = [str(Deciding().trace(lambda x: [a for a in x] if x > 0 else 3))]
    said.append(fx.symbolic_trace(lambda x: (x.foo(Kind.first), x.bar(Both(1, x)))).code)
    said.append(fx.symbolic_trace(doubled(lambda x, y=2: x - y)).code)
    pairs = fx.symbolic_trace(lambda x, y: Pair(x, y).total() * Pair(torch.ones(1), 2.0).total())
    with part(torch, "fx.traceback").preserve_node_meta(), part(torch, "fx.traceback").annotate({"k": 1}):
        said.append([n.meta.get("custom") for n in fx.symbolic_trace(lambda x: x + 1).graph.nodes])
    relu = fx.symbolic_trace(lambda x: torch.nn.functional.relu(x)).graph.output_node().prev
    said.append(str(relu.normalized_arguments(None, normalize_to_only_use_kwargs=True)))
    return [*said, pairs.code, pairs(torch.ones(1), 1)]


@table
def trees_of_arguments(torch):
    fx = part(torch, "fx")
    gm = fx.symbolic_trace(lambda x, d: {"y": x + d["a"] + d["b"][0]}, {"d": {"a": fx.PH, "b": [fx.PH, 3]}})
    x, d = torch.ones(1), {"a": torch.ones(1), "b": [torch.ones(1) * 2, 3], "unused": 1}
    made = fx.Transformer(gm).transform()
    d_exact = {k: d[k] for k in ("a", "b")}
    said = [gm(x, d), fx.Interpreter(gm).run(x, d_exact), made.code, made(x, d), copy.deepcopy(gm)(x, d)]
    for wrong, error in (({"a": 1}, KeyError), ({"a": 1, "b": [1, 4]}, AssertionError)):
        with pytest.raises(error):
            gm(x, wrong)
    return said


@table
def generated_code_can_be_changed(torch):
    fx = part(torch, "fx")
    gm = fx.symbolic_trace(lambda x: x + 1)
    with gm.graph.on_generate_code(lambda before: lambda lines: ["x = x * 2\n", *lines]):
        gm.recompile()
    changed = gm.code, gm(torch.ones(1))
    gm.recompile()
    return [*changed, gm.code]


@pytest.mark.parametrize("name", table)
def test_programs(name):
    check(table[name])


# --- errors


def trace(fn):
    return lambda torch: part(torch, "fx").symbolic_trace(fn)


@pytest.mark.parametrize(
    "fn, error, words",
    [
        (lambda x: 1 if x > 0 else 2, ValueError, ["control flow"]),
        (lambda x: [a for a in x], ValueError, ["cannot be iterated"]),
        (lambda x: len(x), RuntimeError, ["'len' is not supported", "wrap"]),
        (lambda x: int(x), TypeError, ["int()"]),
        (lambda x: {1, 2}, NotImplementedError, ["argument of type", "set"]),
        (lambda x: {x: 1}, RuntimeError, ["Keys"]),
    ],
)
def test_untraceable(fn, error, words):
    check_raises(trace(fn), error, *words)


def test_errors_of_graphs():
    def graph(torch):
        g = part(torch, "fx").Graph()
        x = g.placeholder("x")
        return g, x, g.call_function(torch.relu, (x,))

    def foreign(torch):
        (g, _, _), (_, _, y) = graph(torch), graph(torch)
        g.call_method("abs", (y,))
        g.lint()

    def unordered(torch):
        g, x, y = graph(torch)
        x.prepend(y)
        g.lint()

    def mutated(torch):
        g, x, _ = graph(torch)
        g.call_function(torch.cat, ([x],)).args[0].append(x)

    def mixed(torch):
        (_, x, _), (_, y, _) = graph(torch), graph(torch)
        fx = part(torch, "fx")
        return torch.add(fx.Proxy(x), fx.Proxy(y))

    check_raises(lambda torch: graph(torch)[0].erase_node(graph(torch)[2].prev), RuntimeError, "1 users")
    check_raises(lambda torch: graph(torch)[0].inserting_before(graph(torch)[1]), AssertionError, "not in graph")
    check_raises(lambda torch: graph(torch)[0].create_node("nothing", "x"), AssertionError, "_legal_ops")
    check_raises(lambda torch: graph(torch)[0].create_node("call_function", "x"), ValueError, "Callable")
    check_raises(foreign, RuntimeError, "does not belong to this Graph")
    check_raises(unordered, RuntimeError, "before it has been defined")
    check_raises(mutated, TypeError, "does not support mutation")
    check_raises(mixed, RuntimeError, "multiple different tracers")
    check_raises(lambda torch: part(torch, "fx").wrap(3), RuntimeError, "callable or string")
    check_raises(lambda torch: part(torch, "fx").wrap("len"), NotImplementedError, "top level")
    check_raises(
        lambda torch: part(torch, "fx").Interpreter(part(torch, "fx").symbolic_trace(lambda x: x.view(7)))
        .run(torch.ones(2)), RuntimeError, "While executing %view",
    )  # fmt: skip
    check_raises(
        lambda torch: part(torch, "fx").GraphModule({}, texts_graph(torch)), RuntimeError, "not provided in ``root``"
    )


def texts_graph(torch):
    g = part(torch, "fx").Graph()
    g.output(g.call_module("missing", (g.placeholder("x"),)))
    return g


def test_arguments_are_trees():
    import jtorch as torch

    pytree = torch.utils._pytree
    from jtorch.fx.immutable_collections import immutable_dict, immutable_list

    tree = immutable_list([1, immutable_dict(a=2, b=immutable_list([3]))])
    leaves, form = pytree.tree_flatten(tree)
    again = pytree.tree_unflatten(leaves, form)
    assert leaves == [1, 2, 3] and again == tree
    assert type(again) is immutable_list and type(again[1]) is immutable_dict


def replaced_where_inputs_repeat(torch):
    fx, texts = part(torch, "fx"), []
    for function in (lambda x, y: torch.add(x, x) + torch.add(x, y), lambda x, y: torch.add(x, 1) + torch.add(y, y)):
        traced = fx.symbolic_trace(function)
        matches = fx.replace_pattern(traced, lambda a, b: torch.add(a, b), lambda a, b: torch.mul(a, b))
        texts.append((len(matches), traced.code))
    return texts


def test_no_node_stands_for_two_parameters_of_a_pattern():
    check(replaced_where_inputs_repeat)
