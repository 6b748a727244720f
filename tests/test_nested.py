"""Nested tensors: the same programs under jtorch and PyTorch give the same sequences, gradients and errors."""

from __future__ import annotations

import copy
import importlib
import pickle

import numpy as np
import pytest

import jtorch

from .both import Table, check, check_raises

table = Table()


def example(torch, **options):
    """Two sequences, of 2 and of 4 rows."""
    importlib.import_module(f"{torch.__name__}.nested")
    rows = torch.arange(18.0).reshape(6, 3) / 4 - 1
    return torch.nested.nested_tensor([rows[:2], rows[2:]], layout=torch.jagged, **options)


def parts(x):
    """A nested tensor as its sequences."""
    if isinstance(x, tuple):
        return [parts(y) for y in x]
    return [x.dim(), str(x.layout), list(x.unbind())] if getattr(x, "is_nested", False) else x


def weight(torch):
    return torch.linspace(-1, 1, 12).reshape(4, 3)


def heads(torch, n):
    return torch.cat([n, n + 1], -1).unflatten(-1, [2, 3]).transpose(1, 2)


def attention(torch, n):
    q = heads(torch, n)
    return torch.nn.functional.scaled_dot_product_attention(q, q * 2, q - 1).transpose(1, 2).flatten(-2)


#: functions of a nested tensor, and whether PyTorch has their gradient too
FUNCTIONS = {
    "numbers": (lambda torch, n: (n * 2 + 1) / 3, True),
    "itself": (lambda torch, n: n * n.sin() - n / 3, True),
    "relu": (lambda torch, n: torch.nn.functional.relu(n), True),
    "gelu": (lambda torch, n: torch.nn.functional.gelu(n), True),
    "sigmoid": (lambda torch, n: torch.sigmoid(n), True),
    "clamp": (lambda torch, n: n.clamp(-0.5, 0.5), True),
    "power": (lambda torch, n: n**2, True),
    "dense row": (lambda torch, n: n + torch.arange(3.0), True),
    "dense by sequence": (lambda torch, n: n * torch.arange(6.0).reshape(2, 1, 3), True),
    "linear": (lambda torch, n: torch.nn.functional.linear(n, weight(torch), torch.ones(4)), True),
    "matmul": (lambda torch, n: torch.matmul(n, weight(torch).t()), True),
    "batched matmul": (lambda torch, n: torch.matmul(n, torch.stack([weight(torch).t()] * 2)), True),
    "layer_norm": (lambda torch, n: torch.nn.functional.layer_norm(n, (3,)), True),
    "rms_norm": (lambda torch, n: torch.nn.functional.rms_norm(n, (3,)), True),
    "softmax": (lambda torch, n: torch.softmax(n, -1), True),
    "ragged softmax": (lambda torch, n: torch.softmax(n, 1), False),  # PyTorch's gradient sums over other dims
    "log_softmax": (lambda torch, n: torch.nn.functional.log_softmax(n, dim=-1), False),
    "sum": (lambda torch, n: n.sum(), True),
    "ragged sum": (lambda torch, n: n.sum(1), False),
    "last sum": (lambda torch, n: n.sum(-1), False),
    "kept sum": (lambda torch, n: n.sum(1, keepdim=True), False),
    "sum of all rows": (lambda torch, n: n.sum((0, 1)), False),
    "ragged mean": (lambda torch, n: n.mean(1), False),
    "last mean": (lambda torch, n: n.mean(-1, keepdim=True), True),
    "cat": (lambda torch, n: torch.cat([n, n * 2], -1), True),
    "transpose": (lambda torch, n: n.transpose(1, 2), True),
    "unflatten": (lambda torch, n: n.unflatten(-1, [3, 1]), True),
    "unsqueeze": (lambda torch, n: n.unsqueeze(-1), True),
    "chunk": (lambda torch, n: n.chunk(3, -1), True),
    "view": (lambda torch, n: n.view(2, -1, 3, 1), True),
    "padded": (lambda torch, n: torch.nested.to_padded_tensor(n, -1.0), True),
    "cut": (lambda torch, n: n.to_padded_tensor(0.0, (2, 3, 3)), False),
    "padded more": (lambda torch, n: n.to_padded_tensor(0.5, (2, 5, 3)), True),
    "one sequence": (lambda torch, n: n[1], True),
    "values": (lambda torch, n: n.values(), True),
    "where": (lambda torch, n: torch.where(n > 0, n, n * 0.0), True),
    "masked_fill": (lambda torch, n: n.masked_fill(n > 0, 1.0), True),
    "float64": (lambda torch, n: n.to(torch.float64), True),
    "zeros_like": (lambda torch, n: torch.zeros_like(n), True),
    "unbind": (lambda torch, n: n.unbind(), True),
    "attention": (attention, True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    function, differentiable = FUNCTIONS[name]

    def program(torch):
        n = example(torch, requires_grad=True)
        result = function(torch, n)
        found = [parts(result)]
        head = result[0] if isinstance(result, tuple) else result
        total = head.sin().values().sum() if head.is_nested else head.sin().sum()
        if total.requires_grad and differentiable:
            total.backward()
            found.append(parts(n.grad))
        return found

    check(program)


def test_ragged_gradients():
    """What PyTorch cannot differentiate, against finite differences."""
    for name, (function, differentiable) in FUNCTIONS.items():
        if differentiable:
            continue
        rows = jtorch.arange(18.0, dtype=jtorch.float64).reshape(6, 3) / 5 - 1

        def total(values, function=function):
            n = jtorch.nested.nested_tensor_from_jagged(values, jtorch.tensor([0, 2, 6]))
            out = function(jtorch, n)
            return ((out.values() if out.is_nested else out) ** 2).sum()

        assert jtorch.autograd.gradcheck(total, (rows.requires_grad_(),)), name


@table
def structures(torch):
    nested = importlib.import_module(f"{torch.__name__}.nested")
    v, o = torch.arange(10.0).reshape(5, 2), torch.tensor([0, 2, 5])
    p, q = nested.nested_tensor_from_jagged(v, o), nested.nested_tensor_from_jagged(v * 2, o)
    x = torch.arange(24.0).reshape(2, 4, 3)
    t = nested.narrow(x, 1, torch.tensor([0, 1]), torch.tensor([2, 3]), layout=torch.jagged)
    m = nested.masked_select(torch.arange(6).reshape(2, 3), torch.tensor([[1, 0, 1], [1, 1, 0]]).bool())
    return [
        parts(p + q), p.shape[1] == q.shape[1], p.numel(), len(p), p.size(0), p.is_nested,
        nested.nested_tensor_from_jagged(v, lengths=torch.tensor([2, 3])).offsets(),
        t.offsets(), t.lengths(), parts(t * 2), t.is_contiguous(), parts(t.contiguous()), t.contiguous().offsets(),
        m.offsets(), m.values(), repr(nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])),
        parts(nested.as_nested_tensor([v[:2], v[2:]], layout=torch.jagged)), parts(copy.deepcopy(p)),
        parts(p.clone().add_(1)), (p == q).values(),
        nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])._nested_tensor_size(),
        p._values, p._offsets, t._lengths,
    ]  # fmt: skip


@table
def gradients(torch):
    n = example(torch, requires_grad=True)
    out, given = n * n, n.detach()
    (asked,) = torch.autograd.grad(out, n, given)
    (n * n).backward(given)
    return [parts(asked), parts(n.grad), parts((n * 2).detach_()), out.requires_grad]


@table
def modules(torch):
    n = example(torch)
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.LayerNorm(4), torch.nn.Dropout(0.5))
    with torch.no_grad():
        out = layers(n)
    indices = torch.nested.nested_tensor([torch.tensor([0, 1]), torch.tensor([3])], layout=torch.jagged)
    return [parts(out), parts(torch.nn.Embedding(5, 2)(indices).detach())]


@pytest.mark.parametrize("name", table)
def test_programs(name):
    check(table[name])


def test_transformer_layer():
    """Each sequence comes out as it does alone; gradients reach input and weights."""
    nested = importlib.import_module("jtorch.nested")
    jtorch.manual_seed(0)
    layer = jtorch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    sequences = [jtorch.randn(3, 8), jtorch.randn(5, 8)]
    n = nested.nested_tensor(sequences, layout=jtorch.jagged, requires_grad=True)
    out = layer(n)
    for alone, together in zip(sequences, out.unbind(), strict=True):
        np.testing.assert_allclose(together.detach().numpy(), layer(alone[None])[0].detach().numpy(), atol=1e-6)
    (out * out).sum().backward()
    weight_grad = layer.self_attn.in_proj_weight.grad.clone()
    layer.zero_grad()
    leaves = [s.clone().requires_grad_() for s in sequences]
    sum((layer(s[None]) ** 2).sum() for s in leaves).backward()
    np.testing.assert_allclose(weight_grad.numpy(), layer.self_attn.in_proj_weight.grad.numpy(), rtol=1e-4, atol=1e-5)
    for leaf, grad in zip(leaves, n.grad.unbind(), strict=True):
        np.testing.assert_allclose(grad.numpy(), leaf.grad.numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="no masks"):
        layer(n, src_mask=jtorch.zeros(3, 3))


def test_empty_sequence_and_pickle():
    nested = importlib.import_module("jtorch.nested")
    n = nested.nested_tensor([jtorch.ones(0, 4), jtorch.ones(2, 4)], layout=jtorch.jagged, requires_grad=True)
    q = n.unflatten(-1, [2, 2]).transpose(1, 2)
    out = jtorch.nn.functional.scaled_dot_product_attention(q, q, q)
    out.values().sum().backward()
    assert not n.grad.values().isnan().any() and out.unbind()[0].shape == (2, 0, 2)
    again = pickle.loads(pickle.dumps(n.detach()))
    assert [t.tolist() for t in again.unbind()] == [[], [[1.0] * 4] * 2]


@pytest.mark.parametrize(
    "program, error, words",
    [
        (lambda torch: example(torch) + example(torch), RuntimeError, "structures"),
        (lambda torch: example(torch).sum(0), RuntimeError, "batch"),
        (lambda torch: example(torch).transpose(0, 1), ValueError, "batch"),
        (lambda torch: torch.cat([(n := example(torch)), n], 1), RuntimeError, "ragged"),
        (lambda torch: (example(torch), torch.nested.nested_tensor(3)), TypeError, "list"),
        (lambda torch: example(torch)[0:1], RuntimeError, "slice"),
    ],
)  # fmt: skip
def test_errors(program, error, words):
    check_raises(program, error, *(() if words == "structures" else (words,)))


def test_refusals_name_the_way_out():
    n = example(jtorch)
    with pytest.raises(NotImplementedError, match="to_padded_tensor"):
        jtorch.linalg.svd(n)
    with pytest.raises(RuntimeError, match="structure"):
        n + example(jtorch)
    with pytest.raises(TypeError, match="unbind"):
        n.numpy()


@pytest.mark.parametrize("training", [True, False])
def test_dropout_at_rate_zero_draws_as_in_pytorch(training):
    def after(torch):
        torch.manual_seed(0)
        t = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)], layout=torch.jagged)
        return torch.nn.functional.dropout(t, 0.0, training).values().tolist(), torch.rand(2).tolist()

    assert after(jtorch) == after(pytest.importorskip("torch"))
