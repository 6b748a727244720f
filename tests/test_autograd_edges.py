"""Edges of autograd, as PyTorch has them: what custom functions may return, graphs walked twice, checkpoints."""

from __future__ import annotations

import weakref

import pytest

import jtorch

from .both import Table, check, check_raises

programs = Table()


def function(torch, forward, backward):
    body = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type("Mine", (torch.autograd.Function,), body).apply


@programs
def gradients_in_a_dtype_of_their_own(torch):
    wide, free = (torch.ones(3, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    wide.grad_dtype, free.grad_dtype = torch.float32, None
    free.grad = torch.ones(3)
    for scale in (1.0, 1 / 512):
        (wide * scale).sum().backward()
        (free * scale).sum().backward()
    return wide.grad, wide.grad_dtype, free.grad, free.grad_dtype, torch.ones(2).grad_dtype


@programs
def gradients_of_other_shapes_and_dtypes(torch):
    expand = function(torch, lambda ctx, x: x.sum(), lambda ctx, g: g.expand(2, 3))
    double = function(torch, lambda ctx, x: x * 2, lambda ctx, g: g.double() * 2)
    x, y = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    expand(x).backward()
    double(y * 1).sum().backward()
    return x.grad, y.grad


@programs
def second_derivatives_through_saved_outputs(torch):
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    exp = function(torch, forward, lambda ctx, g: g * ctx.saved_tensors[0])
    x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(exp(x).sum(), x, create_graph=True)
    return g, torch.autograd.grad(g.sum(), x), torch.autograd.gradgradcheck(exp, x)


@programs
def functions_in_place_on_views(torch):
    def forward(ctx, a, b):
        ctx.mark_dirty(a)
        return a.add_(b)

    add = function(torch, forward, lambda ctx, g: (g, g * 2))
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    base = a * 3
    view = base[:1]
    add(view, b[:1])
    (base * torch.tensor([1.0, 10.0])).sum().backward()
    add(a.clone().view_as(a), b).sum().backward()
    return base, a.grad, b.grad


@programs
def defaults_reach_setup_context(torch):
    seen = []

    def setup_context(ctx, inputs, output):
        seen.append(inputs[1:])

    body = {
        "forward": staticmethod(lambda x, y=2, z=3: x * y), "setup_context": staticmethod(setup_context),
        "backward": staticmethod(lambda ctx, g: (g * 2, None, None)),
    }  # fmt: skip
    mine = type("Mine", (torch.autograd.Function,), body).apply
    x = torch.ones(2, requires_grad=True)
    mine(x).sum().backward()
    return seen, x.grad


@programs
def graphs_without_saved_tensors_are_walked_twice(torch):
    w = torch.ones(3, requires_grad=True)
    h = (w + 1).view(3, 1)[:, 0]
    (h * 2).sum().backward()
    (h**2).sum().backward()
    c = torch.cat([w, w]).sum()
    c.backward()
    c.backward()
    return w.grad


@programs
def gradients_along_edges(torch):
    a = torch.ones(2, requires_grad=True)
    b = a * 2
    edge, leaf = torch.autograd.graph.get_gradient_edge(b), torch.autograd.graph.get_gradient_edge(a)
    found = torch.autograd.grad((b * 3).sum(), (edge, a))
    (a * 5).sum().backward(inputs=(leaf,))
    return found, torch.autograd.grad((a * 2).sum(), edge, allow_unused=True), a.grad


@programs
def retained_gradients_follow_writes(torch):
    x = torch.tensor([1.0], requires_grad=True)
    a, b = x * 1, x.clone()
    a.retain_grad()
    a.mul_(3)
    (a * 5).sum().backward()
    b.retain_grad()
    b[:].mul_(3)
    (b * 5).sum().backward()
    return a.grad, b.grad, x.grad


@programs
def variables_are_cut_off(torch):
    x = torch.ones(2, requires_grad=True)
    made = [torch.autograd.Variable(x), torch.autograd.Variable(x * 2), torch.autograd.Variable(x, requires_grad=True)]
    return [v.requires_grad for v in made], [v.is_leaf for v in made], isinstance(x, torch.autograd.Variable)


@programs
def hooks_under_second_derivatives(torch):
    seen = []
    m = torch.nn.Sigmoid()
    m.register_full_backward_hook(lambda module, inputs, outputs: seen.append(inputs[0]))
    x = torch.ones(3, requires_grad=True)
    (g,) = torch.autograd.grad(m(x).sum(), x, create_graph=True)
    (g**2).sum().backward()
    return x.grad, seen


@programs
def single_elements_of_an_expanded_view(torch):
    x = torch.zeros(3)
    y = x.expand(2, 3)
    y[1, 0] = float("nan")
    y[0, 1] = 2.0
    z = torch.ones(2, 1).expand(2, 3)
    z[:, 1] = torch.tensor([3.0, 4.0])
    return x, y, z


@programs
def checkpoints_keep_autocast(torch):
    from torch.utils.checkpoint import checkpoint as theirs

    checkpoint = theirs if torch.__name__ == "torch" else jtorch.utils.checkpoint.checkpoint
    seen, grads = [], []

    def f(x):
        y = x @ x
        seen.append(y.dtype)
        return (y @ y).float()

    for reentrant in (True, False):
        x = torch.eye(3, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = checkpoint(f, x, use_reentrant=reentrant).sum()
        loss.backward()
        grads.append(x.grad)
    return seen, grads


@programs
def checkpoints_return_anything(torch):
    from torch.utils.checkpoint import checkpoint as theirs

    checkpoint = theirs if torch.__name__ == "torch" else jtorch.utils.checkpoint.checkpoint
    w, x = torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    out = checkpoint(lambda d: {"a": d["x"] @ w, "n": 3, "more": [w * 2, None]}, {"x": x}, use_reentrant=False)
    (out["a"].sum() + out["more"][0].sum()).backward()
    unused = checkpoint(lambda x: x.detach() * 2, x, use_reentrant=False) + x
    unused.sum().backward()
    return out["n"], out["more"][1], w.grad, x.grad


@programs
def gradcheck_of_what_a_function_closes_over(torch):
    m = torch.nn.Linear(2, 2).double()
    before = m.weight.detach().clone()
    x = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)

    def slope(x):
        return torch.autograd.grad((x**3).sum(), x, create_graph=True)[0]

    agree = torch.autograd.gradcheck(lambda x, *p: m(x).sin(), (x, *m.parameters()))
    return agree, torch.equal(m.weight, before), torch.autograd.gradcheck(slope, x)


@programs
def gradients_where_operands_are_equal_infinite_or_nan(torch):
    functional, inf, nan = torch.nn.functional, torch.inf, torch.nan
    a = torch.tensor([1.0, 2.0, nan, 3.0, 0.5, inf, 3.0, -inf], dtype=torch.float64)
    b = torch.tensor([1.0, 5.0, 2.0, nan, 0.5, 3.0, inf, 3.0], dtype=torch.float64)

    def both(f, a, b):
        x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
        result = f(x, y)
        return result, torch.autograd.grad(result, (x, y), torch.arange(1.0, result.numel() + 1, dtype=result.dtype))

    found = [both(f, a, b) for f in (torch.maximum, torch.minimum, torch.logaddexp, torch.logaddexp2)]
    found += [
        both(lambda x, y, f=f: getattr(functional, f)(x, y, reduction="none"), a, b)
        for f in ("smooth_l1_loss", "huber_loss")
    ]
    numbers = torch.tensor([0.0, 1.0, 0.25, -0.5, 2.0, 0.0], dtype=torch.float64)
    equal = torch.where(numbers == 2, 3.0, numbers)
    found.append(both(lambda x, y: functional.l1_loss(x, y, reduction="none"), numbers, equal))
    found.append(both(lambda x, y: functional.pairwise_distance(x, y - 1, -inf)[None], numbers, equal))
    for p in (1, inf):
        found.append(both(lambda x, y, p=p: torch.cdist(x.view(2, 3), y.view(2, 3), p).view(-1), numbers, -numbers))
    low, high = torch.tensor([0.0, 3.0]).double().unbind()
    for f in (
        torch.abs, lambda x: x.clamp(0.5, 3), lambda x: x.clamp(min=1), lambda x: x.clamp(low, high),
        lambda x: x.clamp(3, 1), functional.elu, functional.selu, lambda x: x.norm(1), lambda x: (x[:2] ** 3).cos(),
    ):  # fmt: skip
        x = a.clone().requires_grad_()
        found.append(torch.autograd.grad(f(x).sum(), x))
    found.append(both(lambda x, y: a.clamp(x[:1], y[:1]), numbers[3:], numbers[1:]))
    found.append(both(lambda x, y: a.clamp(x[0], max=y[0]), numbers[3:], numbers[1:]))
    for f in (torch.logit, torch.special.entr, torch.special.ndtri):
        x = numbers.clone().requires_grad_()
        found.append(torch.autograd.grad(f(x).sum(), x))
    x = a.clone().requires_grad_()
    return found, torch.autograd.grad(torch.quantile(x, 0.5), x), torch.polygamma(1, a[5:6])


@programs
def near_zero_and_at_a_rounded_bound(torch):
    z = torch.tensor([1e-10 + 1e-10j, 0.1 + 0.2j, -0.5 + 1e-9j, 1e30 + 1j])
    x = torch.tensor([0.0, 1e-200, 1e-30, 0.01, 0.2, 1.0], dtype=torch.float64, requires_grad=True)
    shrunk = [
        torch.nn.functional.hardshrink(torch.tensor([0.3, -0.3, 0.31], dtype=t), 0.3)
        for t in (torch.bfloat16, torch.float16)
    ]
    steps = torch.trapezoid(torch.tensor([[1, 2], [3, 4]]), dx=2.5)
    return torch.log1p(z), torch.autograd.grad(torch.sinc(x).sum(), x), shrunk, steps


@programs
def segments_with_ties_and_nan(torch):
    x = torch.tensor([1.0, torch.nan, 3.0, 4.0, 5.0, 5.0], requires_grad=True)
    found = [torch.segment_reduce(x, r, lengths=torch.tensor([1, 2, 3, 0]), initial=2) for r in ("max", "min")]
    return found, [torch.autograd.grad(f.sum(), x) for f in found]


@programs
def names_of_modules_and_nodes(torch):
    mine = function(torch, lambda ctx, x: x * 2, lambda ctx, g: g * 2)
    x = torch.ones(2, requires_grad=True)
    with torch.autograd.grad_mode.no_grad(), torch.autograd.set_multithreading_enabled(False):
        y = x * 2
    return type(mine(x).grad_fn).__name__, y.requires_grad, torch.autograd.variable.Variable is torch.autograd.Variable


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


def backward_of(returned):
    def program(torch):
        mine = function(torch, lambda ctx, x: x.sum(), lambda ctx, g: returned(torch))
        mine(torch.ones(3, requires_grad=True)).backward()

    return program


ERRORS = {
    "out of a predicate": (
        lambda t: t.isposinf(t.ones(1), out=t.empty(1)), RuntimeError, "does not support non-boolean outputs"
    ),
    "complex steps": (lambda t: t.trapezoid(t.ones(3), dx=1j), RuntimeError, "only support dx as a real number"),
    "shape": (backward_of(lambda t: t.ones(4)), RuntimeError, "[4]", "[3]", "Mine"),
    "fewer dimensions": (backward_of(lambda t: t.ones(())), RuntimeError, "[]", "[3]"),
    "a number": (backward_of(lambda t: 5), RuntimeError, "int"),
    "zeros for an edge": (
        lambda t: t.autograd.grad(
            t.ones(1, requires_grad=True).sum(),
            t.autograd.graph.get_gradient_edge(t.ones(1, requires_grad=True)), materialize_grads=True),
        RuntimeError, "GradientEdge"),
    "an unused input, by its place": (
        lambda t: t.autograd.grad((x := t.ones(1, requires_grad=True)) * 2, [x, t.ones(1, requires_grad=True)]),
        RuntimeError, "at index 1", "allow_unused=True"),
    "a gradient of another size": (
        lambda t: setattr(t.ones(2), "grad", t.ones(3)), RuntimeError,
        "attempting to assign a gradient of size '[3]' to a tensor of size '[2]'"),
    "a gradient of another dtype": (
        lambda t: setattr(t.ones(2), "grad", t.ones(2).double()), RuntimeError, "assign a gradient with dtype"),
    "a gradient that is no tensor": (lambda t: setattr(t.ones(2), "grad", 3), TypeError, "but got grad of type int"),
    "grad_dtype of a result": (lambda t: (t.ones(2, requires_grad=True) * 2).grad_dtype, RuntimeError, "leaf"),
    "grad_dtype set on a result": (
        lambda t: setattr(t.ones(2, requires_grad=True) * 2, "grad_dtype", None), RuntimeError, "leaf"),
    "grad_dtype beside a gradient": (
        lambda t: [setattr(x := t.ones(2), "grad", t.ones(2)), setattr(x, "grad_dtype", t.float64)], RuntimeError,
        "grad_dtype"),
    "grad_dtype that is none": (lambda t: setattr(t.ones(2), "grad_dtype", 3), RuntimeError, "grad_dtype", "int"),
    "gradients of nothing": (
        lambda t: t.autograd.grad(t.ones(1, requires_grad=True) * 2, [], t.ones(1)), RuntimeError, "inputs", "empty"),
    "expanded": (lambda t: t.ones(2, 1).expand(2, 3).add_(1), RuntimeError, "single memory location"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


def test_a_node_that_saves_its_output_is_freed_with_it():
    def forward(ctx, x):
        y = x * 2
        ctx.save_for_backward(y)
        return y

    y = function(jtorch, forward, lambda ctx, g: g * ctx.saved_tensors[0])(jtorch.ones(2, requires_grad=True))
    node = weakref.ref(y.grad_fn)
    assert y.grad_fn.saved_tensors[0].tolist() == [2, 2]
    del y
    assert node() is None


def test_writes_to_an_expanded_view_that_autograd_would_record():
    w = jtorch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="single memory location"):
        (w * 1).expand(3, 2)[0, 0] = 5


def test_the_largest_modulus_is_one_of_them(compiled_at_once, monkeypatch):
    """Quick compilations too find the element that a reduction returned, though they compute it anew."""
    monkeypatch.setattr(jtorch.config, "quick_compile", True)
    jtorch.manual_seed(0)
    z = jtorch.randn(300, 33, dtype=jtorch.complex64)
    assert z.abs().max(-1).indices.max() < 33
    (grad,) = jtorch.autograd.grad(jtorch.linalg.vector_norm(z.requires_grad_(), -jtorch.inf, -1).sum(), z)
    assert grad.abs().sum() == pytest.approx(300)
