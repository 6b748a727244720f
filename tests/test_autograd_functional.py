"""``autograd.functional`` where a function is constant, linear or given nonsense, as in PyTorch."""

from __future__ import annotations

import pytest

from .both import Table, check, check_raises

programs = Table()


@programs
def constant_and_linear(torch):
    f, x = torch.autograd.functional, torch.tensor([0.5, -1.0, 2.0])
    apart = torch.ones(2)
    return [
        f.jacobian(lambda x: x.detach() * 2, x), f.hessian(lambda x: (x * 3).sum(), x),
        f.hessian(lambda x, y: (x**3).sum(), (x, apart)), f.vjp(lambda x: torch.ones(3), x, torch.ones(3)),
        f.jvp(lambda x, y: x * 2, (x, apart), (x, apart)), f.hvp(lambda x: x.sum(), x, x),
        f.vhp(lambda x: (x**3).sum(), x, x),
    ]  # fmt: skip


@programs
def a_batch_of_gradients(torch):
    x = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
    y = x**2
    first = torch.autograd.grad(y, x, torch.eye(3), retain_graph=True, is_grads_batched=True)
    return first, torch.autograd.grad(y, x, 2 * torch.eye(3), is_grads_batched=True)


WRONG = {
    "a_number": (lambda torch: torch.autograd.functional.jacobian(torch.sin, 2.0), TypeError, "inputs given to"),
    "a_vector_of_another_size": (
        lambda torch: torch.autograd.functional.vjp(torch.sin, torch.ones(3), torch.ones(2)), RuntimeError, "size",
    ),
    "no_vector": (
        lambda torch: torch.autograd.functional.vjp(torch.sin, torch.ones(3)), RuntimeError, "can only be None",
    ),
    "independent": (
        lambda torch: torch.autograd.functional.jacobian(lambda x: x.detach(), torch.ones(3), strict=True),
        RuntimeError, "does not require gradients",
    ),
    "several_elements": (
        lambda torch: torch.autograd.functional.hessian(torch.sin, torch.ones(3)), RuntimeError, "single element",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


@pytest.mark.parametrize("name", WRONG)
def test_refused_as_in_pytorch(name):
    check_raises(*WRONG[name])
