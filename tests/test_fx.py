"""``torch.fx``: the same programs traced under jtorch and under PyTorch give the same graphs and texts."""

from __future__ import annotations

import collections
import inspect
import operator
import typing
import warnings

import pytest

import jtorch
from jtorch.fx import listening

from .both import Table, check, part

texts = Table()  # programs that return what is to be traced


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
def arguments_that_are_fixed_keep_their_defaults(torch):
    class Branching(torch.nn.Module):
        def forward(self, x, mask=None, scale=True, k=3):
            return (x if mask is None else x * mask) * (2 if scale else k)

    return Branching(), {"mask": None, "scale": False}


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
            names_of[inspect.unwrap(f)].add((space, name))  # once some class overrides functions, each name asks it
    compared = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, f in listening.public_functions(namespace).items():
            shared = len(names_of[inspect.unwrap(f)]) > 1 and namespace != "nn.functional"
            if name in _OTHERWISE or shared or name not in theirs_has:
                continue
            for count in (1, 2, 3):
                theirs = recorded(torch, place, name, count)
                if theirs is not None:
                    assert recorded(jtorch, place, name, count) == theirs
                    compared += 1
                    break
    assert compared > 15


def test_functions_and_methods_differ_where_a_class_overrides():
    class Mine(jtorch.Tensor):
        pass

    graph = jtorch.fx.symbolic_trace(lambda x: jtorch.flatten(x.relu(), 1).flatten()).graph
    assert [n.op for n in graph.nodes] == ["placeholder", "call_method", "call_function", "call_method", "output"]
    assert list(inspect.signature(jtorch.flatten).parameters) == ["input", "start_dim", "end_dim"]
