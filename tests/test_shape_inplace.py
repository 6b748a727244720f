"""``squeeze_``, ``unsqueeze_``, ``t_``, ``transpose_``: one tensor's shape changes, its views and base keep theirs."""

from __future__ import annotations

import pytest

from .both import Table, check, check_raises

programs = Table()


@programs
def a_base_that_has_views(torch):
    base = torch.arange(6.0)
    view, other = base[1:3], base.view(2, 3)
    one = view[0]
    assert base.unsqueeze_(0) is base
    one.fill_(9)
    late = base[0, 2:]
    late.mul_(2)
    view.add_(1)
    other[1].zero_()
    return base, view, one, late, other, base.stride()


@programs
def a_view(torch):
    base = torch.arange(6.0)
    view = base.view(2, 3)
    view.t_()
    view[0] = 7
    return base, view, view.is_contiguous(), view.stride(), view.shape


@programs
def one_after_the_other(torch):
    x = torch.arange(6.0).reshape(1, 6)
    assert x.squeeze_().unsqueeze_(1).swapaxes_(0, 1) is x
    x += 1
    return x, x.stride()


@programs
def a_base_that_nobody_shares(torch):
    return torch.ones(2, 1, 3).squeeze_(1).t_().unsqueeze_(axis=0)


@programs
def gradients_through_views(torch):
    w = torch.arange(4.0, requires_grad=True)
    y = w * 2
    view = y[:2]
    y.unsqueeze_(0)
    view.mul_(3)
    z = y.view(2, 2)
    z.transpose_(0, 1)
    z.mul_(torch.tensor([1.0, 3.0]))
    (y * torch.tensor([1.0, 2, 3, 4])).sum().backward()
    return w.grad, y, view, z


@programs
def without_gradients(torch):
    x = torch.arange(6.0).reshape(2, 3)
    with torch.no_grad():
        x.t_()
    w = torch.ones(3, 2, requires_grad=True)
    x.mul_(w)
    x.sum().backward()
    return w.grad, x


@programs
def data_and_detached(torch):
    parameter = torch.nn.Parameter(torch.ones(3))
    data, detached = parameter.data, parameter.detach()
    data.unsqueeze_(0)
    data.add_(1)
    detached.unsqueeze_(1)
    return parameter.shape, data, detached


@programs
def a_parameter(torch):
    parameter = torch.nn.Parameter(torch.ones(3))
    with torch.no_grad():
        parameter.unsqueeze_(0)
    (parameter * 2).sum().backward()
    return parameter.shape, parameter.is_leaf, parameter.grad


@pytest.mark.parametrize("name", programs)
def test_program(name):
    check(programs[name])


def test_a_view_of_a_leaf_is_refused():
    def program(torch):
        torch.ones(4, requires_grad=True).view(2, 2).unsqueeze_(0)

    check_raises(program, RuntimeError, "view of a leaf")
