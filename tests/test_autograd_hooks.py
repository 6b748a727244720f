"""Hooks, and grad modes."""

from __future__ import annotations

import pytest

import jtorch

from .both import Table, check, leaf

programs = Table()


@programs
def tensor_hooks(torch):
    x = leaf(torch)
    y = x * 2
    seen = []
    first = y.register_hook(lambda g: seen.append(g.clone()) or g * 10)
    y.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: seen.append(g.clone()) or g * 0.5)
    (y * y).sum().backward()
    grads = [x.grad.clone()]
    first.remove()
    x.grad = None
    (x * 2).sum().backward()
    return seen, grads, x.grad


@programs
def hook_on_a_leaf_runs_once_with_the_total(torch):
    x = leaf(torch)
    seen = []
    x.register_hook(lambda g: seen.append(g.clone()))
    (x * 2 + x * x).sum().backward()
    return seen, x.grad


@programs
def hooks_with_grad(torch):
    x = leaf(torch)
    y = x * 2
    y.register_hook(lambda g: g * 3)
    return torch.autograd.grad((y * y).sum(), x, retain_graph=True), torch.autograd.grad((y * y).sum(), y)


@programs
def hook_as_a_context(torch):
    x = leaf(torch)
    with x.register_hook(lambda g: g * 100):
        x.sum().backward()
    x.sum().backward()
    return x.grad


@programs
def retain_grad(torch):
    x = leaf(torch)
    y = x * 2
    y.retain_grad()
    x.retain_grad()
    y.register_hook(lambda g: g * 3)
    (y * y).sum().backward()
    return y.grad, x.grad, y.retains_grad, x.retains_grad


@programs
def post_accumulate(torch):
    x = leaf(torch)
    seen = []
    h = x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    (x * x).sum().backward()
    (x * 2).sum().backward()
    h.remove()
    x.sum().backward()
    return seen, x.grad


@programs
def optimizer_in_the_backward(torch):
    x = leaf(torch)

    @torch.no_grad()
    def update(p):
        p.sub_(p.grad, alpha=0.1)
        p.grad = None

    x.register_post_accumulate_grad_hook(update)
    for _ in range(3):
        (x * x).sum().backward()
    return x, x.grad


# --- modes ---------------------------------------------------------------------------------------------------------


@programs
def grad_modes(torch):
    x = leaf(torch)
    made = [torch.is_grad_enabled()]
    with torch.no_grad():
        made += [torch.is_grad_enabled(), (x * 2).requires_grad]
        with torch.enable_grad():
            made += [torch.is_grad_enabled(), (x * 2).requires_grad]
        with torch.set_grad_enabled(True):
            made += [(x * 2).requires_grad]
        made += [torch.is_grad_enabled()]
        y = torch.zeros(2, requires_grad=True)
        made += [y.requires_grad]
    with torch.set_grad_enabled(False):
        made += [(x * 2).requires_grad]
    made += [torch.is_grad_enabled()]
    torch.set_grad_enabled(False)
    made += [torch.is_grad_enabled()]
    torch.set_grad_enabled(True)
    return made


@programs
def modes_as_decorators(torch):
    x = leaf(torch)

    @torch.no_grad()
    def a():
        return (x * 2).requires_grad, torch.is_grad_enabled()

    @torch.no_grad
    def b():
        return (x * 2).requires_grad

    @torch.enable_grad()
    def c():
        return (x * 2).requires_grad

    @torch.set_grad_enabled(False)
    def d():
        return torch.is_grad_enabled()

    @torch.inference_mode()
    def e():
        return torch.is_inference_mode_enabled(), (x * 2).is_inference()

    @torch.no_grad()
    def generator():
        made = yield torch.is_grad_enabled()
        yield torch.is_grad_enabled(), made

    g = generator()
    steps = [next(g), torch.is_grad_enabled(), g.send(5), torch.is_grad_enabled()]
    with torch.no_grad():
        inner = c()
    return a(), a(), b(), inner, d(), torch.is_grad_enabled(), e(), steps, a.__name__


@programs
def modes_are_restored_after_errors(torch):
    made = []
    for mode in (torch.no_grad(), torch.set_grad_enabled(False), torch.inference_mode()):
        try:
            with mode:
                raise ValueError
        except ValueError:
            made.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
    return made


@programs
def inference_mode(torch):
    x = leaf(torch)
    with torch.inference_mode():
        y = x * 2
        y.add_(1)
        made = [y.requires_grad, y.is_inference(), torch.is_inference_mode_enabled(), torch.is_grad_enabled()]
        with torch.inference_mode(False):
            made += [torch.is_inference_mode_enabled(), (x * 2).requires_grad]
    return made, y, y.is_inference(), (x.detach() + y)


@programs
def checkpoint_like_recomputation(torch):
    x = leaf(torch)
    with torch.no_grad():
        y = x.exp()
    with torch.enable_grad():
        d = x.detach().requires_grad_()
        out = d.exp()
    out.backward(torch.ones(3, dtype=torch.float64))
    return y, d.grad, x.grad


@programs
def hooks_stay_with_the_history_they_were_registered_on(torch):
    x = leaf(torch)
    y = x.clone()
    seen = []
    y.register_hook(lambda g: seen.append(g.clone()) or g * 10)
    y.retain_grad()
    y.mul_(2)
    y.register_hook(lambda g: seen.append(g.clone()) or g * 3)
    y.sum().backward()
    return seen, y.grad, x.grad


@programs
def hooks_of_views_after_a_write(torch):
    x = leaf(torch)
    base = x.clone()
    first, second = base[:2], base[1:]
    first.retain_grad()
    second.retain_grad()
    first.mul_(2)
    with torch.no_grad():
        second.add_(1)
    (first.sum() + (second * second).sum()).backward()
    return first.grad, second.grad, x.grad


@programs
def order_of_hooks(torch):
    log = []
    x = leaf(torch)
    y = x.clone()
    y.grad_fn.register_prehook(lambda gs: log.append("node") or tuple(g * 2 for g in gs))
    y.register_hook(lambda g: log.append("tensor") or g * 3)
    y.grad_fn.register_hook(lambda gi, go: log.append("after"))
    x.register_post_accumulate_grad_hook(lambda p: log.append("accumulated"))
    x.register_hook(lambda g: log.append("leaf"))
    y.sum().backward(retain_graph=True)
    log.append("|")
    torch.autograd.grad(y.sum(), x, retain_graph=True)
    log.append("|")
    y.sum().backward(inputs=[y])
    return log, x.grad, y.grad


@programs
def a_callback_may_add_another(torch):
    log = []
    engine = torch.autograd.Variable._execution_engine

    def first():
        log.append(1)
        engine.queue_callback(lambda: log.append(2))

    x = leaf(torch)
    x.register_hook(lambda g: engine.queue_callback(first))
    x.sum().backward()
    return log


@programs
def saved_tensors_by_name(torch):
    x = leaf(torch)
    y, z = x * leaf(torch, 2.0, 3.0, 4.0), x.exp()
    s = x.softmax(0)
    return (
        y.grad_fn._saved_self, y.grad_fn._saved_other.detach(), z.grad_fn._saved_result.detach(),
        s.grad_fn._saved_result.detach(), y.grad_fn._saved_self is x, (x**2).grad_fn._saved_exponent,
        (x**2).grad_fn._saved_self is x, "_saved_self" in dir((x**2).grad_fn),
    )  # fmt: skip


@programs
def twice_through_once_differentiable(torch):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    x = leaf(torch)
    (g,) = torch.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
    try:
        (g * x).sum().backward()
    except RuntimeError as error:
        return g.requires_grad, "once_differentiable" in str(error)


@programs
def written_after_it_was_saved(torch):
    x = leaf(torch)
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        y = x.clone()
        z = y.exp() * y
        y.zero_()
        z.sum().backward()
    return x.grad, y


def test_anomaly_mode_shows_the_line_of_the_forward():
    import jtorch

    x = jtorch.zeros(2, requires_grad=True)
    with pytest.warns(UserWarning, match="Anomaly Detection"):
        mode = jtorch.autograd.detect_anomaly()
    with mode:
        y = x.sqrt() * 0  # the line
        with (
            pytest.warns(UserWarning, match="(?s)SqrtBackward0.*# the line"),
            pytest.raises(RuntimeError, match="SqrtBackward0.*nan"),
        ):
            y.sum().backward()


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


def test_what_a_hook_after_accumulation_returns():
    """Nothing, or the parameter itself, as an update in place does."""
    v = jtorch.zeros(3, requires_grad=True)
    v.register_post_accumulate_grad_hook(lambda p: p.add_(p.grad, alpha=-0.5))
    v.backward(jtorch.tensor([1.0, 2.0, 4.0]))
    assert v.tolist() == [-0.5, -1.0, -2.0]
    v.register_post_accumulate_grad_hook(lambda p: p.grad)
    with pytest.raises(RuntimeError, match="should return None"):
        v.backward(jtorch.ones(3))


def test_hooks_that_pack_see_parameters_and_histories():
    """Offloading leaves parameters where they are: it asks whether a tensor is one."""
    parameter, x = jtorch.nn.Parameter(jtorch.ones(3)), jtorch.ones(3, requires_grad=True) * 2
    seen = []

    def pack(t):
        seen.append(t)
        assert not jtorch.is_grad_enabled()
        return t

    with jtorch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = x * parameter
    assert any(t is parameter for t in seen)
    assert [t.grad_fn is x.grad_fn for t in seen if t is not parameter] == [True]
    y.sum().backward()
    assert parameter.grad.tolist() == [2, 2, 2]
