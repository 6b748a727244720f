"""Quantization: scales, zero points and integers are PyTorch's; products are exact; what cannot be done says so."""

from __future__ import annotations

import copy
import importlib
import io
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

import jtorch
import jtorch.quantization
from jtorch import nn
from jtorch.ao import quantization as aq
from jtorch.ao.nn import intrinsic as nni
from jtorch.ao.nn import quantized as nnq
from jtorch.nn import functional as F
from jtorch.ops import int_dot

from .both import compare, plain


def pair(torch, array):
    return jtorch.from_numpy(array), torch.from_numpy(array)


def same(ours, theirs):
    ours, theirs = ours.numpy(), theirs.numpy()
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    np.testing.assert_array_equal(ours, theirs)


def dtype_of(torch, d):
    return getattr(torch, d.name)


SPREADS = {
    "normal": lambda r, n: r.standard_normal(n),
    "shifted": lambda r, n: r.standard_normal(n) * 3 + 5,
    "heavy tails": lambda r, n: r.standard_t(2, n),
    "relu": lambda r, n: np.maximum(r.standard_normal(n), 0),
    "tiny": lambda r, n: r.standard_normal(n) * 1e-6,
    "large": lambda r, n: r.standard_normal(n) * 1e5,
}


def sample(name, seed, shape):
    rng = np.random.default_rng(seed)
    return SPREADS[name](rng, int(np.prod(shape))).astype(np.float32).reshape(shape)


# --- quantized tensors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [aq.quint8, aq.qint8, aq.qint32], ids=str)
@pytest.mark.parametrize("spread", ["normal", "shifted", "large"])
def test_quantize_per_tensor(torch, dtype, spread):
    x, y = pair(torch, sample(spread, 0, (17, 33)))
    for scale, zero_point in [(0.1, 10), (0.037, 0), (1.0, 3), (2.5, 127)]:
        ours = aq.quantize_per_tensor(x, scale, zero_point, dtype)
        theirs = torch.quantize_per_tensor(y, scale, zero_point, dtype_of(torch, dtype))
        same(ours.int_repr(), theirs.int_repr())
        same(ours.dequantize(), theirs.dequantize())
        assert (ours.q_scale(), ours.q_zero_point()) == (theirs.q_scale(), theirs.q_zero_point())
        assert str(ours.qscheme()) == str(theirs.qscheme()) and repr(ours.dtype) == repr(theirs.dtype)


def test_halves_round_to_even(torch):
    x, y = pair(torch, (np.arange(-64, 65) / 2).astype(np.float32))
    for zero_point in (0, 1, 10, 11):
        ours = aq.quantize_per_tensor(x, 1.0, zero_point, aq.quint8)
        same(ours.int_repr(), torch.quantize_per_tensor(y, 1.0, zero_point, torch.quint8).int_repr())


def test_quantize_per_channel(torch):
    x, y = pair(torch, sample("normal", 1, (4, 5, 6)))
    for axis in range(3):
        scales, their_scales = pair(torch, np.linspace(0.01, 0.2, x.size(axis)))
        points, their_points = pair(torch, np.arange(x.size(axis)) * 3)
        ours = aq.quantize_per_channel(x, scales, points, axis, aq.quint8)
        theirs = torch.quantize_per_channel(y, their_scales, their_points, axis, torch.quint8)
        same(ours.int_repr(), theirs.int_repr())
        same(ours.dequantize(), theirs.dequantize())
        same(ours.q_per_channel_scales(), theirs.q_per_channel_scales())
        same(ours.q_per_channel_zero_points(), theirs.q_per_channel_zero_points())
        assert ours.q_per_channel_axis() == axis
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("dtype", [aq.quint8, aq.qint8], ids=str)
def test_quantize_dynamically(torch, dtype, reduce_range):
    cases = [sample(s, seed, (8, 9)) for s in SPREADS for seed in range(8)]
    cases += [np.zeros((2, 2), np.float32), np.full((3,), 1e-30, np.float32), np.full((3,), -4, np.float32)]
    for array in cases:
        x, y = pair(torch, array)
        ours = aq.quantize_per_tensor_dynamic(x, dtype, reduce_range)
        theirs = torch.quantize_per_tensor_dynamic(y, dtype_of(torch, dtype), reduce_range)
        assert (ours.q_scale(), ours.q_zero_point()) == (theirs.q_scale(), theirs.q_zero_point())
        same(ours.int_repr(), theirs.int_repr())


def test_functions_take_quantized_tensors_as_pytorchs_do(torch):
    x, y = pair(torch, sample("normal", 2, (1, 4, 4, 4)))
    ours, theirs = aq.quantize_per_tensor(x, 0.05, 60, aq.quint8), torch.quantize_per_tensor(y, 0.05, 60, torch.quint8)
    for f in (
        lambda t, F, q: F.relu(q),
        lambda t, F, q: t.nn.ReLU(inplace=True)(q.clone()),
        lambda t, F, q: t.nn.AdaptiveAvgPool2d(2)(q),
        lambda t, F, q: t.nn.AvgPool2d(2)(q),
        lambda t, F, q: F.max_pool2d(q, 2),
        lambda t, F, q: t.flatten(q, 1),
        lambda t, F, q: t.cat([q, t.quantize_per_tensor(q.dequantize(), 0.1, 3, q.dtype)], 1),
        lambda t, F, q: q.mean(3),
        lambda t, F, q: t.mean(q, dim=[2, 3]),
        lambda t, F, q: F.interpolate(q, scale_factor=2, mode="nearest"),
        lambda t, F, q: F.relu6(q),
        lambda t, F, q: F.hardtanh(q, -1, 1),
        lambda t, F, q: F.hardsigmoid(q),
        lambda t, F, q: t.sigmoid(q),
        lambda t, F, q: t.tanh(q),
        lambda t, F, q: F.leaky_relu(q, 0.11),  # 0.1 makes ties
        lambda t, F, q: F.pad(q, (1, 1)),
        lambda t, F, q: q.chunk(2, 1)[1],
        lambda t, F, q: F.pixel_shuffle(q, 2),
        lambda t, F, q: t.topk(q, 2)[0],
    ):
        a, b = f(jtorch, jtorch.nn.functional, ours), f(torch, torch.nn.functional, theirs)
        assert (a.q_scale(), a.q_zero_point(), a.dtype.__repr__()) == (b.q_scale(), b.q_zero_point(), repr(b.dtype))
        same(a.int_repr(), b.int_repr())
    for lib, q in ((jtorch, ours), (torch, theirs)):
        with pytest.raises(NotImplementedError):
            lib.nn.functional.elu(q)


def test_quantized_tensors_are_reshaped_by_functions_where_nothing_is_overridden():
    # Alone in its process: what once switched overriding on leaves it on.
    program = """if True:
        import jtorch as torch
        q = torch.quantize_per_tensor(torch.arange(24.0).reshape(2, 3, 4), 0.5, 3, torch.quint8)
        for r in (torch.flatten(q, 1), torch.reshape(q, (2, 12)), torch.nn.Flatten()(q)):
            assert r.is_quantized and r.q_scale() == 0.5 and r.q_zero_point() == 3
            assert r.int_repr().tolist() == q.int_repr().reshape(2, 12).tolist()
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_quantized_tensors_print_and_move_as_pytorchs(torch):
    x, y = pair(torch, sample("normal", 2, (1, 2, 4, 4)))
    ours, theirs = aq.quantize_per_tensor(x, 0.05, 60, aq.quint8), torch.quantize_per_tensor(y, 0.05, 60, torch.quint8)
    for f in (
        lambda q, F: q,
        lambda q, F: q.flatten(1),
        lambda q, F: q.view(2, 16)[1],
        lambda q, F: q.permute(0, 2, 3, 1),
        lambda q, F: F.relu(q) if F is not nnq.functional else nnq.functional.relu(q),
        lambda q, F: F.max_pool2d(q, 2),
        lambda q, F: F.max_pool2d(q, 3, 2, 1),
        lambda q, F: F.avg_pool2d(q, 2),
        lambda q, F: F.adaptive_avg_pool2d(q, 2),
    ):
        a, b = f(ours, nnq.functional), f(theirs, torch.nn.functional)
        assert repr(a) == repr(b)
        same(a.int_repr(), b.int_repr())
    assert ours.shape == (1, 2, 4, 4) and ours.dim() == 4 and ours.element_size() == 1 and ours.is_quantized
    assert ours.equal(ours.clone()) and not ours.equal(ours.relu())


def test_dtypes_pickle():
    for thing in (aq.qint8, aq.quint8, aq.qint32, aq.per_channel_symmetric):
        assert pickle.loads(pickle.dumps(thing)) is thing
    assert isinstance(aq.qint8, jtorch.dtype)
    assert jtorch.quantization.quantize_dynamic is aq.quantize_dynamic


# --- observers -------------------------------------------------------------------------------------------------------

CONFIGS = [
    ("MinMaxObserver", {}),
    ("MinMaxObserver", dict(dtype="qint8", qscheme="per_tensor_symmetric")),
    ("MinMaxObserver", dict(qscheme="per_tensor_symmetric")),
    ("MinMaxObserver", dict(reduce_range=True)),
    ("MinMaxObserver", dict(quant_min=0, quant_max=127)),
    ("MinMaxObserver", dict(dtype="qint8", qscheme="per_tensor_symmetric", quant_min=-127, quant_max=127, eps=2**-12)),
    ("MovingAverageMinMaxObserver", {}),
    ("MovingAverageMinMaxObserver", dict(averaging_constant=0.3, dtype="qint8")),
    ("PerChannelMinMaxObserver", dict(dtype="qint8", qscheme="per_channel_symmetric")),
    ("PerChannelMinMaxObserver", dict(ch_axis=1)),
    ("MovingAveragePerChannelMinMaxObserver", dict(averaging_constant=0.1)),
    ("HistogramObserver", {}),
    ("HistogramObserver", dict(reduce_range=True)),
    ("HistogramObserver", dict(dtype="qint8", qscheme="per_tensor_symmetric")),
    ("HistogramObserver", dict(bins=256)),
]


def observers(torch, name, options):
    def build(library, owner):
        return getattr(owner, name)(**{k: getattr(library, v) if isinstance(v, str) else v for k, v in options.items()})

    return build(aq, aq), build(torch, torch.ao.quantization)


@pytest.mark.parametrize("name, options", CONFIGS, ids=[f"{n}-{'-'.join(map(str, o))}" for n, o in CONFIGS])
@pytest.mark.parametrize("spread", ["shifted", "heavy tails", "relu"])
def test_observers_choose_pytorchs_grid(torch, name, options, spread):
    ours, theirs = observers(torch, name, options)
    for batch in range(3):
        x, y = pair(torch, sample(spread, batch, (6, 5, 40)) * np.float32(1 + batch))
        assert ours(x) is x
        theirs(y)
        for mine, reference in zip(ours.calculate_qparams(), theirs.calculate_qparams(), strict=True):
            np.testing.assert_array_equal(mine.numpy(), reference.numpy())
            assert mine.numpy().shape == reference.numpy().shape
        assert set(ours.state_dict()) == set(theirs.state_dict())
        if name == "HistogramObserver":
            np.testing.assert_array_equal(ours.histogram.numpy(), theirs.histogram.numpy())


def test_observer_state_is_loaded(torch):
    x = jtorch.from_numpy(sample("normal", 3, (4, 10)))
    for name, options in CONFIGS:
        first, _ = observers(torch, name, options)
        second, _ = observers(torch, name, options)
        first(x)
        second.load_state_dict(first.state_dict())
        for a, b in zip(first.calculate_qparams(), second.calculate_qparams(), strict=True):
            same(a, b)


def test_observer_without_values(torch):
    for observer in (aq.MinMaxObserver(), aq.HistogramObserver(), aq.PerChannelMinMaxObserver()):
        assert not observer.calibrated
        with pytest.warns(UserWarning, match="must run observer before"):
            scale, zero_point = observer.calculate_qparams()
        assert scale.tolist() == [1.0] and zero_point.tolist() == [0]
    constant = aq.HistogramObserver()
    constant(jtorch.full((5,), 2.0))
    assert constant.calibrated
    constant(jtorch.linspace(0, 4, 50))


# --- products --------------------------------------------------------------------------------------------------------


def integers(q):
    return q.int_repr().numpy().astype(np.int64) - q.q_zero_point()


@pytest.mark.parametrize("dtype", [aq.quint8, aq.qint8], ids=str)
@pytest.mark.parametrize("rows", [(1,), (), (3, 5)], ids=str)
def test_linear_is_exact_integer_arithmetic(rows, dtype):
    """The layer is its definition evaluated in wide integers, up to the last rounding."""
    layer = nnq.Linear(37, 11)
    w = aq.quantize_per_channel(
        jtorch.from_numpy(sample("normal", 4, (11, 37))),
        jtorch.linspace(0.01, 0.03, 11),
        jtorch.zeros(11).long(),
        0,
        aq.qint8,
    )
    layer.set_weight_bias(w, jtorch.linspace(-1, 1, 11))
    layer._set_grid(0.11, 5, dtype)
    x = aq.quantize_per_tensor(jtorch.from_numpy(sample("shifted", 5, (*rows, 37))), 0.09, 30, dtype)
    exact = integers(x) @ w.int_repr().numpy().astype(np.int64).T
    real = exact * (0.09 * np.linspace(0.01, 0.03, 11)) + np.linspace(-1, 1, 11)
    expected = np.clip(np.round(real / 0.11) + 5, dtype.low, dtype.high)
    got = layer(x).int_repr().numpy()
    assert got.dtype == dtype.np and np.abs(got - expected).max() <= 1 and (got == expected).mean() > 0.95


@pytest.mark.parametrize("shape", [(1, 5), (7, 64), (2, 3, 20)], ids=str)
@pytest.mark.parametrize("vnni", [True, False])
def test_products_are_exact_in_either_spelling(monkeypatch, vnni, shape):
    """With unsigned and with signed left operands, whatever this processor would choose."""
    monkeypatch.setattr(int_dot, "_has_vnni", lambda: vnni)
    rng = np.random.default_rng(0)
    w = rng.integers(-128, 128, (*shape[:-2], 6, shape[-1])).astype(np.int8)
    for dtype in (np.uint8, np.int8):
        info = np.iinfo(dtype)
        a = rng.integers(info.min, info.max + 1, shape).astype(dtype)
        a[..., 0] = info.min
        a[..., 1] = info.max

        def product(a, w):
            operand, shift = int_dot.as_operand(a, jax.numpy.asarray(9))
            assert operand.dtype == (np.uint8 if vnni else np.int8)
            return int_dot.int_dot(operand, w) - shift * w.sum(-1, dtype=np.int32)[..., None, :]

        exact = (a.astype(np.int64) - 9) @ np.swapaxes(w, -1, -2).astype(np.int64)
        np.testing.assert_array_equal(jax.jit(product)(a, w), exact)


CONVS = [
    dict(kernel_size=3),
    dict(kernel_size=3, padding=1, stride=2),
    dict(kernel_size=(3, 2), padding=(2, 1), dilation=(2, 1)),
    dict(kernel_size=1),
    dict(kernel_size=3, groups=4, padding=1),
    dict(kernel_size=3, groups=2, bias=False),
]


def fill(torch, ours, theirs):
    """The same parameters for a model of either library."""
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        array = sample("normal", len(name) + p.numel(), tuple(p.shape)) * np.float32(0.3)
        with jtorch.no_grad(), torch.no_grad():
            p.copy_(jtorch.from_numpy(array))
            q.copy_(torch.from_numpy(array))


def both(torch, build, shape, config="fbgemm"):
    """A calibrated and converted model of either library, and the input they were calibrated with."""
    models, inputs = [], pair(torch, sample("normal", 6, shape))
    ours, theirs = build(jtorch.nn, aq).eval(), build(torch.nn, torch.ao.quantization).eval()
    fill(torch, ours, theirs)
    for model, library, x in ((ours, aq, inputs[0]), (theirs, torch.ao.quantization, inputs[1])):
        model.qconfig = library.get_default_qconfig(config)
        prepared = library.prepare(model)
        prepared(x)
        models.append(library.convert(prepared))
    return models, inputs


@pytest.mark.parametrize("config", ["fbgemm", "x86", "qnnpack", "onednn"])
def test_linear_gives_pytorchs_integers(torch, config):
    def build(nn, aq):
        return nn.Sequential(aq.QuantStub(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 7))

    (ours, theirs), (x, y) = both(torch, build, (16, 40), config)
    for i in (1, 3):
        assert float(ours[i].scale) == pytest.approx(theirs[i].scale, rel=1e-6)
        assert int(ours[i].zero_point) == theirs[i].zero_point
        same(ours[i].weight().int_repr(), theirs[i].weight().int_repr())
        assert str(ours[i].weight().qscheme()) == str(theirs[i].weight().qscheme())
    same(ours[0].scale, theirs[0].scale)
    a, b = ours(x).int_repr().numpy().astype(int), theirs(y).int_repr().numpy().astype(int)
    assert np.abs(a - b).max() <= 1 and (a == b).mean() > 0.9


@pytest.mark.parametrize("options", CONVS, ids=str)
def test_conv2d_gives_pytorchs_integers(torch, options):
    def build(nn, aq):
        return nn.Sequential(aq.QuantStub(), nn.Conv2d(4, 8, **options))

    (ours, theirs), (x, y) = both(torch, build, (2, 4, 9, 8))
    printed = [repr(m).split(", scale=")[0] + repr(m)[repr(m).index(", zero_point") :] for m in (ours[1], theirs[1])]
    assert printed[0] == printed[1]  # all but the scale, which is that of convolutions whose last bits differ
    same(ours[1].weight().int_repr(), theirs[1].weight().int_repr())
    same(ours[1].weight().q_per_channel_scales(), theirs[1].weight().q_per_channel_scales())
    assert float(ours[1].scale) == pytest.approx(theirs[1].scale, rel=1e-6)
    assert int(ours[1].zero_point) == theirs[1].zero_point
    a, b = ours(x).int_repr().numpy().astype(int), theirs(y).int_repr().numpy().astype(int)
    assert a.shape == b.shape and np.abs(a - b).max() <= 1 and (a == b).mean() > 0.95
    one = ours[1](ours[0](x[:1]))
    np.testing.assert_array_equal(ours[1](ours[0](x[0])).int_repr().numpy(), one.int_repr().numpy()[0])


def test_conv2d_with_padding_by_name():
    """PyTorch's kernel takes numbers only."""
    same_size, numbered = nnq.Conv2d(2, 3, 3, padding="same"), nnq.Conv2d(2, 3, 3, padding=1)
    w = aq.quantize_per_tensor(jtorch.randn(3, 2, 3, 3), 0.02, 0, aq.qint8)
    x = aq.quantize_per_tensor(jtorch.randn(1, 2, 5, 5), 0.03, 100, aq.quint8)
    for layer in (same_size, numbered):
        layer.set_weight_bias(w, None)
        layer._set_grid(0.1, 120)
    assert same_size(x).equal(numbered(x))


def test_dynamic_linear_gives_pytorchs_numbers(torch):
    ours, theirs = nn.Sequential(nn.Linear(50, 20)), torch.nn.Sequential(torch.nn.Linear(50, 20))
    fill(torch, ours, theirs)
    ours, theirs = aq.quantize_dynamic(ours), torch.ao.quantization.quantize_dynamic(theirs)
    same(ours[0].weight().int_repr(), theirs[0].weight().int_repr())
    assert ours[0].weight().q_scale() == theirs[0].weight().q_scale()
    assert repr(ours) == repr(theirs)
    for rows in (1, 2, 16):
        x, y = pair(torch, sample("shifted", rows, (rows, 50)))
        np.testing.assert_allclose(ours(x).numpy(), theirs(y).numpy(), rtol=1e-5, atol=1e-5)


def test_fusion(torch):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5), nn.ReLU())
    model(jtorch.randn(8, 2, 5, 5))
    model.eval()
    fused = aq.fuse_modules(model, [["0", "1", "2"], ["4", "5"]])
    assert type(fused[0]) is nni.ConvReLU2d and type(fused[4]) is nni.LinearReLU and type(fused[1]) is nn.Identity
    x = jtorch.randn(3, 2, 5, 5)
    np.testing.assert_allclose(fused(x).detach().numpy(), model(x).detach().numpy(), atol=1e-5)
    assert type(model[1]) is nn.BatchNorm2d
    with pytest.raises(NotImplementedError, match="Cannot fuse modules"):
        aq.fuse_modules(model, ["2", "4"])
    with pytest.raises(AssertionError):
        aq.fuse_modules(model.train(), ["0", "1"])


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = aq.QuantStub(), aq.DeQuantStub()
        self.a, self.b, self.plus = nn.Linear(8, 8), nn.Linear(8, 8), nnq.FloatFunctional()

    def forward(self, x):
        x = self.quant(x)
        return self.dequant(self.plus.add_relu(self.a(x), self.b(x)))


def test_residual_sum():
    jtorch.manual_seed(0)
    model = Residual().eval()
    model.qconfig = aq.get_default_qconfig()
    x = jtorch.randn(64, 8)
    prepared = aq.prepare(model)
    prepared(x)
    quantized = aq.convert(prepared)
    assert type(quantized.plus) is nnq.QFunctional and "activation_post_process): Identity()" in str(quantized.plus)
    assert (quantized(x) - model(x)).abs().max().item() < 0.1


# --- fake quantization -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zero_point", [0, 3])
def test_fake_quantize_per_tensor(torch, zero_point):
    x, y = (t.requires_grad_() for t in pair(torch, sample("normal", 7, (6, 20)) * 4))
    ours = jtorch.fake_quantize_per_tensor_affine(x, 0.05, zero_point, -128, 127)
    theirs = torch.fake_quantize_per_tensor_affine(y, 0.05, zero_point, -128, 127)
    same(ours.detach(), theirs.detach())
    (ours * ours).sum().backward()
    (theirs * theirs).sum().backward()
    same(x.grad, y.grad)


def test_fake_quantize_per_channel(torch):
    x, y = (t.requires_grad_() for t in pair(torch, sample("normal", 8, (6, 5, 4)) * 4))
    scales, their_scales = pair(torch, np.linspace(0.01, 0.1, 5).astype(np.float32))
    points, their_points = pair(torch, np.arange(5, dtype=np.int32))
    ours = jtorch.fake_quantize_per_channel_affine(x, scales, points, 1, 0, 255)
    theirs = torch.fake_quantize_per_channel_affine(y, their_scales, their_points, 1, 0, 255)
    same(ours.detach(), theirs.detach())
    ours.sum().backward()
    theirs.sum().backward()
    same(x.grad, y.grad)
    with pytest.raises(RuntimeError, match="5 elements each"):
        jtorch.fake_quantize_per_channel_affine(x, scales[:3], points[:3], 1, 0, 255)


# --- a network -------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = aq.QuantStub(), aq.DeQuantStub()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, x):
        return self.dequant(self.head(self.features(self.quant(x))))


FUSE = [["features.0", "features.1", "features.2"], ["features.4", "features.5", "features.6"], ["head.1", "head.2"]]


def size_of(model):
    file = io.BytesIO()
    jtorch.save(model.state_dict(), file)
    return file.tell()


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    x = jtorch.from_numpy((images / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    return x, jtorch.from_numpy(labels)


@pytest.fixture(scope="module")
def trained(digits):
    x, y = digits
    jtorch.manual_seed(0)
    model = Net()
    optimizer = jtorch.optim.Adam(model.parameters(), lr=3e-3)
    order = np.random.default_rng(0)
    for _ in range(8):
        for batch in np.array_split(order.permutation(1200), 12):
            optimizer.zero_grad()
            index = jtorch.from_numpy(batch)
            F.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
    return model.eval()


def accuracy(model, x, y):
    with jtorch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def statically(model, calibration, backend="fbgemm"):
    fused = aq.fuse_modules(model, FUSE)
    fused.qconfig = aq.get_default_qconfig(backend)
    prepared = aq.prepare(fused)
    with jtorch.no_grad():
        prepared(calibration)
    return aq.convert(prepared)


def test_digits_network_keeps_its_accuracy_in_a_quarter_of_the_space(digits, trained):
    x, y = digits
    quantized = statically(trained, x[:256])
    exact, rounded = accuracy(trained, x[1200:], y[1200:]), accuracy(quantized, x[1200:], y[1200:])
    assert exact > 0.9 and rounded >= exact - 0.005
    assert size_of(quantized) <= 0.3 * size_of(trained)
    assert quantized.features(quantized.quant(x[:2])).dtype is aq.quint8

    file = io.BytesIO()
    jtorch.save(quantized.state_dict(), file)
    file.seek(0)
    other = statically(Net().eval(), jtorch.randn(2, 1, 8, 8))
    other.load_state_dict(jtorch.load(file))
    np.testing.assert_array_equal(other(x[:64]).numpy(), quantized(x[:64]).numpy())

    dynamic = aq.quantize_dynamic(trained, {nn.Linear}, dtype=aq.qint8)
    assert accuracy(dynamic, x[1200:], y[1200:]) >= exact - 0.005


# --- errors ----------------------------------------------------------------------------------------------------------


def stubbed(*layers):
    model = nn.Sequential(aq.QuantStub(), *layers, aq.DeQuantStub()).eval()
    model.qconfig = aq.get_default_qconfig("fbgemm")
    return model


def test_conversion_needs_calibration():
    model = stubbed(nn.Linear(3, 3))
    with pytest.raises(RuntimeError, match="'0' has seen no values.*sample data"):
        aq.convert(aq.prepare(model))
    aq.propagate_qconfig_(model)
    with pytest.raises(RuntimeError, match=r"no observer; call prepare\(\)"):
        aq.convert(model)
    with pytest.warns(UserWarning, match="None of the submodule got qconfig"):
        aq.prepare(nn.Sequential(nn.Linear(3, 3)))


@pytest.mark.parametrize("layer", [nn.Bilinear(2, 2, 1), nn.LSTM(3, 3), nn.BatchNorm1d(2)], ids=repr)
def test_unsupported_layers(layer):
    name = type(layer).__name__
    with pytest.raises(NotImplementedError, match=f"quantization of {name} .'1'. is not.*qconfig to None"):
        aq.prepare(stubbed(layer))
    if isinstance(layer, nn.BatchNorm1d):
        with pytest.raises(NotImplementedError, match="fuse_modules"):
            aq.prepare(stubbed(layer))
    model = stubbed(layer)
    model[1].qconfig = None
    aq.prepare(model)


def test_allow_list_and_own_configurations():
    model = stubbed(nn.Linear(3, 4), nn.Linear(4, 2))
    only_stub = aq.prepare(model, allow_list=[aq.QuantStub])
    only_stub(jtorch.randn(5, 3))
    assert type(aq.convert(only_stub)[1]) is nn.Linear
    model[2].qconfig = aq.default_qconfig
    prepared = aq.prepare(model)
    assert type(prepared[1].activation_post_process) is aq.HistogramObserver
    assert type(prepared[2].activation_post_process) is aq.MinMaxObserver
    prepared(jtorch.randn(5, 3))
    converted = aq.convert(prepared)
    assert str(converted[1].weight().qscheme()) == "torch.per_channel_affine"
    assert str(converted[2].weight().qscheme()) == "torch.per_tensor_affine"
    assert not hasattr(converted[1], "qconfig") and type(model[1]) is nn.Linear


def test_quantized_models_are_copied_and_pickled_whole(tmp_path):
    model, x = stubbed(nn.Linear(3, 4), nn.ReLU()), jtorch.randn(5, 3)
    prepared = aq.prepare(model)
    prepared(x)
    converted = aq.convert(prepared)
    jtorch.save(converted, tmp_path / "model.pt")
    loaded = jtorch.load(tmp_path / "model.pt", weights_only=False)
    for other in (copy.deepcopy(converted), loaded):
        assert jtorch.equal(other(x), converted(x))


def test_unsupported_dynamic_layers():
    with pytest.raises(NotImplementedError, match="dynamic quantization of Conv2d is not implemented"):
        aq.quantize_dynamic(nn.Sequential(nn.Conv2d(1, 1, 1)), {nn.Conv2d})
    with pytest.raises(NotImplementedError, match="LSTM with proj_size"):
        aq.quantize_dynamic(nn.Sequential(nn.LSTM(2, 2, proj_size=1)))


def test_wrong_dtypes():
    model, x = nn.Sequential(nn.Linear(3, 3)), jtorch.ones(2, 3)
    with pytest.raises(RuntimeError, match="Unknown dtype specified for quantize_dynamic: torch.float32"):
        aq.quantize_dynamic(model, {nn.Linear}, dtype=jtorch.float32)
    with pytest.raises(ValueError, match="Don't know how to quantize"):
        aq.quantize_dynamic(model, dtype=jtorch.float32)
    with pytest.raises(NotImplementedError, match="Weight observer must have dtype torch.qint8"):
        aq.quantize_dynamic(nn.Sequential(nn.GRU(2, 2)), {nn.GRU}, dtype=jtorch.float16)
    with pytest.raises(RuntimeError, match="expected a quantized dtype"):
        aq.quantize_per_tensor(x, 0.1, 0, jtorch.int8)
    with pytest.raises(RuntimeError, match="only works on Float Tensor, got Double"):
        aq.quantize_per_tensor(x.double(), 0.1, 0, aq.qint8)
    with pytest.raises(RuntimeError, match="zero_point 300 is above upper bound"):
        aq.quantize_per_tensor(x, 0.1, 300, aq.quint8)
    with pytest.raises(RuntimeError, match="only works on Float Tensor, got Half"):
        aq.quantize_dynamic(model)(x.half())
    with pytest.raises(AssertionError, match="torch.qint8, torch.quint8"):
        aq.MinMaxObserver(dtype=jtorch.float32)
    with pytest.raises(NotImplementedError, match="Weight observer must have dtype torch.qint8"):
        model.qconfig = aq.default_quint8_weight_qconfig
        prepared = aq.prepare(model)
        prepared(x)
        aq.convert(prepared)
    with pytest.raises(ValueError, match="pass observer class instead"):
        aq.QConfig(aq.MinMaxObserver(), aq.MinMaxObserver())
    with pytest.raises(AssertionError, match="backend: cuda not supported"):
        aq.get_default_qconfig("cuda")


def test_floats_and_integers_do_not_mix():
    x, q = jtorch.ones(2, 3), aq.quantize_per_tensor(jtorch.ones(2, 3), 0.1, 0, aq.quint8)
    with pytest.raises(RuntimeError, match="expected a quantized input, but got torch.float32; put a QuantStub"):
        nnq.Linear(3, 3)(x)
    with pytest.raises(RuntimeError, match=r"expected an input of shape \(..., 4\)"):
        nnq.Linear(4, 4)(q)
    with pytest.raises(RuntimeError, match="calibrated for activations of torch.quint8, but its input is torch.qint8"):
        nnq.Linear(3, 3)(aq.quantize_per_tensor(x, 0.1, 0, aq.qint8))
    with pytest.raises(NotImplementedError, match=r"Tensor.softmax is not defined.*dequantize\(\) first"):
        q.softmax(1)
    for f in (lambda: q + x, lambda: x + q, lambda: F.linear(q, x)):
        with pytest.raises((TypeError, NotImplementedError)):
            f()
    with pytest.raises(RuntimeError, match="per-channel"):
        q.q_per_channel_scales()
    with pytest.raises(ValueError, match="zero point of the weight must be 0"):
        nnq.Linear(3, 2).set_weight_bias(aq.quantize_per_tensor(x, 0.1, 5, aq.qint8), None)


# --- quantization with its grid as arguments -------------------------------------------------------------------------


def decomposed(lib) -> list:
    importlib.import_module(f"{lib.__name__}.ao.quantization.fx._decomposed")
    q = lib.ops.quantized_decomposed
    x = lib.tensor(np.linspace(-4, 4, 24, dtype=np.float32).reshape(2, 3, 4))
    whole, rows = (0.05, 3, -128, 127, lib.int8), (lib.tensor([0.1, 0.02, 0.5]), lib.tensor([0, 5, -7]), 1)
    grids = [(-128, 127, lib.int8), (-100, 50, lib.int8), (-32768, 32767, lib.int16)]
    out = [q.quantize_per_tensor(x, *whole), q.quantize_per_tensor.default(x.to(lib.bfloat16), *whole)]
    out += [q.dequantize_per_tensor(out[0], *whole), q.dequantize_per_tensor(out[0], *whole, out_dtype=lib.float64)]
    numbers = lib.tensor(0.25), lib.tensor(2, dtype=lib.int64)
    out += [q.quantize_per_tensor.tensor(x, *numbers, 0, 255, lib.uint8)]
    out += [q.dequantize_per_tensor.tensor(out[-1], *numbers, 0, 255, lib.uint8)]
    for grid in grids:
        ints = q.quantize_per_channel(x, *rows, *grid)
        bare = q.dequantize_per_channel(ints, rows[0], None, 1, *grid)
        out += [ints, q.dequantize_per_channel(ints, *rows, *grid), bare]
    return [*out, q.dequantize_per_channel(ints, *rows, *grid, out_dtype=lib.float16)]


def test_quantization_with_the_grid_as_arguments(torch):
    compare(plain(decomposed(jtorch), jtorch), plain(decomposed(torch), torch))


@pytest.mark.parametrize(
    "call",
    [
        lambda q, t: q.quantize_per_tensor(t.ones(2).double(), 0.1, 0, 0, 255, t.uint8),
        lambda q, t: q.quantize_per_tensor(t.ones(2), 0.1, 0, -1, 255, t.uint8),
        lambda q, t: q.quantize_per_tensor(t.ones(2), 0.1, 0, 0, 256, t.uint8),
        lambda q, t: q.quantize_per_tensor(t.ones(2), 0.1, 0, 0, 255, t.int64),
        lambda q, t: q.dequantize_per_tensor(t.ones(2), 0.1, 0, 0, 255, t.uint8),
        lambda q, t: q.quantize_per_channel(t.ones(2), t.ones(2), t.ones(2), 1, 0, 255, t.uint8),
        lambda q, t: q.dequantize_per_channel(t.ones(2), t.ones(2), t.ones(2), 1, 0, 255, t.uint8),
    ],
)
def test_grids_that_do_not_fit(torch, call):
    raised = []
    for lib in (torch, jtorch):
        importlib.import_module(f"{lib.__name__}.ao.quantization.fx._decomposed")
        with pytest.raises((AssertionError, ValueError)) as error:
            call(lib.ops.quantized_decomposed, lib)
        raised.append(error.type)
    assert raised[0] is raised[1]
