"""Products, sums and joins in half precision: what processors do fast, and what adds up."""

import numpy as np
import pytest

import jtorch
from jtorch import config
from jtorch.ops import backend
from jtorch.trace import explain
from jtorch.trace.jaxapi import export_program

F = jtorch.nn.functional


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """Small programs are compiled, not run by NumPy."""
    monkeypatch.setattr(config, "interpret", False)


def leaves(*shapes, dtype=jtorch.bfloat16):
    return [jtorch.randn(*s).to(dtype).requires_grad_() for s in shapes]


#: operands as they come to a product: plain, transposed views, and made transposed in the same program
PRODUCTS = {
    "mm": (lambda a, b: a @ b, (48, 32), (32, 24)),
    "mm of a view": (lambda a, b: a.t() @ b, (32, 48), (32, 24)),
    "mm of views": (lambda a, b: a.t() @ b.t(), (32, 48), (24, 32)),
    "mm of what is made": (lambda a, b: jtorch.where(b[0, 0] > 9, b[0, 0], a.t()) @ b.relu(), (32, 48), (32, 24)),
    "mm that is turned": (lambda a, b: (a @ b).t().relu() + 1, (48, 32), (32, 24)),
    "mm that is turned, of views": (lambda a, b: (a.t() @ b.t()).t().contiguous(), (32, 48), (24, 32)),
    "bmm that is turned": (lambda a, b: jtorch.bmm(a, b).transpose(1, 2).relu(), (3, 16, 32), (3, 32, 24)),
    "wide gradient": (lambda a, b: F.linear(a, b), (64, 16), (96, 16)),
    "high gradient": (lambda a, b: F.linear(a, b), (64, 96), (16, 96)),
    "linear": (lambda a, b: F.linear(a, b), (3, 16, 32), (24, 32)),
    "one row": (lambda a, b: F.linear(a, b), (1, 32), (24, 32)),
    "bmm": (lambda a, b: jtorch.bmm(a, b), (3, 16, 32), (3, 32, 24)),
    "bmm of a view": (lambda a, b: jtorch.bmm(a.mT, b), (3, 32, 16), (3, 32, 24)),
    "heads": (lambda a, b: a.transpose(1, 2) @ b.transpose(1, 2).mT, (2, 16, 3, 32), (2, 24, 3, 32)),
    "broadcast": (lambda a, b: a @ b, (2, 1, 16, 32), (3, 32, 24)),
    "matrix and vector": (lambda a, b: a @ b, (48, 32), (32,)),
    "vector and matrix": (lambda a, b: a @ b, (32,), (32, 24)),
    "row and column": (lambda a, b: a @ b, (1, 32), (32, 1)),
    "column": (lambda a, b: a @ b, (48, 32), (32, 1)),
    "outer product": (lambda a, b: a @ b, (48, 1), (1, 32)),
    "one row each": (lambda a, b: jtorch.bmm(a, b), (3, 1, 32), (3, 32, 24)),
    "one column each": (lambda a, b: jtorch.bmm(a, b), (3, 16, 32), (3, 32, 1)),
    "einsum": (lambda a, b: jtorch.einsum("bij,bkj->bik", a, b), (3, 16, 32), (3, 24, 32)),
    "conv2d": (lambda a, b: F.conv2d(a, b, padding=1), (2, 8, 12, 12), (16, 8, 3, 3)),
    "strided conv2d": (lambda a, b: F.conv2d(a, b, stride=2), (2, 8, 13, 13), (16, 8, 3, 3)),
    "grouped conv2d": (lambda a, b: F.conv2d(a, b, groups=2), (2, 8, 12, 12), (16, 4, 3, 3)),
    "conv_transpose2d": (lambda a, b: F.conv_transpose2d(a, b, stride=2), (2, 8, 6, 6), (8, 4, 3, 3)),
    "attention": (lambda a, b: F.scaled_dot_product_attention(a, b, b, is_causal=True), (2, 3, 24, 16), (2, 3, 24, 16)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_bfloat16(name):
    function, *shapes = PRODUCTS[name]
    jtorch.manual_seed(0)
    narrow = leaves(*shapes)
    wide = [x.detach().double().requires_grad_() for x in narrow]
    out, exact = function(*narrow), function(*wide)
    g = jtorch.randn(exact.shape).bfloat16()
    out.backward(g)
    exact.backward(g.double())
    assert out.dtype is jtorch.bfloat16
    for got, expected in [(out, exact), *((n.grad, w.grad) for n, w in zip(narrow, wide, strict=True))]:
        got, expected = got.detach().double().numpy(), expected.detach().numpy()
        # operands are exact; attention rounds its probabilities and its output before they are used again
        assert np.abs(got - expected).max() <= 2**-7 * np.abs(expected).max()


@pytest.mark.parametrize("a, b", [((2, 0, 3), (2, 3, 4)), ((0, 2, 3), (0, 3, 4)), ((2, 3, 0), (2, 0, 4)),
                                  ((0, 3), (3, 4)), ((3, 0), (0, 4)), ((3, 4), (4, 0))])  # fmt: skip
def test_products_of_nothing(a, b):
    x, y = leaves(a, b)
    out = x @ y
    assert out.tolist() == jtorch.zeros(*a[:-1], b[-1]).tolist()
    out.sum().backward()
    assert not x.grad.any() and not y.grad.any()


def test_recurrent_layers_of_bfloat16():
    for kind in (jtorch.nn.LSTM, jtorch.nn.GRU, jtorch.nn.RNN):
        jtorch.manual_seed(0)
        layer, exact = kind(16, 32), kind(16, 32).double()
        layer = layer.bfloat16()
        exact.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
        x = jtorch.randn(9, 4, 16).bfloat16()
        for module, given in ((layer, x), (exact, x.double())):
            module(given)[0].sum().backward()
        for p, q in zip(layer.parameters(), exact.parameters(), strict=True):
            assert np.abs(p.grad.double().numpy() - q.grad.numpy()).max() <= 0.03 * np.abs(q.grad.numpy()).max()


def test_medium_precision_multiplies_bfloat16_where_that_is_fast(monkeypatch):
    a, b = jtorch.randn(64, 64), jtorch.randn(64, 64)
    exact = (a.double() @ b.double()).numpy()
    full = np.abs((a @ b).numpy() - exact).max()
    jtorch.set_float32_matmul_precision("medium")
    try:
        out = a @ b
        assert out.dtype is jtorch.float32
        error = np.abs(out.numpy() - exact).max()
    finally:
        jtorch.set_float32_matmul_precision("highest")
    assert full < 1e-4 and error < 0.5
    with backend.using("cpu", here=True):
        assert (error > 1e-3) == backend.multiplies_bfloat16()
    assert np.abs((a @ b).numpy() - exact).max() == full


def test_a_program_with_bfloat16_lowers_for_other_platforms_and_is_exported():
    model = jtorch.nn.Linear(32, 16).bfloat16()
    x = jtorch.randn(8, 32).bfloat16()
    expected = model(x)
    expected.sum().backward()
    jtorch.sync()
    assert export_program(explain.last(), ("cuda", "tpu")).platforms == ("cuda", "tpu")
    exported = jtorch.export.export(model, (x,)).module()
    assert np.allclose(exported(x).detach().float().numpy(), expected.detach().float().numpy(), rtol=0.02, atol=0.02)


#: what the gradient of the second operand is a sum of 5000 ones through
SUMS = {
    "add": lambda x, b: x + b,
    "sub": lambda x, b: x - (-b),
    "mul": lambda x, b: x * b,
    "where": lambda x, b: jtorch.where(x > 9, x, b),
    "expand": lambda x, b: b.expand(5000, 8) * 1,
    "linear": lambda x, b: F.linear(x, jtorch.eye(8, dtype=x.dtype), b),
    "repeat": lambda x, b: b.repeat(5000, 1),
    "conv2d": lambda x, b: F.conv2d(x.t().reshape(1, 8, 50, 100), jtorch.ones(8, 8, 1, 1, dtype=x.dtype), b),
    "add twice": lambda x, b: (x + b) + b * 0,
}


@pytest.mark.parametrize("dtype", [jtorch.bfloat16, jtorch.float16])
@pytest.mark.parametrize("name", SUMS)
def test_derived_sums_of_half_precision_add_up(name, dtype):
    x, b = jtorch.ones(5000, 8, dtype=dtype), jtorch.ones(8, dtype=dtype, requires_grad=True)
    SUMS[name](x, b).sum().backward()
    assert b.grad.tolist() == [float(jtorch.tensor(5000.0, dtype=dtype))] * 8


def test_second_derivatives_add_up():
    x, b = jtorch.ones(5000, 8).bfloat16(), jtorch.ones(8).bfloat16().requires_grad_()
    (g,) = jtorch.autograd.grad((x * b * b / 2).sum(), b, create_graph=True)
    g.sum().backward()
    assert b.grad.tolist() == [4992.0] * 8


@pytest.mark.parametrize("dtype", [jtorch.bfloat16, jtorch.float16, jtorch.float32])
def test_cat_and_stack_of_half_precision(dtype):
    a, b = leaves((3, 4), (3, 2), dtype=dtype)
    joined = jtorch.cat([a, b, a], 1)
    assert joined.tolist() == [[*x, *y, *x] for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    (joined * jtorch.arange(10).to(dtype)).sum().backward()
    assert a.grad.tolist() == [[6.0, 8.0, 10.0, 12.0]] * 3 and b.grad.tolist() == [[4.0, 5.0]] * 3
    assert jtorch.stack([a, a], 1).tolist() == [[x, x] for x in a.tolist()]
    assert jtorch.func.hessian(lambda v: (jtorch.cat([v, v * v]) ** 2).sum())(a[0].detach()).shape == (4, 4)
