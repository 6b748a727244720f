"""Functions with a backward of their own, ``autograd.functional``, ``gradcheck``."""

from __future__ import annotations

import pytest

import jtorch

from .both import Table, check, check_raises, leaf, part

programs = Table()


@programs
def custom_function(torch):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale):
            ctx.save_for_backward(x)
            ctx.scale = scale
            return x**3 * scale

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x**2 * ctx.scale, None

    x = leaf(torch)
    y = Cube.apply(x, 2.0)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    return y, g, h, y.grad_fn.name(), Cube.apply(x.detach(), 1.0)


@programs
def function_of_the_older_kind(torch):
    class Rounded(part(torch, "autograd.function").InplaceFunction):
        @staticmethod
        def forward(ctx, x, inplace=False):
            ctx.inplace = inplace
            if inplace:
                ctx.mark_dirty(x)
            return (x if inplace else x.clone()).round_()

        @staticmethod
        def backward(ctx, g):
            return g, None

    x = leaf(torch)
    y = x * 1
    Rounded.apply(y, True).sum().backward()
    return y, x.grad, Rounded.apply(x), Rounded(True).inplace


@programs
def custom_function_with_many_outputs(torch):
    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            index = x.argmax()
            ctx.mark_non_differentiable(index)
            return x * y, x + y, index

        @staticmethod
        def backward(ctx, a, b, c):
            x, y = ctx.saved_tensors
            return a * y + b, a * x + b if ctx.needs_input_grad[1] else None

    x, y = leaf(torch), leaf(torch, 3.0, 4.0, 5.0)
    p, s, i = Both.apply(x, y)
    p.sum().backward()
    q, _, _ = Both.apply(x, y.detach())
    q.sum().backward()
    return p, s, i, i.requires_grad, x.grad, y.grad


@programs
def setup_context_form(torch):
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(x, k):
            return x * k

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, k = inputs
            ctx.k = k
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            (out,) = ctx.saved_tensors
            return g * ctx.k + out * 0, None

    x = leaf(torch)
    Scale.apply(x, 4).sum().backward()
    return x.grad


@programs
def mark_dirty(torch):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = leaf(torch)
    y = x * 1
    z = Double.apply(y)
    (z * z).sum().backward()
    return z is y, y, x.grad


@programs
def straight_through(torch):
    class Round(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.round()

        @staticmethod
        def backward(ctx, g):
            return g

    x = leaf(torch)
    (Round.apply(x) * x).sum().backward()
    return x.grad


@programs
def missing_gradients(torch):
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, a, b):
            return a + b * 2

    class Raw(Two):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, a, b):
            return a if b is None else b

    x = leaf(torch)
    Two.apply(x)[0].sum().backward()
    first = x.grad.clone()
    Raw.apply(x)[0].sum().backward()
    return first, x.grad


@programs
def returning_an_input(torch):
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, g):
            return g * -1

    x = leaf(torch)
    y = Same.apply(x)
    (y * 2).sum().backward()
    return y, x.grad, y is x, x.is_leaf


@programs
def once_differentiable(torch):
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g

    x = leaf(torch)
    F.apply(x).sum().backward()
    return x.grad


@programs
def functions_inside_functions(torch):
    class Inner(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 3

        @staticmethod
        def backward(ctx, g):
            return g * 3

    class Checkpoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return Inner.apply(x).exp()

        @staticmethod
        def backward(ctx, g):
            x = ctx.saved_tensors[0].detach().requires_grad_()
            with torch.enable_grad():
                y = Inner.apply(x).exp()
            torch.autograd.backward(y, g)
            return x.grad

    x = leaf(torch)
    Checkpoint.apply(x * 1).sum().backward()
    return x.grad


# --- functional ----------------------------------------------------------------------------------------------------


@programs
def jacobians(torch):
    from_ = torch.autograd.functional
    x, y = leaf(torch).detach(), leaf(torch, 1.0, 2.0, 3.0).detach()
    return [
        from_.jacobian(lambda a: a**2, x), from_.jacobian(lambda a, b: (a * b, a.sum()), (x, y)),
        from_.hessian(lambda a: (a**3).sum(), x), from_.hessian(lambda a, b: (a * b).sin().sum(), (x, y)),
        from_.vjp(lambda a: a.exp(), x, y), from_.jvp(lambda a: a.exp() * a.sum(), x, y),
        from_.hvp(lambda a: (a**4).sum(), x, y), from_.vhp(lambda a: (a**4).sum(), x, y),
        from_.vjp(lambda a: a.sum(), x), from_.jacobian(lambda a: a.reshape(3, 1) * a, x),
        from_.jacobian(lambda a: torch.ones(2), x),
    ]  # fmt: skip


@programs
def jacobian_with_create_graph(torch):
    x = leaf(torch)
    j = torch.autograd.functional.jacobian(lambda a: a**3, x, create_graph=True)
    j.sum().backward()
    return j, x.grad


@programs
def gradchecks(torch):
    x = leaf(torch)
    return [
        torch.autograd.gradcheck(lambda a: a.sin() * a, (x,)), torch.autograd.gradgradcheck(lambda a: a**3, (x,)),
        torch.autograd.gradcheck(lambda a, b: a @ b, (leaf(torch), leaf(torch))),
    ]  # fmt: skip


@programs
def the_node_of_a_function(torch):
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, number, b, indices):
            return a * number + b

        @staticmethod
        def backward(ctx, grad):
            return grad, None, None, None

    x = leaf(torch)
    node = Scaled.apply(x.exp(), 2.0, torch.ones(3), torch.arange(3)).grad_fn
    ends = [None if n is None else n.name() for n, _ in node.next_functions]
    return ends, repr(node).partition(" at ")[0], node.name()


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


def test_gradcheck_returns_false_when_asked():
    class Wrong(jtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return g

    assert not jtorch.autograd.gradcheck(Wrong.apply, (leaf(jtorch),), raise_exception=False)


def test_gradgradcheck_draws_as_pytorch_does():
    def f(torch):
        x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
        torch.manual_seed(0)
        assert torch.autograd.gradgradcheck(lambda v: (v * 1j).exp(), x)
        return torch.rand(2)

    check(f)


def test_gradgradcheck_finds_a_wrong_second_derivative():
    class Wrong(jtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x.detach() ** 2  # right, and a constant to the second derivative

    assert jtorch.autograd.gradcheck(Wrong.apply, (leaf(jtorch),))
    with pytest.raises(jtorch.autograd.GradcheckError):
        jtorch.autograd.gradgradcheck(Wrong.apply, (leaf(jtorch),))


def test_a_saved_output_that_is_a_view_of_something_written_to():
    class Shifted(jtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * 2
            y.add_(1)
            z = y.squeeze(0)
            ctx.save_for_backward(z)
            return z

        @staticmethod
        def backward(ctx, g):
            return (g * ctx.saved_tensors[0]).unsqueeze(0)

    x = jtorch.ones(1, 3, requires_grad=True)
    Shifted.apply(x).sum().backward()
    assert x.grad.tolist() == [[3.0, 3.0, 3.0]]
    y = Shifted.apply(x)
    with jtorch.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_leaf_that_a_function_says_it_wrote_is_refused():
    def f(torch):
        class Doubled(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.mark_dirty(x)
                return x.mul_(2)

            @staticmethod
            def backward(ctx, g):
                return g * 2

        return Doubled.apply(leaf(torch))

    check_raises(f, RuntimeError, "leaf Variable that requires grad")


class _Same(jtorch.autograd.Function):
    @staticmethod
    def forward(ctx, *xs):
        return xs if len(xs) > 1 else xs[0]

    @staticmethod
    def backward(ctx, *grads):
        return grads


def test_an_input_returned_as_it_is_comes_back_as_another_tensor():
    x = jtorch.ones(2)
    y = _Same.apply(x)
    assert y is not x and not x.requires_grad
    y.requires_grad_()
    assert not x.requires_grad
    y.detach().add_(1)
    assert x.tolist() == [2, 2]
    x.requires_grad_()
    with jtorch.no_grad():
        assert _Same.apply(x) is not x


@pytest.mark.parametrize("several", [False, True])
def test_an_input_returned_as_it_is_is_not_written_in_place(several):
    x = jtorch.ones(2, requires_grad=True) * 1
    y = _Same.apply(x, x + 1)[0] if several else _Same.apply(x)
    words = "returns multiple views" if several else "created inside a custom Function"
    for written in (y, y[:1]):
        with pytest.raises(RuntimeError, match=words):
            written.mul_(2)
    with jtorch.no_grad():
        y.mul_(2)
    assert x.tolist() == [2, 2]


@pytest.mark.parametrize("product", ["hessian", "hvp", "vhp"])
def test_strict_hessians_of_linear_functions(product):
    x = jtorch.ones(2)
    arguments = (x,) if product == "hessian" else (x, x)
    with pytest.raises(RuntimeError, match="jacobian of the user-provided function with respect to input 0 is indep"):
        getattr(jtorch.autograd.functional, product)(lambda a: (3 * a).sum(), *arguments, strict=True)


def _more(t, fn):
    """``fn``, whose backward adds a hundredth to the gradient."""

    def f(x):
        y = fn(x)
        y.register_hook(lambda g: g + 1e-2)
        return y

    return f


GRADCHECKS = {
    "an expanded input": (
        lambda t: t.autograd.gradcheck(lambda x: x, t.ones(1, dtype=t.float64, requires_grad=True).expand(2, 2)),
        RuntimeError,
        "dimension with stride 0",
    ),
    "no mode": (lambda t: t.autograd.gradcheck(t.sin, leaf(t), check_backward_ad=False), AssertionError, "at least"),
    "a constant that is none": (
        lambda t: t.autograd.gradcheck(lambda x: t.tensor([x[0]]), leaf(t)),
        RuntimeError,
        "to be zero",
    ),
    "a dtype that depends on numbers": (
        lambda t: t.autograd.gradcheck(lambda x: x.float() if x.max() >= 1 else x, leaf(t, 1.0)),
        AssertionError,
        "same dtype",
    ),
    "not multiplied": (
        lambda t: t.autograd.gradcheck(_more(t, t.clone), leaf(t), atol=0.1),
        RuntimeError,
        "not multiplied",
    ),
    "wrong in the imaginary part": (
        lambda t: t.autograd.gradcheck(_more(t, lambda x: t.complex(x, x)), leaf(t)),
        RuntimeError,
        "imaginary part",
    ),
    "an option that there is not": (
        lambda t: t.autograd.gradgradcheck(t.sin, leaf(t), tolerance=1),
        TypeError,
        "toler",
    ),
}


@pytest.mark.parametrize("name", GRADCHECKS)
def test_gradcheck_refuses(name):
    program, error, word = GRADCHECKS[name]
    check_raises(program, error, word)
