"""Checkpointed calls are graphs like others: every kind of backward, how often the function runs, what is refused."""

from __future__ import annotations

import pytest

from .both import Table, check, check_raises, part

programs = Table()


def counted(torch, seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.LayerNorm(4), torch.nn.Linear(4, 4)
    )
    calls = [0]

    def function(x):
        calls[0] += 1
        return model(x)

    return function, model, calls, torch.randn(3, 4, requires_grad=True)


def detached(tensors):
    return [None if t is None else t.detach() for t in tensors]


@programs
def second_derivatives(torch):
    checkpoint = part(torch, "utils.checkpoint").checkpoint
    f, model, calls, x = counted(torch)
    torch.manual_seed(1)
    out = checkpoint(f, x, use_reentrant=False)
    (g,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
    return calls, detached(torch.autograd.grad(g.pow(2).sum(), [x, *model.parameters()], allow_unused=True))


@programs
def inside_one_another(torch):
    checkpoint = part(torch, "utils.checkpoint").checkpoint
    f, model, calls, x = counted(torch)

    def twice(x):
        return checkpoint(f, checkpoint(f, x, use_reentrant=False).sin(), use_reentrant=False)

    torch.manual_seed(1)
    out = checkpoint(twice, x, use_reentrant=False)
    before = calls[0]
    out.sum().backward()
    return before, calls, x.grad, [p.grad for p in model.parameters()]


@programs
def a_gradient_taken_inside(torch):
    module = part(torch, "utils.checkpoint")

    def slope(f):
        def g(x):
            with torch.enable_grad():
                return torch.autograd.grad(f(x), x, create_graph=True)[0]

        return g

    def checkpointed(f, early_stop):
        def g(x):
            with module.set_checkpoint_early_stop(early_stop):
                return module.checkpoint(f, x, use_reentrant=False)

        return g

    x = torch.tensor(0.7, requires_grad=True)
    found = []
    for stop in (True, False):
        y = checkpointed(slope(checkpointed(lambda x: x.sin().exp().sin(), stop)), stop)(x)
        found += detached(torch.autograd.grad(y, x))
    return found


@programs
def the_second_run_stops_early(torch):
    checkpoint = part(torch, "utils.checkpoint").checkpoint
    steps = []

    def f(x):
        for i in range(3):
            steps.append(i)
            x = x.exp()
        steps.append("end")
        return x.clone()

    out = checkpoint(f, torch.ones(2, requires_grad=True), use_reentrant=False)
    out.sum().backward()
    return steps


@programs
def only_some_inputs(torch):
    checkpoint = part(torch, "utils.checkpoint").checkpoint
    f, model, calls, x = counted(torch)
    torch.manual_seed(1)
    checkpoint(f, x, use_reentrant=False).sum().backward(inputs=[model[0].weight])
    return x.grad, [p.grad for p in model.parameters()]


@programs
def nothing_requires_grad(torch):
    checkpoint = part(torch, "utils.checkpoint").checkpoint
    return checkpoint(lambda x: x.sin(), torch.ones(2), use_reentrant=False)


def other_shapes(torch):
    times = [0]

    def f(x):
        times[0] += 1
        return (x[: times[0]] * x[: times[0]].exp()).sum().exp()

    checkpoint = part(torch, "utils.checkpoint").checkpoint
    checkpoint(f, torch.ones(3, requires_grad=True), use_reentrant=False).backward()


def fewer_operations(torch):
    times = [0]

    def f(x):
        times[0] += 1
        return x.exp().exp() if times[0] == 1 else x.exp()

    checkpoint = part(torch, "utils.checkpoint").checkpoint
    checkpoint(f, torch.ones(3, requires_grad=True), use_reentrant=False).sum().backward()


def reentrant_with_inputs(torch):
    checkpoint = part(torch, "utils.checkpoint").checkpoint
    x = torch.ones(3, requires_grad=True)
    torch.autograd.grad(checkpoint(torch.sin, x, use_reentrant=True).sum(), x)


#: derivatives of derivatives through recomputation: 20 s of compiling
SLOW = ("second_derivatives",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in programs])
def test_as_in_pytorch(name):
    check(programs[name])


@pytest.mark.parametrize(
    "program, words",
    [
        (other_shapes, "different metadata"),
        (fewer_operations, "different number of tensors"),
        (reentrant_with_inputs, "incompatible with .grad()"),
    ],
)
def test_refused_as_in_pytorch(program, words):
    check_raises(program, RuntimeError, words)
