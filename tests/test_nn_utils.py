"""Lazy modules, normalised and parametrized weights, and the helpers of nn.utils, against PyTorch."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import jtorch
from jtorch import nn

from .test_nn_module import both, error, net

torch = pytest.importorskip("torch")


# --- helpers -------------------------------------------------------------------------------------------------------


def test_functional_call():
    from jtorch.nn.utils.stateless import functional_call

    m = net(jtorch)
    new = {"scale": jtorch.tensor([5.0, 6.0], requires_grad=True)}
    x = jtorch.ones(2, 3)
    out = functional_call(m.eval(), new, (x,))
    np.testing.assert_allclose(out.detach().numpy(), (m(x) * new["scale"]).detach().numpy(), rtol=1e-6)
    out.sum().backward()
    assert new["scale"].grad is not None and m.scale.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="Missing key"):
        functional_call(m, new, x, strict=True)
    tied = functional_call(m, {"alias.weight": jtorch.zeros(2, 4), "alias.bias": jtorch.ones(2)}, x)
    assert tied.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clip_grad(norm_type):
    def clipped(lib, by_value=False):
        ps = [lib.nn.Parameter(lib.zeros(2)), lib.nn.Parameter(lib.zeros(3)), lib.nn.Parameter(lib.zeros(1))]
        ps[0].grad, ps[1].grad = lib.tensor([3.0, -4.0]), lib.tensor([1.0, 2.0, 2.0])
        if by_value:
            lib.nn.utils.clip_grad_value_(ps, 1.5)
            total = 0.0
        else:
            total = lib.nn.utils.clip_grad_norm_(ps, 1.0, norm_type).item()
        return np.concatenate([[total], *(p.grad.numpy() for p in ps[:2])])

    np.testing.assert_allclose(clipped(jtorch), clipped(torch), rtol=1e-6)
    np.testing.assert_allclose(clipped(jtorch, True), clipped(torch, True), rtol=1e-6)


def test_clip_grad_nonfinite():
    p = nn.Parameter(jtorch.zeros(1))
    p.grad = jtorch.tensor([float("nan")])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0


def test_parameter_vectors():
    m = nn.Linear(2, 3)
    v = nn.utils.parameters_to_vector(m.parameters())
    assert v.shape == (9,)
    nn.utils.vector_to_parameters(jtorch.arange(9.0), m.parameters())
    assert m.bias.tolist() == [6, 7, 8] and m.weight.shape == (3, 2)


def test_fuse_conv_bn():
    conv, bn = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
    x = jtorch.randn(4, 2, 5, 5)
    bn(conv(x))
    conv.eval(), bn.eval()
    fused = nn.utils.fuse_conv_bn_eval(conv, bn)
    np.testing.assert_allclose(fused(x).detach().numpy(), bn(conv(x)).detach().numpy(), atol=1e-5)


# --- lazy modules, normalised and parametrized weights -------------------------------------------------------------

SEEN = np.linspace(-1, 1, 2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.LazyLinear(4),
        lambda nn: nn.LazyLinear(4, bias=False),
        lambda nn: nn.LazyConv2d(4, 2),
        lambda nn: nn.LazyConvTranspose2d(4, 2, stride=2),
        lambda nn: nn.LazyBatchNorm2d(),
        lambda nn: nn.LazyInstanceNorm2d(affine=True),
        lambda nn: nn.Sequential(nn.LazyConv2d(2, 1), nn.LazyBatchNorm2d(affine=False), nn.Flatten(), nn.LazyLinear(3)),
    ],
)
def test_lazy(make):
    def log(lib):
        lib.manual_seed(5)
        m = make(lib.nn)
        before = repr(m)
        out = m(lib.tensor(SEEN))
        again = make(lib.nn)
        again.load_state_dict(m.state_dict())
        outs = [out, *m.state_dict().values()]
        if lib is jtorch:  # PyTorch's lazy norms forget how many features they loaded
            np.testing.assert_allclose(again.eval()(lib.tensor(SEEN)).tolist(), m.eval()(lib.tensor(SEEN)).tolist())
        return before, repr(m), list(m.state_dict()), [t.detach().numpy() for t in outs]

    ours, theirs = log(jtorch), log(torch)
    assert ours[:3] == theirs[:3]
    for a, b in zip(ours[3], theirs[3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_lazy_before_the_first_input():
    m = nn.LazyLinear(2)
    assert isinstance(m.weight, nn.UninitializedParameter) and repr(m.weight) == repr(torch.nn.UninitializedParameter())
    with pytest.raises(RuntimeError, match="shape of an uninitialized"):
        m.weight.shape  # noqa: B018
    twin = copy.deepcopy(m)
    m.double(), twin(jtorch.ones(1, 3))
    assert type(twin) is nn.Linear and type(m) is nn.LazyLinear


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize(
    "convert", [lambda m, t: m.to(t.float64), lambda m, t: m.to("cpu", t.float64), lambda m, t: m.double()]
)
def test_lazy_and_converted(convert):
    for make in (lambda: nn.LazyConvTranspose1d(3, 2), lambda: nn.LazyConv1d(3, 2), nn.LazyBatchNorm1d):
        m = convert(make(), jtorch)
        assert m(jtorch.ones(4, 2, 5, dtype=jtorch.float64)).dtype is jtorch.float64
        assert {t.dtype for t in m.state_dict().values() if t.is_floating_point()} == {jtorch.float64}


@pytest.mark.filterwarnings("ignore:.*(weight_norm|spectral_norm).* is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", ["old weight_norm", "old spectral_norm", "weight_norm", "spectral_norm"])
def test_normalised_weights(kind):
    def log(lib):
        lib.manual_seed(5)
        utils = lib.nn.utils
        wrap = getattr(utils if kind.startswith("old") else utils.parametrizations, kind.removeprefix("old "))
        m = wrap(lib.nn.Conv2d(3, 4, 2))
        names = list(m.state_dict())
        outs = []
        for _ in range(2):
            out = m(lib.tensor(SEEN))
            out.square().sum().backward()
            outs.append(out)
        m.eval()
        outs += [m(lib.tensor(SEEN)), m.weight, *(p.grad for p in m.parameters())]
        if kind.startswith("old"):
            getattr(utils, "remove_" + kind.removeprefix("old "))(m)
        else:
            utils.parametrize.remove_parametrizations(m, "weight")
        outs.append(m(lib.tensor(SEEN)))
        return names, list(m.state_dict()), type(m).__name__, [o.detach().numpy() for o in outs]

    *ours, our_outs = log(jtorch)
    *theirs, their_outs = log(torch)
    assert ours == theirs
    for a, b in zip(our_outs, their_outs, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4, rtol=2e-4)


def test_parametrize():
    def log(lib):
        class Symmetric(lib.nn.Module):
            def forward(self, x):
                return x.triu() + x.triu(1).transpose(-1, -2)

        class Double(lib.nn.Module):
            def forward(self, x):
                return 2 * x

            def right_inverse(self, x):
                return x / 2

        P = lib.nn.utils.parametrize
        lib.manual_seed(1)
        m = lib.nn.Linear(3, 3)
        P.register_parametrization(m, "weight", Symmetric())
        P.register_parametrization(m, "bias", Double())
        out = [repr(m), list(m.state_dict()), P.is_parametrized(m, "weight"), type(m).__name__]
        m.bias = lib.ones(3)
        out += [m.bias.tolist(), m.parametrizations.bias.original.tolist(), bool((m.weight == m.weight.T).all())]
        m(lib.ones(1, 3)).sum().backward()
        out += [m.parametrizations.weight.original.grad.tolist(), P.type_before_parametrizations(m).__name__]
        with P.cached():
            out.append(m.weight is m.weight)
        P.remove_parametrizations(m, "weight")
        P.remove_parametrizations(m, "bias", leave_parametrized=False)
        out += [repr(m), list(m.state_dict()), m.bias.tolist(), type(m).__name__]
        out.append(error(P.register_parametrization, m, "nothing", Double())[0])
        return out

    both(log)


def test_adaptive_softmax():
    def log(lib):
        lib.manual_seed(1)
        m = lib.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0)
        x = lib.tensor(np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8))
        result = m(x, lib.tensor([0, 4, 9, 2]))
        result.loss.backward()
        return repr(m), [
            t.detach().numpy()
            for t in (result.output, result.loss, m.log_prob(x), m.predict(x), *(p.grad for p in m.parameters()))
        ]

    ours, theirs = log(jtorch), log(torch)
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_reparametrized_for_a_while():
    layer = nn.Linear(2, 1, bias=False)
    nn.init._no_grad_fill_(layer.weight, 1.0)
    with nn.utils.stateless._reparametrize_module(layer, {"weight": jtorch.full((1, 2), 3.0)}):
        assert layer(jtorch.ones(2)).tolist() == [6.0]
    assert layer(jtorch.ones(2)).tolist() == [2.0]


def test_tensors_in_groups():
    from jtorch.utils import _foreach_utils

    group = _foreach_utils._group_tensors_by_device_and_dtype
    x, y = jtorch.ones(2), jtorch.ones(2, dtype=jtorch.float64)
    found = group([[x, y, x], [y, x, None], []], with_indices=True)
    cpu = jtorch.device("cpu")
    assert list(found) == [(cpu, jtorch.float32), (cpu, jtorch.float64)]
    rows, indices = found[cpu, jtorch.float32]
    assert indices == [0, 2] and rows[0][1] is x and rows[1] == [y, None] and rows[2] == []
    with pytest.raises(RuntimeError, match="one length"):
        group([[x], [x, y]])
    with pytest.raises(RuntimeError, match="0-th"):
        group([[None]])
