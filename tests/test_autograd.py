"""The tape as programs see it: requires_grad, the graph, ``grad``, higher derivatives, errors."""

from __future__ import annotations

import numpy as np
import pytest

import jtorch

from .both import Table, check, check_raises, leaf

programs = Table()


# --- requires_grad -------------------------------------------------------------------------------------------------


@programs
def requires_grad_rules(torch):
    x, c = leaf(torch), torch.ones(3, dtype=torch.float64)
    y = x * c
    made = [
        y.requires_grad, y.is_leaf, x.is_leaf, c.requires_grad, (c * 2).requires_grad, (x > 0).requires_grad,
        x.detach().requires_grad, x.long().requires_grad, y.argmax().requires_grad, x.data.requires_grad,
        torch.zeros_like(x).requires_grad, (c * 2).is_leaf, y.clone().requires_grad, x.max(0)[1].requires_grad,
        x.sort()[0].requires_grad, torch.no_grad()(lambda: (x * 2).requires_grad)(), x.new_zeros(2).requires_grad,
    ]  # fmt: skip
    c.requires_grad_()
    made += [c.requires_grad, (c + 1).requires_grad]
    c.requires_grad = False
    return made, c.requires_grad


@programs
def accumulation(torch):
    x = leaf(torch)
    (x * 2).sum().backward()
    first = x.grad.clone()
    (x * x).sum().backward()
    both = x.grad.clone()
    x.grad = None
    none = x.grad
    x.sum().backward()
    x.grad.zero_()
    return first, both, none, x.grad


@programs
def used_several_times(torch):
    x = leaf(torch)
    y = x * 2
    z = y * y + y.sin() * x + y
    z.sum().backward()
    return x.grad


@programs
def several_outputs(torch):
    x = leaf(torch)
    v, i = x.sort(descending=True)
    a, b = torch.stack([x, x * 2]).unbind(0)
    torch.autograd.backward([v.sum(), (a * b)], [None, torch.ones(3, dtype=torch.float64)])
    return x.grad, i


@programs
def only_one_output_used(torch):
    x = leaf(torch)
    v, i = x.topk(2)
    q, r = torch.linalg.qr(torch.outer(x, x) + torch.eye(3, dtype=torch.float64) * 4)
    (v[0] + r.diagonal().abs().sum()).backward()
    return x.grad


@programs
def backward_with_a_gradient(torch):
    x = leaf(torch)
    (x**2).backward(torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64))
    return x.grad


@programs
def backward_of_inputs(torch):
    a, b = leaf(torch), leaf(torch)
    ((a * b).sum()).backward(inputs=[a])
    return a.grad, b.grad


@programs
def backward_of_a_non_leaf_input(torch):
    a = leaf(torch)
    h = a * 3
    (h * h).sum().backward(inputs=[h])
    return a.grad, h.grad


@programs
def retain_graph(torch):
    x = leaf(torch)
    y = (x.exp() * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


@programs
def deep_and_wide(torch):
    x = leaf(torch)
    y = x
    for i in range(60):
        y = (y * 0.9 + x * 0.01).tanh() if i % 7 == 0 else y * 0.99 + 0.001
    y.sum().backward()
    return x.grad


@programs
def mixed_dtypes(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    z = (x * y + x.half()).sum()
    z.backward()
    return z.dtype, x.grad, y.grad


@programs
def broadcast_gradients(torch):
    a, b, c = (
        leaf(torch),
        torch.ones(2, 1, dtype=torch.float64, requires_grad=True),
        torch.tensor(2.0, requires_grad=True),
    )
    (a * b + c * a).sum().backward()
    return a.grad, b.grad, c.grad


@programs
def complex_gradients(torch):
    z = torch.tensor([1 + 2j, -0.5j], requires_grad=True)
    (z.abs() ** 2 + (z * z).real + z.angle()).sum().backward()
    return z.grad


# --- the graph -----------------------------------------------------------------------------------------------------


def names(node, depth):
    if node is None or depth == 0:
        return None
    return [node.name(), [names(n, depth - 1) for n, _ in node.next_functions]]


@programs
def graph_names(torch):
    x = leaf(torch)
    y = ((x * 2 + 1).exp() @ x).relu().sum()
    singles = [
        x + 1, x - 1, x * x, x / 2, x**2, -x, x.sin(), x.sum(), x.mean(), x.view(3, 1), x.reshape(1, 3), x[0], x[1:],
        x.clone(), x.unsqueeze(0), x.expand(2, 3), torch.cat([x, x]), torch.stack([x, x]), x.softmax(0),
        x.log_softmax(0), x.abs(), x.t(), x.sigmoid(), x.tanh(), x.relu(), x.max(), x.norm(), x.cumsum(0),
        torch.where(x > 0, x, 0.0), x.gather(0, torch.tensor([0])), x[[0, 1]], x.sqrt(), x.view(1, 3).flatten(),
        x.float(), x.prod(), x.var(), x.masked_fill(x > 0, 0), x.pow(3), x.log1p(),
    ]  # fmt: skip
    return y.grad_fn.name(), [s.grad_fn.name() for s in singles], x.grad_fn, type(x.sum().grad_fn).__name__


@programs
def next_functions(torch):
    x, c = leaf(torch), torch.ones(3, dtype=torch.float64)
    y = x.exp() * c
    (first, i), (second, j) = y.grad_fn.next_functions
    ((end, k),) = first.next_functions
    numbers = [
        z.grad_fn.next_functions for z in (x + 1, 1 + x, 2 * x, x / 2, x - 1, 1 - x, x**2, torch.add(x, c, alpha=2))
    ]
    numbers = [[None if f is None else f.name() for f, _ in each] for each in numbers]
    return first.name(), i, second, j, end.name(), k, end.variable is x, end.next_functions, numbers


@programs
def detach_cuts(torch):
    x = leaf(torch)
    y = x * 2
    z = y.detach() * x
    z.sum().backward()
    w = x.sin()
    w.detach_()
    return x.grad, w.requires_grad, w.grad_fn


# --- grad ----------------------------------------------------------------------------------------------------------


@programs
def grad_options(torch):
    x, y, unused = leaf(torch), leaf(torch), leaf(torch)
    z = (x * y.exp()).sum()
    w = x * 2
    return [
        torch.autograd.grad(z, x, retain_graph=True), torch.autograd.grad(z, [y, x], retain_graph=True),
        torch.autograd.grad(z, [x, unused], allow_unused=True, retain_graph=True),
        torch.autograd.grad(z, [x, unused], materialize_grads=True, retain_graph=True),
        torch.autograd.grad([z, w], [x], grad_outputs=[None, torch.ones(3, dtype=torch.float64)], retain_graph=True),
        torch.autograd.grad(w, x, grad_outputs=torch.full((3,), 5.0, dtype=torch.float64)), x.grad, y.grad,
    ]  # fmt: skip


@programs
def grad_of_an_intermediate(torch):
    x = leaf(torch)
    h = x.exp()
    k = h * 2
    y = (k * h).sum()
    return torch.autograd.grad(y, [h, k, x])


@programs
def grad_of_itself(torch):
    x = leaf(torch)
    y = x.sum()
    return torch.autograd.grad(y, y), torch.autograd.grad(x, x, torch.ones(3, dtype=torch.float64))


@programs
def grad_of_views_and_of_bases(torch):
    x = leaf(torch)
    h = x * 2
    v = h[1:]
    y = (v * v).sum()
    return torch.autograd.grad(y, [v, h], allow_unused=True)


FUNCTIONS = {
    "exp": lambda t, x: x.exp(),
    "sin": lambda t, x: x.sin() * x,
    "tanh": lambda t, x: x.tanh(),
    "sigmoid": lambda t, x: x.sigmoid(),
    "softmax": lambda t, x: x.softmax(0),
    "log_softmax": lambda t, x: x.log_softmax(0),
    "pow": lambda t, x: (x.abs() + 0.1) ** 2.5,
    "tensor pow": lambda t, x: (x.abs() + 0.1) ** x,
    "div": lambda t, x: 1 / (x + 3),
    "sqrt": lambda t, x: (x * x + 1).sqrt(),
    "prod": lambda t, x: x.prod(),
    "norm": lambda t, x: x.norm(),
    "matmul": lambda t, x: t.outer(x, x) @ x,
    "cat": lambda t, x: t.cat([x * x, x.sin()]),
    "index": lambda t, x: x[t.tensor([0, 0, 2])] ** 3,
    "gather": lambda t, x: x.gather(0, t.tensor([1, 1])) ** 3,
    "where": lambda t, x: t.where(x > 0, x**3, x**2),
    "max": lambda t, x: x.max() * x,
    "cumsum": lambda t, x: x.cumsum(0) ** 2,
    "cumprod": lambda t, x: x.cumprod(0),
    "logsumexp": lambda t, x: x.logsumexp(0),
    "var": lambda t, x: x.var() * x.std(),
    "view": lambda t, x: x.view(3, 1).expand(3, 2).t() ** 3,
    "gelu": lambda t, x: t.nn.functional.gelu(x),
    "silu": lambda t, x: t.nn.functional.silu(x),
    "softplus": lambda t, x: t.nn.functional.softplus(x),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x, (3,)),
    "inverse": lambda t, x: (t.outer(x, x) + t.eye(3, dtype=t.float64)).inverse(),
    "det": lambda t, x: (t.outer(x, x) + t.eye(3, dtype=t.float64)).logdet(),
    "einsum": lambda t, x: t.einsum("i,j,k->", x, x, x.sin()),
    "mse": lambda t, x: t.nn.functional.mse_loss(x, x.detach() * 2),
    "cross entropy": lambda t, x: t.nn.functional.cross_entropy(x[None] * x, t.tensor([1])),
    "conv": lambda t, x: t.nn.functional.conv1d(x.view(1, 1, 3), x[:2].view(1, 1, 2)),
    "lerp": lambda t, x: t.lerp(x, x.exp(), x.sin()),
    "atan2": lambda t, x: t.atan2(x, x.exp()),
    "clamp": lambda t, x: (x * x).clamp(0.5, 3),
    "scatter_add": lambda t, x: t.zeros(2, dtype=t.float64).scatter_add(0, t.tensor([0, 1, 0]), x**3),
    "diagonal": lambda t, x: t.outer(x, x.exp()).diagonal(),
    "flip and roll": lambda t, x: x.flip(0).roll(1) * x**2,
    "sort": lambda t, x: x.sort()[0] ** 3 * x,
    "erf": lambda t, x: x.erf(),
    "lgamma": lambda t, x: (x.abs() + 1).lgamma(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_double_backward(name):
    """First, second and third derivatives through create_graph."""
    f = FUNCTIONS[name]

    def program(torch):
        x = leaf(torch)
        w = torch.tensor([0.3, -0.7, 1.1, 0.2, 0.5, -0.4, 0.9, 0.6, -0.1], dtype=torch.float64)
        y = f(torch, x)
        (g,) = torch.autograd.grad((y.reshape(-1) * w[: y.numel()]).sum(), x, create_graph=True)
        h = third = torch.zeros_like(x)
        if g.requires_grad:
            (h,) = torch.autograd.grad((g * w[:3]).sum(), x, create_graph=True)
        if h.requires_grad and name != "layer_norm":  # of which PyTorch's third derivative is wrong
            (third,) = torch.autograd.grad((h * w[1:4]).sum(), x, materialize_grads=True)
        return g.detach(), h.detach(), third.detach()

    check(program)


@programs
def backward_with_create_graph(torch):
    x = leaf(torch)
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    (g**2).sum().backward()
    return g, x.grad


@programs
def gradients_of_gradients_depend_on_what_they_are_made_of(torch):
    """The gradient with respect to one factor does not depend on that factor, nor that of a linear function on any."""
    x, a = leaf(torch), leaf(torch, 1.0, 2.0, 3.0)
    made = []
    for y in (x * a, x / a, torch.nn.functional.linear(x, a[None]), x @ a, x.relu(), x * x, x * 3, x + a):
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        made.append(g.requires_grad)
        if g.requires_grad:
            made.append(torch.autograd.grad(g.sum(), x, allow_unused=True, create_graph=True))
    (g,) = torch.autograd.grad((x * a).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x, create_graph=True, materialize_grads=True)
    return made, h, torch.autograd.grad(h.sum(), x, materialize_grads=True)


@programs
def gradient_penalty(torch):
    w, x = leaf(torch), leaf(torch, 1.0, 2.0, 3.0)
    score = (w * x).tanh().sum()
    (g,) = torch.autograd.grad(score, x, create_graph=True)
    ((g.norm() - 1) ** 2 + score).backward()
    return w.grad, x.grad


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


# --- errors --------------------------------------------------------------------------------------------------------


def twice(torch):
    y = leaf(torch).exp().sum()
    y.backward()
    y.backward()


def custom(backward, forward=lambda ctx, x: x * 2):
    def program(torch):
        F = type(
            "F", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        )
        F.apply(leaf(torch)).sum().backward()

    return program


def anomaly(torch):
    with torch.autograd.detect_anomaly():
        x = torch.zeros(2, requires_grad=True)
        (x.sqrt() * 0).sum().backward()


def wrong_gradient(torch):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g * 2.1

    torch.autograd.gradcheck(Wrong.apply, (leaf(torch),))


def saved_then_modified(torch):
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    x = leaf(torch) * 1
    y = F.apply(x)
    x.add_(1)
    y.sum().backward()


ERRORS = {
    "nothing requires grad": (lambda t: t.ones(1).sum().backward(), RuntimeError, "does not require grad"),
    "not a scalar": (lambda t: leaf(t).backward(), RuntimeError, "scalar outputs"),
    "not real": (lambda t: t.ones(1, dtype=t.complex64, requires_grad=True).sum().backward(), RuntimeError,
                 "real scalar"),
    "twice": (twice, RuntimeError, "second time", "retain_graph=True"),
    "gradient shape": (lambda t: leaf(t).exp().backward(t.ones(2)), RuntimeError, "shape", "[2]", "[3]"),
    "unused": (lambda t: t.autograd.grad(leaf(t).sum(), leaf(t)), RuntimeError, "allow_unused=True"),
    "grad of no grad": (lambda t: t.autograd.grad(leaf(t).sum(), t.ones(1)), RuntimeError, "does not require grad"),
    "empty inputs": (lambda t: leaf(t).sum().backward(inputs=[]), RuntimeError, "cannot be empty"),
    "ints require grad": (lambda t: t.ones(1).long().requires_grad_(), RuntimeError, "floating point"),
    "switching off a result": (lambda t: (leaf(t) * 2).requires_grad_(False), RuntimeError, "leaf"),
    "hook without grad": (lambda t: t.ones(1).register_hook(print), RuntimeError, "doesn't require gradient"),
    "retain_grad without grad": (lambda t: t.ones(1).retain_grad(), RuntimeError, "requires_grad=False"),
    "post accumulate on a result": (
        lambda t: (leaf(t) * 2).register_post_accumulate_grad_hook(print), RuntimeError, "non-leaf"),
    "grad of another shape": (lambda t: setattr(leaf(t), "grad", t.ones(2).double()), RuntimeError, "[2]", "[3]"),
    "grad of another type": (lambda t: setattr(leaf(t), "grad", 3), TypeError, "Tensor or None"),
    "too many gradients": (custom(lambda ctx, g: (g, g)), RuntimeError, "expected 1, got 2"),
    "forward missing": (lambda t: t.autograd.Function.apply(leaf(t)), NotImplementedError, "forward"),
    "anomaly": (anomaly, RuntimeError, "SqrtBackward0", "nan"),
    "wrong gradient": (wrong_gradient, RuntimeError, "Jacobian mismatch", "numerical", "analytical"),
    "outputs that change their size": (
        lambda t: t.autograd.gradcheck(lambda a: t.cat([a, a]) if a.item() >= 1 else a, (leaf(t, 1.0),)),
        AssertionError, "same shape when inputs are perturbed"),
    "nothing to check": (lambda t: t.autograd.gradcheck(lambda a: a, (t.ones(2),)), ValueError, "require gradient"),
    "saved tensors modified": (saved_then_modified, RuntimeError, "modified by an inplace operation"),
    "numpy": (lambda t: leaf(t).numpy(), RuntimeError, "detach"),
    "out with grad": (lambda t: t.add(leaf(t), 1, out=t.empty(3).double()), RuntimeError, "out=", "differentiation"),
    "hook of another kind": (lambda t: _hook(t), (TypeError, RuntimeError), "hook"),
    "independent and strict": (
        lambda t: t.autograd.functional.jacobian(lambda a: t.ones(2), leaf(t), strict=True), RuntimeError,
        "does not require gradients"),
    "hessian of a vector": (
        lambda t: t.autograd.functional.hessian(lambda a: a * 2, leaf(t)), RuntimeError, "single element"),
}  # fmt: skip


def _hook(torch):
    x = leaf(torch)
    x.register_hook(lambda g: "wrong")
    x.sum().backward()


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


def test_the_graph_frees_as_soon_as_the_last_tensor_goes():
    import gc
    import weakref

    gc.disable()
    try:
        x = jtorch.ones(3, requires_grad=True)
        y = x.exp()
        for _ in range(5):
            y = (y * y).sin()
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_backward_seeds_and_reads_nothing():
    """A training step up to the read of the loss is one program."""
    x = jtorch.ones(3, requires_grad=True)
    jtorch.sync()
    before = jtorch.debug.counters()["flushes"]
    loss = (x.exp() * 2).sum()
    loss.backward()
    assert jtorch.debug.counters()["flushes"] == before
    np.testing.assert_allclose(loss.item(), 6 * np.e, rtol=1e-6)
    assert jtorch.debug.counters()["flushes"] == before + 1


def test_samples_and_neighbours_carry_gradients_as_in_pytorch():
    """A sample has gradients of zeros where its parameters have any; singular values beside a solution have none."""

    def program(t):
        x = t.tensor([0.25, 0.5, 1.0], requires_grad=True)
        samples = [t.normal(x, 1.0), t.normal(0.0, x), t.bernoulli(x), t.poisson(x)]
        y = t.tensor([1.0, 0.5, 0.0])
        t.autograd.backward([*(s.sum() for s in samples), t.nextafter(x, y).sum()])
        with t.no_grad():
            silent = t.bernoulli(x)
        flags = [s.requires_grad for s in (*samples, silent)]
        a = t.eye(4, 3).requires_grad_()
        flags += [r.requires_grad for r in t.linalg.lstsq(a, t.ones(4, 2), driver="gelsd")]
        return flags, x.grad

    check(program)
