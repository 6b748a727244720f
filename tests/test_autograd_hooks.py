"""Hooks, and grad modes."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])
