"""Forward mode: dual tensors, and what operations, writes, views and custom functions make of their tangents."""

from __future__ import annotations

import pytest

import jtorch

from .both import Table, check, check_raises, part

programs = Table()


def vectors(torch, *shape, seed=0):
    torch.manual_seed(seed)
    return torch.randn(*shape), torch.randn(*shape)


@programs
def a_model(torch):
    forward_ad = part(torch, "autograd.forward_ad")
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 4), torch.nn.LayerNorm(4)
    )
    x, t = vectors(torch, 2, 1, 4, 4)
    with torch.no_grad(), forward_ad.dual_level():
        out = model(forward_ad.make_dual(x, t))
        loss = torch.nn.functional.cross_entropy(out, torch.tensor([0, 1]))
        found = [forward_ad.unpack_dual(out).tangent, forward_ad.unpack_dual(loss).tangent]
        found.append(forward_ad.unpack_dual(out.detach()).tangent)
    return found, forward_ad.unpack_dual(out).tangent


@programs
def parameters(torch):
    forward_ad = part(torch, "autograd.forward_ad")
    torch.manual_seed(1)
    layer = torch.nn.Linear(3, 2)
    names = {name: (p, torch.rand_like(p)) for name, p in layer.named_parameters()}
    with forward_ad.dual_level():
        for name, (p, t) in names.items():
            delattr(layer, name)
            setattr(layer, name, forward_ad.make_dual(p, t))
        return forward_ad.unpack_dual(layer(torch.ones(4, 3))).tangent.detach()


@programs
def a_tangent_of_another_dtype(torch):
    forward_ad = part(torch, "autograd.forward_ad")
    x, t = vectors(torch, 3)
    with forward_ad.dual_level():
        y = forward_ad.make_dual(x.double(), t).sin()
        return forward_ad.unpack_dual(y).tangent


@programs
def writes_and_views(torch):
    forward_ad = part(torch, "autograd.forward_ad")
    x, t = vectors(torch, 2, 3)
    with forward_ad.dual_level():
        d = forward_ad.make_dual(x, t)
        base = torch.zeros(4, 3)
        row = base[1]
        base[:2] = d
        base.mul_(3)
        found = [base, row, base.T[0], d.reshape(-1)[2:], torch.cat([d, base]), d.sort(dim=1).values]
        d.fill_(2)
        found.append(d)
        return [(forward_ad.unpack_dual(f).primal, forward_ad.unpack_dual(f).tangent) for f in found]


@programs
def reverse_over_forward(torch):
    forward_ad = part(torch, "autograd.forward_ad")
    x, t = vectors(torch, 4)
    x.requires_grad_()
    with forward_ad.dual_level():
        d = forward_ad.make_dual(x, t)
        along = forward_ad.unpack_dual((d.sin() * d.exp()).sum()).tangent
    return torch.autograd.grad(along, x)[0].detach()


@programs
def custom_function(torch):
    forward_ad = part(torch, "autograd.forward_ad")

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(x, factor):
            return x * x * factor

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.factor = inputs[1]
            ctx.save_for_backward(inputs[0])
            ctx.save_for_forward(inputs[0])

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0] * ctx.factor, None

        @staticmethod
        def jvp(ctx, t, _):
            return 2 * t * ctx.saved_tensors[0] * ctx.factor

    x, t = vectors(torch, 3)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(Square.apply(forward_ad.make_dual(x, t), 3)).tangent
    x = x.double().requires_grad_()
    return tangent, torch.autograd.gradcheck(lambda x: Square.apply(x, 3), x, check_forward_ad=True)


@programs
def no_level(torch):
    x = torch.ones(2)
    part(torch, "autograd.forward_ad").make_dual(x, x)


@programs
def another_shape(torch):
    forward_ad = part(torch, "autograd.forward_ad")
    with forward_ad.dual_level():
        forward_ad.make_dual(torch.ones(2), torch.ones(3))


@programs
def a_level_in_a_level(torch):
    forward_ad = part(torch, "autograd.forward_ad")
    with forward_ad.dual_level(), forward_ad.dual_level():
        pass


@programs
def a_wrong_jvp(torch):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

        @staticmethod
        def jvp(ctx, t):
            return t * 3

    torch.autograd.gradcheck(Wrong.apply, torch.ones(2, dtype=torch.float64, requires_grad=True), check_forward_ad=True)


ERRORS = {
    "no_level": (RuntimeError, "no level exists"),
    "another_shape": (RuntimeError, "different size"),
    "a_level_in_a_level": (RuntimeError, "nested"),
    "a_wrong_jvp": (RuntimeError, "forward mode mismatch"),
}


@pytest.mark.parametrize("name", [n for n in programs if n not in ERRORS])
def test_as_in_pytorch(name):
    check(programs[name])


@pytest.mark.parametrize("name", ERRORS)
def test_refused_as_in_pytorch(name):
    check_raises(programs[name], *ERRORS[name])


def test_out_has_no_forward_mode_and_tangents_have_no_tangents():
    plain, fwAD = jtorch.ones(2), jtorch.autograd.forward_ad
    with fwAD.dual_level():
        dual = fwAD.make_dual(jtorch.ones(2), jtorch.ones(2))
        for inputs, out in (((dual, plain), jtorch.ones(2)), ((plain, plain), dual)):
            with pytest.raises(NotImplementedError, match="add_out that does not support it"):
                jtorch.add(*inputs, out=out)
        with pytest.raises(RuntimeError, match="has a forward gradient at the same level"):
            fwAD.make_dual(plain, dual)
