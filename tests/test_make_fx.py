"""``make_fx``: functions recorded as graphs that do the same for other values."""

import pytest

import jtorch as torch
from jtorch import nn
from jtorch.fx.experimental.proxy_tensor import make_fx
from jtorch.utils._pytree import tree_leaves


def functions(torch):
    """``{name: (function, arguments)}``."""
    F = torch.nn.functional
    torch.manual_seed(0)
    layer, x, y = torch.nn.Linear(3, 2), torch.randn(2, 3), torch.randn(3, 2)

    def loss(p, x):
        out = torch.func.functional_call(layer, p, (x,))
        return (F.layer_norm(out, (2,)) * torch.arange(2.0)).square().sum()

    def writes(x, y):
        x.add_(1)
        y[0] = 2
        return x.sum() + y.sum()

    def inner(x):
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad((x.sin() * x).exp().sum(), x)

    parameters = {n: p.detach() for n, p in layer.named_parameters()}
    return {
        "plain": (lambda x, y: torch.relu(x @ y) + 1, (x, y)),
        "nested": (lambda d, z: {"o": d["a"].sin() * z[0], "p": z[1].sum(0)}, ({"a": x}, [x, y])),
        "number": (lambda x, n: x * n, (x, 3)),
        "module": (layer, (x,)),
        "closure": (lambda x: layer(x) + layer.weight.sum() + torch.tensor([1.0, 2.0]), (x,)),
        "own writes": (lambda x: x.clone().add_(1).mul_(2), (x,)),
        "writes": (writes, (x.clone(), y.clone())),
        "views": (lambda x: (x.t()[0], x.view(-1)[1:5], x.max(1)), (x,)),
        "gradient": (torch.func.grad(loss), (parameters, x)),
        "autograd": (inner, (x,)),
        "twice": (torch.func.grad(lambda x: torch.func.grad(lambda x: x.sin().sum())(x).exp().sum()), (x,)),
        "vmap": (torch.func.vmap(lambda x: x.sin().sum() + x[0]), (x,)),
        "random": (lambda x: F.dropout(x, 0.5) + torch.rand(3), (x,)),
        "plain results": (lambda x: (x + 1, 3, None), (x,)),
    }


def changed(args, torch):
    def new(x):
        return x.detach().cos() if isinstance(x, torch.Tensor) else x

    return torch.utils._pytree.tree_map(new, args)


@pytest.mark.parametrize("name", list(functions(torch)))
def test_graphs_do_what_functions_do(name):
    f, args = functions(torch)[name]
    before = [t.tolist() for t in tree_leaves(args) if isinstance(t, torch.Tensor)]
    module = make_fx(f)(*args)
    assert [t.tolist() for t in tree_leaves(args) if isinstance(t, torch.Tensor)] == before
    found, wanted = [], []
    for results, function in ((found, module), (wanted, f)):
        given = changed(args, torch)
        torch.manual_seed(5)
        results += [*tree_leaves(function(*given)), *tree_leaves(given)]
    for x, y in zip(found, wanted, strict=True):
        if isinstance(x, torch.Tensor):
            torch.testing.assert_close(x, y)
        else:
            assert x == y


@pytest.mark.parametrize("name", ["number", "plain", "nested", "module"])
def test_names_are_those_of_pytorch(name):
    reference = pytest.importorskip("torch")
    from torch.fx.experimental.proxy_tensor import make_fx as make

    graphs = []
    for library, made in ((torch, make_fx), (reference, make)):
        f, args = functions(library)[name]
        module = made(f)(*args)
        head = [line for line in module.code.split("\n") if "def forward" in line or "tree_flatten_spec" in line]
        names = [(n.op, n.name) for n in module.graph.nodes if n.op in ("placeholder", "get_attr", "output")]
        graphs.append((head, [n for n in names if "tensor_constant" not in n[1]], list(module._parameters)))
    assert graphs[0] == graphs[1]


def test_parameters_are_those_of_the_module():
    layer = nn.Linear(3, 2)
    module = make_fx(layer)(torch.ones(1, 3))
    assert module._param_constant0 is layer.weight
    module(torch.ones(1, 3)).sum().backward()
    assert layer.weight.grad is not None


def test_what_is_refused():
    x = torch.ones(2, 3)
    for function, message in (
        (lambda x: x * x.sum().item(), r"a value was needed.*item\(\)"),
        (lambda x: x if x.sum() > 0 else -x, r"a value was needed.*bool\(\)"),
        (lambda x, y: x, "expected 2 arguments but got 1 concrete"),
        (nn.BatchNorm1d(3), "writes to a tensor that is not among its arguments"),
        (lambda x: x + torch.rand(3, generator=torch.Generator()), "from a generator of the program's own"),
    ):
        with pytest.raises(RuntimeError, match=message):
            make_fx(function)(x)
    make_fx(nn.BatchNorm1d(3).eval())(x)
    with pytest.raises(AssertionError, match="tracing_mode must be real/fake/symbolic, got odd"):
        make_fx(torch.relu, tracing_mode="odd")
    with pytest.raises(NotImplementedError, match=r"torch\.export\.export"):
        make_fx(torch.relu, tracing_mode="symbolic")
    with pytest.raises(NotImplementedError, match="aten.silu.default"):
        make_fx(lambda x: nn.functional.silu(x), {torch.ops.aten.silu.default: lambda x: x * x.sigmoid()})(x)
