"""Gradients of slices of one tensor: joined where they lie side by side, added up where they do not."""

import pytest

import jtorch
from jtorch.debug import counters

from .both import check

#: sums over parts of a (4, 6, 9) tensor
LOSSES = {
    "split": lambda x: sum((i + 1) * (p**2).sum() for i, p in enumerate(x.split(3, 2))),
    "unbind": lambda x: sum((i + 1) * (p**2).sum() for i, p in enumerate(x.unbind(1))),
    "every index": lambda x: sum((i + 1) * (x[:, i] ** 2).sum() for i in range(6)),
    "from the end": lambda x: sum((i + 1) * (x[:, -1 - i] ** 2).sum() for i in range(6)),
    "not the last": lambda x: sum((i + 1) * (x[:, i] ** 2).sum() for i in range(5)),
    "one twice": lambda x: sum((i + 1) * (x[:, i % 6] ** 2).sum() for i in range(7)),
    "halves": lambda x: (x[:, :3] ** 2).sum() + (x[:, 3:] * 2).sum(),
    "overlapping": lambda x: (x[:, :4] ** 2).sum() + (x[:, 3:] * 2).sum(),
    "and the whole": lambda x: (x[:, :3] ** 2).sum() + (x[:, 3:] * 2).sum() + x.sum(),
    "slices and an index": lambda x: (x[:, :3] ** 2).sum() + (x[:, 3] * 2).sum() + (x[:, 4:] ** 3).sum(),
    "two dims": lambda x: (x[:, :3] ** 2).sum() + (x[:, :, 3] * 2).sum() + (x[:, 3:] ** 3).sum(),
    "steps": lambda x: (x[:, ::2] ** 2).sum() + (x[:, 1::2] * 2).sum(),
    "an empty part": lambda x: sum((p.exp() * (i + 1)).sum() for i, p in enumerate(x.split([2, 0, 4], 1))),
    "narrow": lambda x: (x.narrow(0, 0, 1) ** 2).sum() + x.narrow(0, 1, 3).exp().sum(),
    "one part": lambda x: x.chunk(2, 1)[1].sum(),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_parts(name):
    def program(torch):
        x = torch.linspace(-1, 1, 4 * 6 * 9).reshape(4, 6, 9).requires_grad_()
        LOSSES[name](x * 1.5).backward()
        return x.grad

    check(program)


def test_hooks_see_the_parts_and_the_whole():
    def program(torch):
        x = torch.linspace(-1, 1, 24).reshape(6, 4).requires_grad_()
        seen = []
        y = x * 1.5
        y.register_hook(lambda g: seen.append(g.clone()))
        a, b = y[:3], y[3:]
        a.register_hook(lambda g: g * 2)
        a.retain_grad()
        b.grad_fn.register_hook(lambda gradients, given: seen.append(gradients[0].clone()))
        ((a**2).sum() + (b * 3).sum()).backward()
        return x.grad, a.grad, seen

    check(program)


def test_asked_for_and_walked_again():
    def program(torch):
        x = torch.linspace(-1, 1, 24).reshape(6, 4).requires_grad_()
        y = x * 2
        a, b = y[:3], y[3:]
        loss = (a * a).sum() + (b**3).sum()
        first = torch.autograd.grad(loss, [y, x], retain_graph=True)
        loss.backward(retain_graph=True)
        loss.backward()
        (g,) = torch.autograd.grad(((x[:3] ** 3).sum() + (x[3:] ** 2).sum()), x, create_graph=True)
        return first, x.grad, torch.autograd.grad((g**2).sum(), x)

    check(program)


def test_split_is_joined_by_one_operation():
    def calls(parts):
        x = jtorch.ones(64, 4, requires_grad=True)
        loss = sum(p.sum() for p in x.split(64 // parts))
        jtorch.sync()
        before = counters()["calls"]
        loss.backward()
        jtorch.sync()
        return counters()["calls"] - before

    assert calls(32) - calls(16) <= 2 * 16  # for each part what its sum gives, and nothing for its place
