"""``torch.fx``: the same programs traced under jtorch and under PyTorch give the same graphs, texts and results."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import functools
import importlib
import io
import operator
import pickle
import subprocess
import sys
import threading
import typing
import warnings

import pytest

import jtorch
from jtorch.fx import listening

from .both import Table, check, check_raises

texts = Table()  # programs that return what is to be traced
table = Table()  # programs that return results


def part(library, name):
    return importlib.import_module(f"{library.__name__}.{name}")


def texts_of(torch, program):
    """Everything that is printed of a traced program."""
    made = program(torch)
    root, concrete = made if isinstance(made, tuple) else (made, None)
    gm = part(torch, "fx").symbolic_trace(root, concrete)
    nodes = [(n.op, n.name, str(n.args), str(dict(n.kwargs)), str(list(n.users))) for n in gm.graph.nodes]
    return [gm.code, str(gm.graph), str(gm), gm.print_readable(print_output=False), nodes, sorted(gm.state_dict())]


# --- models


@texts
def mlp(torch):
    nn = torch.nn
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


@texts
def residual_block(torch):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            identity = x
            x = self.relu(self.bn1(self.conv1(x)))
            x = self.bn2(self.conv2(x))
            x += identity
            return self.relu(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1 = nn.Sequential(Block(), Block())
            self.avgPool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(4, 10)

        def forward(self, x):
            x = self.avgPool(self.layer1(x))
            return self.fc(torch.flatten(x, 1))

    return Net()


@texts
def shapes(torch):
    def forward(x, y):
        b, c = x.shape[0], x.size(1)
        h, w = x.shape[-2:]
        z = torch.cat([x, y], dim=1).view(b, -1)
        z = z[:, : c // 2], z[..., None], z[[0, 1]], z[1:2, ::2], z[b - 1 :]
        return z[0].reshape(b, h * w).float().to(torch.float64).type_as(x), torch.stack((x, y)), x.T, x.dtype, z[1:]

    return forward


@texts
def functional_calls(torch):
    F = torch.nn.functional

    def forward(x, w):
        a = F.relu(F.conv2d(x, w, padding=1))
        b = F.max_pool2d(a, 2)
        c, i = F.max_pool2d(a, 2, return_indices=True)
        d = F.interpolate(b, scale_factor=2, mode="bilinear", align_corners=False)
        e = F.dropout(d, 0.5, training=False) + F.pad(x, (1, 1)) * F.softmax(a, dim=-1)
        e = F.layer_norm(e, (3,)) + F.gelu(e) - F.leaky_relu(e, 0.2) / F.normalize(e, dim=-1)
        e = F.linear(e, w, None) + F.avg_pool2d(e, 2) + F.embedding(x, w) + F.one_hot(x, 3) + F.sigmoid(e) + F.tanh(e)
        e = F.batch_norm(e, w, w) + F.silu(e) + F.logsigmoid(e) + F.hardtanh(e) + F.threshold(e, 0.1, 20)
        e = F.adaptive_avg_pool2d(e, 1) + F.adaptive_max_pool2d(e, 1) + F.unfold(e, 2) + F.glu(e) + F.softplus(e)
        loss = F.cross_entropy(e, i, label_smoothing=0.1) + F.mse_loss(e, c) + F.l1_loss(e, c) + F.nll_loss(e, i)
        return loss, F.scaled_dot_product_attention(x, x, x, is_causal=True), F.upsample_nearest(x, scale_factor=2)

    return forward


@texts
def torch_calls(torch):
    def forward(x, y):
        a = torch.add(x, y, alpha=2) + torch.sum(x, dim=(0, 1), keepdim=True) + torch.clamp(x, min=0, max=float("inf"))
        b = torch.einsum("ij,jk->ik", x, y) + torch.norm(x) + torch.tensordot(x, y)
        c = torch.split(x, 2, dim=1)[0] + torch.chunk(x, 2, 0)[1] + torch.where(x > 0, x, 0) + torch.relu(x)
        p, q = torch.meshgrid(x, y, indexing="ij")
        d = torch.linalg.norm(x) + torch.fft.fft(x) + torch.special.i0e(x) + torch.softmax(x, -1) + torch.zeros_like(x)
        e = (
            torch.unique(x, return_counts=True),
            torch.atleast_1d(x),
            torch.unravel_index(x, (2, 3)),
            torch.full((2,), 1),
        )
        torch._assert(x.shape[0] == 1, "one")
        return a, b, c, {"d": d, "e": [e, (p,)]}, q, torch.broadcast_tensors(x, y), torch.max(x, 1)[0], None, 1.5

    return forward


@texts
def operators(torch):
    def forward(x, y):
        a = -x + 1 - (1 - x) * 2 / y // 3 % 2 ** (x**2) @ y
        b = (x > y) & (x >= 1) | (x < y) ^ (x <= 1) & ~(x == y) & (x != 2)
        a += 1
        c = operator.add(a, 1), abs(a), a << 1, a >> 2, 2 << a, operator.getitem(a, 0)
        return a, b, c, slice(a, None), device_of(torch)

    return forward


def device_of(torch):
    return torch.device("cpu"), torch.float16, range(3), torch.channels_last


@texts
def parameters_and_constants(torch):
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.register_buffer("offset", torch.zeros(3))
            self.fixed = torch.ones(3)
            self.inner = nn.Module()
            self.inner.weight = nn.Parameter(torch.ones(3))
            self.several = nn.ParameterList([nn.Parameter(torch.ones(3))])

        def forward(self, x):
            x = x * self.scale + self.offset + self.fixed + self.scale
            x = self.offset + x - (self.fixed < x) * (torch.ones(3) / x)
            return x @ self.inner.weight + self.several[0] + torch.arange(3)[x]

    return Model()


@texts
def nested_modules(torch):
    nn = torch.nn

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.toOut = nn.Linear(4, 4)

        def forward(self, x, *, scale: float = 1.0):
            return self.toOut(x) * scale

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleList([Head(), Head()])
            self.by_name = nn.ModuleDict({"a": nn.Sequential(nn.LayerNorm(4), nn.GELU())})
            self.shared = self.heads[0]

        def forward(self, x):
            for head in self.heads:
                x = head(x, scale=2.0)
            return self.shared(self.by_name["a"](x))

    return Model()


@texts
def attention(torch):
    nn = torch.nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out, self.heads = nn.Linear(8, 24), nn.Linear(8, 8), 2

        def forward(self, x, mask=None):
            b, n, c = x.shape
            qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
            q, k, v = qkv[0], qkv[1], qkv[2]
            scores = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
            return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, c))

    return Attention()


@texts
def recurrent(torch):
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn, self.norm = nn.Embedding(10, 4), nn.LSTM(4, 4), nn.LayerNorm(4)

        def forward(self, tokens, state):
            out, (h, c) = self.rnn(self.embed(tokens), state)
            return self.norm(out[-1]), {"h": h, "c": c}

    return Model()


@texts
def signature(torch):
    def forward(x: torch.Tensor, n: int = 2, *rest, m: typing.List[int] = None, **kw) -> torch.Tensor:  # noqa: UP006
        return x + rest[0] + kw["a"] + n

    return forward


@texts
def annotations(torch):
    def forward(x: torch.Tensor, n: int = 2, d: typing.Dict[str, torch.Tensor] = None) -> torch.Tensor:  # noqa: UP006
        return x + n

    return forward


@texts
def fixed_arguments(torch):
    return lambda x, flag, other, c: x + c if flag else x, {"flag": True, "other": None, "c": 3.0}


@texts
def fixed_trees(torch):
    return lambda x, d: {"y": x + d["a"] + d["b"][0]}, {
        "d": {"a": part(torch, "fx").PH, "b": [part(torch, "fx").PH, 3]}
    }


@pytest.mark.parametrize("name", texts)
def test_texts(name):
    check(lambda torch: texts_of(torch, texts[name]))


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


# --- every function, with Proxies for its arguments

#: Recorded otherwise. What is no function of tensors, or only has another name behind it:
_OTHERWISE = {
    "can_cast", "promote_types", "dequantize", "int_repr", "quantize_per_tensor_dynamic", "sym_sqrt", "sym_sum",
    "segment_reduce", "grouped_mm", "lobpcg", "pca_lowrank", "svd_lowrank", "saddmm", "dsmm", "hsmm", "spmm",
    "native_channel_shuffle", "upsample",
}  # fmt: skip


def recorded(torch, namespace, name, count):
    """How a call with ``count`` Proxies is printed; None if it is not recorded."""
    fx = part(torch, "fx")
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    args = [fx.Proxy(graph.placeholder(letter), tracer) for letter in "abc"[:count]]
    try:
        result = getattr(part(torch, namespace) if namespace else torch, name)(*args)
    except Exception:  # too few arguments, or ones that are looked at: PyTorch's is the measure
        return None
    return graph.output(result.node).prev.format_node() if isinstance(result, fx.Proxy) else None


@pytest.mark.parametrize("namespace", listening.NAMESPACES)
def test_every_function_is_recorded_as_pytorch_does(namespace):
    torch = pytest.importorskip("torch")
    place = "" if namespace == "torch" else namespace
    theirs_has = set(dir(part(torch, place) if place else torch))
    names_of = collections.defaultdict(set)  # a function of several names is recorded under one of them
    for space in listening.NAMESPACES:
        for name, f in listening.public_functions(space).items():
            names_of[f].add((space, name))
    compared = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, f in listening.public_functions(namespace).items():
            shared = len(names_of[f]) > 1 and namespace != "nn.functional"
            if name in _OTHERWISE or shared or name not in theirs_has:
                continue
            for count in (1, 2, 3):
                theirs = recorded(torch, place, name, count)
                if theirs is not None:
                    assert recorded(jtorch, place, name, count) == theirs
                    compared += 1
                    break
    assert compared > 15


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


# --- jtorch's own


class Small(jtorch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = jtorch.nn.Linear(2, 3), jtorch.nn.BatchNorm1d(3)
        self.register_buffer("hidden", jtorch.ones(3), persistent=False)

    def forward(self, x, y=2.0):
        return jtorch.nn.functional.relu(self.norm(self.linear(x))) * y + self.hidden


def test_a_graph_module_is_a_module():
    fx = importlib.import_module("jtorch.fx")
    jtorch.manual_seed(0)
    model, x = Small(), jtorch.randn(8, 2)
    gm = fx.symbolic_trace(model)
    assert list(gm.state_dict()) == list(model.state_dict()) or set(gm.state_dict()) == set(model.state_dict())
    assert gm.linear.weight is model.linear.weight
    optimizer = jtorch.optim.SGD(gm.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = gm(x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    gm.eval(), model.eval()
    expected = model(x, 3.0)
    compiled = jtorch.compile(gm)
    stored = io.BytesIO()
    jtorch.save(gm, stored)
    stored.seek(0)
    for other in (gm, copy.deepcopy(gm), copy.copy(gm), pickle.loads(pickle.dumps(gm)), compiled, compiled,
                  jtorch.load(stored, weights_only=False)):  # fmt: skip
        jtorch.testing.assert_close(other(x, 3.0), expected)
    copied = copy.deepcopy(gm)
    assert copied.code == gm.code and type(copied).__name__ == "Small" and copied.graph is not gm.graph
    assert pickle.loads(pickle.dumps(gm)).code == gm.code
    with jtorch.no_grad():
        copied.linear.weight.zero_()
    assert gm.linear.weight.count_nonzero() > 0  # the copy's own weights were zeroed


def test_functions_listen_only_while_proxies_live():
    fx = importlib.import_module("jtorch.fx")
    before = jtorch.relu.__code__, jtorch.split.__code__, jtorch.Tensor.__add__.__code__
    proxy = fx.Proxy(fx.Graph().placeholder("x"))
    assert jtorch.relu.__code__ is not before[0]
    x = jtorch.arange(4.0)
    assert jtorch.relu(x - 1).tolist() == [0.0, 0.0, 1.0, 2.0] and [t.tolist() for t in jtorch.split(x, 2)][1] == [2, 3]
    assert jtorch.relu(proxy).node.target is jtorch.relu
    del proxy
    assert (jtorch.relu.__code__, jtorch.split.__code__, jtorch.Tensor.__add__.__code__) == before
    fx.symbolic_trace(Small())
    with pytest.raises(fx.proxy.TraceError):
        fx.symbolic_trace(lambda x: jtorch.relu(x) if x else x)
    assert jtorch.nn.Module.__call__.__qualname__ == "Module.__call__"
    assert jtorch.relu.__code__ is before[0]


def test_threads_trace_at_once():
    fx = importlib.import_module("jtorch.fx")
    before, errors = jtorch.relu.__code__, []

    def work():
        try:
            for _ in range(30):
                proxy = fx.Proxy(fx.Graph().placeholder("x"))
                assert jtorch.relu(proxy).node.target is jtorch.relu
                assert jtorch.relu(jtorch.ones(2)).tolist() == [1.0, 1.0]
                del proxy
        except Exception as error:  # shown below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and jtorch.relu.__code__ is before


def test_functions_imported_before():
    place: dict = {}
    source = (
        "from jtorch.nn.functional import dropout, relu; from jtorch import split; from jtorch.fx import symbolic_trace"
    )
    exec(f"{source}\ngm = symbolic_trace(lambda x: dropout(relu(split(x, 1)[0]), 0.1))", place)
    assert [n.target.__name__ for n in place["gm"].graph.nodes if n.op == "call_function"] == [
        "split", "getitem", "relu", "dropout"
    ]  # fmt: skip


def test_with_functions_that_ask():
    """Once a class has __torch_function__, public functions are replaced by ones that ask."""
    fx = importlib.import_module("jtorch.fx")
    held = jtorch.split

    class Mine(jtorch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return super().__torch_function__(func, types, args, kwargs or {})

    def make(split):
        return lambda x: split(x, 2)[0] + 1

    for split in (held, jtorch.split):
        gm = fx.symbolic_trace(make(split))
        assert "torch.functional.split(x, 2, dim = 0)" in gm.code
        assert gm(jtorch.arange(4.0)).tolist() == [1.0, 2.0]


def test_what_is_refused():
    fx = importlib.import_module("jtorch.fx")
    gm = fx.symbolic_trace(lambda x: x + 1)
    with pytest.raises(NotImplementedError, match="torch.save"):
        gm.to_folder("nowhere")
    with pytest.raises(NotImplementedError, match="no symbolic sizes"):
        importlib.import_module("jtorch.fx.experimental.symbolic_shapes").ShapeEnv()
    with pytest.warns(UserWarning, match="cannot check"):
        fx.symbolic_trace(lambda x, f: f(x), {"f": jtorch.relu})
    with pytest.raises(NotImplementedError, match="keyword-only"):
        fx.symbolic_trace(lambda x, *, d: x + d[0], {"d": [fx.PH]})


def test_under_the_name_torch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import torch, torch.fx\nfrom torch.fx import symbolic_trace, Interpreter\n"
        "from torch.fx.passes.shape_prop import ShapeProp\nfrom torch.fx.node import map_arg, Argument, Target\n"
        "gm = symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))\n"
        "print(gm.code, Interpreter(gm).run(torch.ones(1, 2)).shape, torch.fx.Node is type(gm.graph.output_node()))\n"
    )
    done = subprocess.run([sys.executable, "-m", "jtorch", str(script)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert 'getattr(self, "1")(_0)' in done.stdout and "torch.Size([1, 2]) True" in done.stdout


def test_nothing_is_warned_about_unknown_modules():
    fx = importlib.import_module("jtorch.fx")
    gm = fx.symbolic_trace(lambda x: x)
    with pytest.raises(AttributeError, match="nothing"):
        gm.graph.call_module("nothing")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gm.graph.get_attr("nothing")
    assert "no underlying reference" in str(said[0].message)
