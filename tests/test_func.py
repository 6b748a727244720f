"""jtorch.func against torch.func on typical programs, and what it refuses."""

from __future__ import annotations

import functools
import importlib

import numpy as np
import pytest

import jtorch
from jtorch import nn
from jtorch.func import functional_call, grad, jvp, stack_module_state, vmap

from .both import check, check_raises

_random = np.random.RandomState(0)
X, Y, W = (_random.randn(*s).astype("f") for s in ((5, 3), (5, 3), (3, 3)))


def _energy(u):
    return (u.sin() * u**3).sum()


def _less_a_constant(torch):
    def f(u):
        with torch.no_grad():
            constant = torch.func.grad_and_value(lambda v: (v**3).sum())(u)
        return (u**3).sum() - constant[1] - constant[0].sum()

    return f


PROGRAMS = {
    "dot": (lambda t, a, b: t.vmap(t.dot)(a, b), X, Y),
    "in_dims and out_dims": (lambda t, a, b: t.vmap(lambda u, v: u @ v, in_dims=(None, 1), out_dims=1)(a, b), W, X.T),
    "nested": (lambda t, a, b: t.func.vmap(lambda u: t.func.vmap(lambda v: (u * v).sum())(b))(a), X, Y),
    "nested arguments": (lambda t, a, b: t.func.vmap(lambda d, k: {"s": d["u"] * k, "m": d["v"].max()},
                                                     in_dims=({"u": 0, "v": 1}, None))({"u": a, "v": b}, 2), X, Y.T),
    "per-sample gradients": (lambda t, a, p: t.func.vmap(t.func.grad(lambda q, s: ((q @ s) ** 2).sum().sin()),
                                                         in_dims=(None, 0))(p, a), X, W),
    "promotion of 0-d tensors": (lambda t, a: t.func.vmap(lambda u: u.sum().double() + u.half())(a), X),
    "in place, arguments too": (lambda t, a, b: (t.func.vmap(lambda u, v: u.add_(v)[0])(a, b), a), X, Y),
    "writing a view": (lambda t, a: t.func.vmap(lambda u: (c := u.clone(), c[1:].mul_(3))[0])(a), X),
    "indexing and sorting": (lambda t, a: t.func.vmap(lambda u: u[t.tensor([0, 2])] + u.sort().values[:2])(a), X),
    "chunks": (lambda t, a: t.func.vmap(lambda u: u.cumsum(0), chunk_size=2)(a), X),
    "gradient through vmap": (lambda t, a, p: t.func.grad(
        lambda q: t.func.vmap(lambda s: (q @ s).tanh().sum())(a).sum())(p), X, W),
    "gradient of a closure": (lambda t, a, p: t.autograd.grad(
        (lambda q: t.func.vmap(lambda s: (q @ s).tanh().sum())(a).sum())(p.requires_grad_()), p), X, W),
    "vjp function under vmap": (lambda t, a: t.func.vmap(t.func.vjp(lambda u: u.sin() * 2, a[0])[1])(t.eye(3)), X),
    "vmap of vjp": (lambda t, a, b: t.func.vmap(lambda u, v: t.func.vjp(t.sin, u)[1](v)[0])(a, b), X, Y),
    "jvp": (lambda t, a, b: t.func.jvp(lambda u: (u.exp().sum(1), u[0]), (a,), (b,)), X, Y),
    "gradient of jvp": (lambda t, a, b: t.func.grad(lambda v: t.func.jvp(_energy, (v,), (b,))[1])(a), X, Y),
    "linearize": (lambda t, a, b: t.func.linearize(lambda u: u.sin(), a)[1](b), X, Y),
    "jacrev": (lambda t, a: t.func.jacrev(lambda u: (u.sin() @ u, u.sum()))(a), W),
    "jacfwd by two": (lambda t, a, b: t.func.jacfwd(lambda u, v: u.sin() * v, argnums=(0, 1))(a[0], b[0]), X, Y),
    "jacrev with aux": (lambda t, a: t.func.jacrev(lambda u: (u.sin(), u * 2), has_aux=True)(a[0]), X),
    "hessian": (lambda t, a: t.func.hessian(_energy)(a[0]), X),
    "jvp that writes": (lambda t, a, b: (t.func.jvp(lambda u, v: u.mul_(v) + 1, (a, b), (b, a + 0)), a, b), X, Y),
    "vmap of jvp that writes": (lambda t, a, b: (t.vmap(lambda u, v: t.func.jvp(lambda q: q.mul_(b[0]), (u,), (v,)))(
        a, b + 0), a), X, Y),
    "jacrev that writes": (lambda t, a, b: (t.func.jacrev(lambda u, v: v.copy_(u.sin()))(a[0], b[0]), b), X, Y),
    "jacfwd that writes": (lambda t, a, b: (t.func.jacfwd(lambda u, v: v["k"].mul_(u))(a[0], {"k": b[0]}), b), X, Y),
    "jacrev of jacrev": (lambda t, a: t.func.jacrev(t.func.jacrev(_energy))(a[0]), X),
    "gradient of a hessian": (lambda t, a: t.func.grad(lambda v: t.func.hessian(_energy)(v).sum())(a[0]), X),
    "gradient by the vector of a vjp": (lambda t, a, b: t.func.grad(
        functools.partial(lambda pull, v: (pull(v)[0] * v).sum(), t.func.vjp(t.sin, a)[1]))(b), X, Y),
    "a gradient that is not recorded": (lambda t, a: t.func.grad(_less_a_constant(t))(a[0]), X),
    "one argument, then two": (lambda t, a, b: [t.func.jacrev(lambda u, v: (2 * u + 3 * v, 4 * u + 5 * v), argnums=n)(
        a[0], b[0]) for n in (0, (0,), (0, 1))], X, Y),
    "a batch of hessians": (lambda t, a: t.func.vmap(t.func.hessian(_energy))(a), X),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.filterwarnings("ignore")  # of PyTorch's, about its own derivatives
def test_as_torch_func(name):
    torch = pytest.importorskip("torch")
    program, *arrays = PROGRAMS[name]
    wanted = torch.utils._pytree.tree_leaves(program(torch, *(torch.from_numpy(np.array(a)) for a in arrays)))
    found = jtorch.utils._pytree.tree_leaves(program(jtorch, *(jtorch.from_numpy(np.array(a)) for a in arrays)))
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        assert tuple(f.shape) == tuple(w.shape) and str(f.dtype) == str(w.dtype)
        np.testing.assert_allclose(f.detach().numpy(), w.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_an_ensemble():
    jtorch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(3)]
    params, buffers = stack_module_state(models)
    x = jtorch.from_numpy(X)
    found = vmap(lambda p, b, v: functional_call(models[0], (p, b), (v,)), in_dims=(0, 0, None))(params, buffers, x)
    for i, model in enumerate(models):
        np.testing.assert_allclose(found[i].detach().numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    found.square().sum().backward()
    models[1](x).square().sum().backward()
    np.testing.assert_allclose(
        params["0.weight"].grad[1].numpy(), models[1][0].weight.grad.numpy(), rtol=1e-4, atol=1e-5
    )


def test_the_same_program_compiles_once():
    def step(shift):
        return vmap(grad(lambda u: (u * u).sin().sum()))(jtorch.from_numpy(X) + shift).numpy()

    step(0.0), step(1.0)  # the second has a number that varies
    before = jtorch.debug.counters()["compiles"]
    step(2.0)
    assert jtorch.debug.counters()["compiles"] == before


def test_randomness():
    x = jtorch.from_numpy(X)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(lambda u: u * jtorch.rand(3))(x)
    same = vmap(lambda u: jtorch.rand(3), randomness="same")(x)
    assert bool((same == same[0]).all())
    different = vmap(lambda u: jtorch.rand(3), randomness="different")(x)
    assert different.unique().numel() == 15
    with pytest.raises(RuntimeError, match="Only allowed values for randomness"):
        vmap(lambda u: u, randomness="other")


def test_refusals():
    x = jtorch.from_numpy(X)
    with pytest.raises(RuntimeError, match="data-dependent control flow"):
        vmap(lambda u: u if u.sum() > 0 else -u)(x)
    with pytest.raises(RuntimeError, match=r"calling .item\(\)"):
        vmap(lambda u: u * u.sum().item())(x)
    with pytest.raises(ValueError, match="non-Tensor"):
        vmap(lambda u, k: u * k)(x, 2)
    with pytest.raises(ValueError, match="in_dim=2"):
        vmap(lambda u: u, in_dims=2)(x)
    with pytest.raises(ValueError, match="same size in the mapped dimension"):
        vmap(lambda u, v: u)(x, x[:2])
    with pytest.raises(ValueError, match="must only return Tensors"):
        vmap(lambda u: 3)(x)
    with pytest.raises(RuntimeError, match="Expected primals to be a tuple"):
        jvp(lambda u: u, x, x)
    outside = jtorch.zeros(3)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        vmap(lambda u: outside.add_(u))(x)
    assert outside.tolist() == [0, 0, 0]
    with pytest.raises(IndexError):
        vmap(lambda u, i: u.index_select(0, i))(x, jtorch.full((5, 1), 9)).numpy()


def test_forwards_through_gradients_of_their_own_making():
    """Linear layers, norms and losses against finite differences along a direction, and a Hessian against its own."""
    torch = jtorch
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    model = model.double()
    x, v, h = torch.randn(5, 3).double(), torch.randn(5, 3).double(), 1e-6
    target = torch.tensor([0, 1, 1, 0, 1])

    def loss(u):
        return torch.nn.functional.cross_entropy(model(u), target)

    for f in (model, loss):
        out, change = torch.func.jvp(f, (x,), (v,))
        assert torch.allclose(out, f(x))
        assert torch.allclose(change, (f(x + h * v) - f(x - h * v)) / (2 * h), rtol=1e-5, atol=1e-7)
    assert torch.allclose(torch.func.jacfwd(model)(x), torch.func.jacrev(model)(x))
    gradient = torch.func.grad(loss)
    along = (torch.func.hessian(loss)(x) * v).sum((-2, -1))
    assert torch.allclose(along, (gradient(x + h * v) - gradient(x - h * v)) / (2 * h), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("library", ["jtorch", "torch"])
def test_a_custom_backward_is_used_within_vmap(library):
    """Also where gradients come from outside of it, which JAX would derive from what forward computes."""
    torch = pytest.importorskip(library)

    class Through(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x, steps):
            return (x * steps).round() / steps, x > 0

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(inputs[0])
            ctx.mark_non_differentiable(output[1])

        @staticmethod
        def backward(ctx, g, _):
            return g * (ctx.saved_tensors[0].abs() < 1), None

    def f(row):
        rounded, positive = Through.apply(row * scale, 4)
        return (rounded * weights * positive).sum()

    func = importlib.import_module(f"{library}.func")
    x = torch.tensor([[-0.5, 0.3, 2.0], [0.2, 0.4, -3.0]], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0])
    scale = torch.tensor(1.5, requires_grad=True)
    func.vmap(f)(x).sum().backward()
    expected = torch.tensor([[0, 3.0, 0], [1.5, 3.0, 0]])
    torch.testing.assert_close(x.grad, expected)
    torch.testing.assert_close(scale.grad, torch.tensor(0.3 * 2 + 0.2 * 1 + 0.4 * 2))
    torch.testing.assert_close(func.vmap(func.grad(f))(x.detach()), expected)


def test_detach_and_no_grad_stop_what_flows_in_from_outside():
    x = jtorch.arange(6.0).view(2, 3)

    def through(f):
        p = jtorch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        jtorch.vmap(lambda v: f(p, v))(x).sum().backward()
        return p.grad.tolist()

    def without_grad(p, v):
        with jtorch.no_grad():
            t = p * v
        return (t * p).sum()

    assert through(lambda p, v: (p.detach() * v + p * p).sum()) == [4, 8, 12]
    assert through(without_grad) == [3, 10, 21]
    ones = jtorch.ones(3)
    assert [t.item() for t in jtorch.func.jvp(lambda v: (v.detach() * v).sum(), (ones,), (ones,))] == [3, 3]
    assert jtorch.func.jacrev(lambda v: v.detach() * v)(x[0]).diagonal().tolist() == [0, 1, 2]
    inner = jtorch.vmap(jtorch.func.grad(lambda v: (v**3).sum()))  # whose own leaves are no such stops
    x.requires_grad_()
    (g,) = jtorch.autograd.grad(inner(x).sum(), x)
    assert g.tolist() == (6 * x).tolist()


def test_results_under_no_grad_carry_no_graph():
    x = jtorch.tensor(2.0, requires_grad=True)
    out, pull = jtorch.func.vjp(lambda u: u**3, x)
    with jtorch.no_grad():
        assert not grad(lambda u: u**3)(x).requires_grad
        assert not pull(jtorch.ones([]))[0].requires_grad
    assert out.requires_grad


def test_per_sample_gradients_by_plain_tensors_carry_no_graph():
    def f(torch):
        x, w = torch.arange(6.0).view(2, 3), torch.tensor([1.0, 2.0, 3.0])
        each = torch.vmap(torch.func.grad_and_value(lambda w, v: (w * v).sin().sum()), in_dims=(None, 0))
        return each(w, x), each(w.requires_grad_(), x)  # check() compares requires_grad

    check(f)


@pytest.mark.parametrize(
    ("argnums", "words"), [((), "non-empty"), ((0, 0), "unique"), (0.0, "must be int"), (3, "only 1 positional")]
)
def test_argument_numbers_are_checked(argnums, words):
    with pytest.raises(RuntimeError, match=words):
        jtorch.func.jacrev(jtorch.sin, argnums=argnums)(jtorch.ones(3))


NO_JACOBIAN = {
    "complex input": (lambda t, x: t.func.jacrev(t.conj)(x * 1j), "inputs to be real"),
    "complex input forwards": (lambda t, x: t.func.jacfwd(t.conj)(x * 1j), "inputs to be real"),
    "complex output": (lambda t, x: t.func.jacrev(lambda u: u * 1j)(x), "outputs to be real"),
    "no output": (lambda t, x: t.func.jacrev(lambda u: ())(x), "xpected"),
    "nothing to differentiate by": (lambda t, x: t.func.jvp(t.sin, (), ()), "at least one Tensor"),
}


@pytest.mark.parametrize("name", NO_JACOBIAN)
def test_what_has_no_jacobian(name):
    call, words = NO_JACOBIAN[name]
    check_raises(lambda t: call(t, t.ones(3)), RuntimeError, words)


def test_one_program_differentiated_in_other_arguments():
    x, y = jtorch.tensor([1.0, 2.0]), jtorch.tensor([3.0, 4.0])
    for transform in (jtorch.func.jacrev, jtorch.func.jacfwd):
        both = transform(lambda a, b: a**2 * b, argnums=(0, 1))(x, y)
        one = transform(lambda a: a**2 * y)(x)
        assert both[0].tolist() == one.tolist() == [[6, 0], [0, 16]] and both[1].tolist() == [[1, 0], [0, 4]]
    _, both = jtorch.func.jvp(lambda a, b: a**2 * b, (x, y), (x, y))
    _, one = jtorch.func.jvp(lambda a: a**2 * y, (x,), (x,))
    assert both.tolist() == [9, 48] and one.tolist() == [6, 32]


def test_a_refused_function_draws_no_random_numbers():
    def f(torch):
        torch.manual_seed(0)
        for function in (lambda a: a + torch.rand(3), lambda a: (a + torch.rand(3)).sum().item()):
            with pytest.raises(RuntimeError):
                torch.vmap(function)(torch.zeros(4))
        return torch.rand(3)

    check(f)


#: with what is raised and a word of the message
REFUSED = {
    "a primal alone": (lambda t, x: t.func.jvp(t.sin, x, (x,)), RuntimeError, "be a tuple"),
    "tangents in a list": (lambda t, x: t.func.jvp(t.sin, (x,), [x]), RuntimeError, "same python structure"),
    "a number as primal": (lambda t, x: t.func.jvp(t.sin, (1.0,), (x,)), RuntimeError, "only contain Tensors"),
    "a tangent of another shape": (lambda t, x: t.func.jvp(t.sin, (x,), (x[0],)), RuntimeError, "different size"),
    "jvp of nothing": (lambda t, x: t.func.jvp(lambda u: None, (x,), (x,)), RuntimeError, "non-empty output"),
    "vjp of a number": (lambda t, x: t.func.vjp(lambda u: 1, x), RuntimeError, "only tensors"),
    "vjp of nothing": (lambda t, x: t.func.vjp(lambda u: (), x), RuntimeError, "non-empty output"),
    "jacrev of text": (lambda t, x: t.func.jacrev(lambda u: [u, "a"])(x), RuntimeError, "only tensors"),
    "jacfwd of nothing": (lambda t, x: t.func.jacfwd(lambda u: None)(x), RuntimeError, "non-empty output"),
    "vjp without aux": (lambda t, x: t.func.vjp(lambda u: [u, u], x, has_aux=True), RuntimeError, "should be a tuple"),
    "grad with a number as aux": (
        lambda t, x: t.func.grad(lambda u: (u.sum(), 1), has_aux=True)(x),
        RuntimeError,
        "unsupported type",
    ),
    "cotangents in a tuple": (lambda t, x: t.func.vjp(t.sin, x)[1]((x,)), RuntimeError, "pytree structure"),
    "chunks of none": (lambda t, x: t.func.jacrev(t.sin, chunk_size=0)(x), ValueError, "greater than 0"),
    "jacrev of a function that writes its variable": (
        lambda t, x: t.func.jacrev(lambda u: u.mul_(2))(x),
        RuntimeError,
        "leaf variable",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_alike(name):
    program, error, word = REFUSED[name]
    check_raises(lambda t: program(t, t.from_numpy(X)), error, word)


DRAWS = {
    "more than a few": lambda t, x: t.vmap(lambda u: t.randn(30) + u.sum(), randomness="different")(x),
    "a mask": lambda t, x: t.vmap(lambda u: t.nn.functional.dropout(u.tile(9), 0.4), randomness="different")(x),
    "permutations": lambda t, x: t.vmap(lambda u: t.randperm(9), randomness="different")(x),
    "in place": lambda t, x: t.vmap(lambda u: u.tile(9).normal_(), randomness="different")(x),
    "nested": lambda t, x: t.vmap(
        lambda u: t.vmap(lambda v: t.randn(7) * v, randomness="different")(u), randomness="different"
    )(x),
    "in a gradient": lambda t, x: t.vmap(t.func.grad(lambda u: (u.tile(9) * t.rand(27)).sum()), randomness="different")(
        x
    ),
    "of a generator": lambda t, x: (lambda g: t.vmap(lambda u: t.randn(20, generator=g), randomness="different")(x))(
        t.Generator().manual_seed(3)
    ),
    "the same in all chunks": lambda t, x: t.vmap(lambda u: t.randn(20), randomness="same", chunk_size=2)(x),
}


@pytest.mark.parametrize("name", DRAWS)
def test_samples_draw_what_they_draw_in_pytorch(name):
    def program(t):
        t.manual_seed(0)
        return DRAWS[name](t, t.from_numpy(X)), t.rand(2)

    check(program)


def test_a_generator_of_ones_own_is_noticed():
    program = lambda t: t.vmap(lambda u: u + t.rand(3, generator=t.Generator()))(t.ones(2, 3))  # noqa: E731
    check_raises(program, RuntimeError, "randomness")


def test_one_view_as_two_arguments():
    def program(t):
        z = t.arange(6.0).reshape(3, 2)
        return t.vmap(t.vmap(lambda x, y: (x == y).all(), (0, None)), (None, 0))(z, z)

    check(program)
