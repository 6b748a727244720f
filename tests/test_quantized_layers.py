"""Quantized layers of every kind: what they print, hold and compute is PyTorch's."""

from __future__ import annotations

import copy
import importlib
import io
import warnings

import numpy as np
import pytest

import jtorch
from jtorch import nn
from jtorch.ao import quantization as aq


@pytest.fixture(autouse=True)
def fbgemm(torch):
    """PyTorch's transposed convolutions of the x86 engine are not what its other engines compute (of 2.13)."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    yield
    torch.backends.quantized.engine = before


def filled(model, seed: int = 0):
    """The same parameters and statistics in either library."""
    draw = np.random.default_rng(seed)
    state = model.state_dict()
    lib = jtorch if isinstance(model, nn.Module) else importlib.import_module("torch")
    for name, value in sorted(state.items()):
        if value.is_floating_point():
            array = draw.normal(size=tuple(value.shape)).astype(np.float32) * np.float32(0.4)
            state[name] = lib.from_numpy(np.abs(array) + np.float32(0.1) if "running_var" in name else array)
    model.load_state_dict(state)
    return model


def inputs(torch, shape, seed: int = 1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def converted(torch, build, shape, qconfig, fuse=None):
    """A model calibrated and converted with eager mode's functions, and its quantized result."""
    q = torch.ao.quantization
    model = filled(torch.nn.Sequential(*build(torch.nn))).eval()
    if fuse:
        model = q.fuse_modules(model, fuse)
    model = torch.nn.Sequential(q.QuantStub(), *model)
    model.qconfig = qconfig(q)
    x = inputs(torch, shape)
    prepared = q.prepare(model.eval())
    prepared(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = q.convert(prepared)
    return made, made(x)


def close(ours, theirs, share: float = 0.97):
    """Integers on the same grid: one step apart at most, and few of them."""
    assert ours.q_scale() == pytest.approx(theirs.q_scale(), rel=1e-5)
    assert ours.q_zero_point() == theirs.q_zero_point() and repr(ours.dtype) == repr(theirs.dtype)
    a, b = ours.int_repr().numpy().astype(int), theirs.int_repr().numpy().astype(int)
    assert a.shape == b.shape and np.abs(a - b).max() <= 1 and (a == b).mean() >= share


def printed(module) -> str:
    """What a module prints, without scales, whose last digits follow those of float layers."""
    head, _, tail = repr(module).partition("scale=")
    return head + tail.partition(",")[2]


def per_channel(q):
    return q.get_default_qconfig("fbgemm")


def per_tensor(q):
    return q.get_default_qconfig("qnnpack")


LAYERS = {
    "Conv1d": (lambda nn: [nn.Conv1d(4, 6, 3, stride=2, padding=1)], (2, 4, 9), per_channel, None),
    "Conv1d groups": (lambda nn: [nn.Conv1d(4, 6, 2, groups=2, dilation=2, bias=False)], (2, 4, 9), per_channel, None),
    "Conv1d reflect": (lambda nn: [nn.Conv1d(4, 6, 3, padding=1, padding_mode="reflect")], (2, 4, 9), per_tensor, None),
    "Conv3d": (lambda nn: [nn.Conv3d(2, 3, (1, 2, 3), padding=(0, 1, 1))], (1, 2, 4, 5, 6), per_channel, None),
    "ConvTranspose1d": (lambda nn: [nn.ConvTranspose1d(4, 6, 3, 2, 1, 1)], (2, 4, 9), per_tensor, None),
    "ConvTranspose2d": (lambda nn: [nn.ConvTranspose2d(4, 6, (3, 2), 2, groups=2)], (2, 4, 5, 4), per_tensor, None),
    "ConvTranspose2d dilation": (lambda nn: [nn.ConvTranspose2d(4, 6, 3, dilation=2)], (2, 4, 5, 4), per_tensor, None),
    "ConvTranspose3d": (lambda nn: [nn.ConvTranspose3d(2, 3, 2, 2, 1)], (1, 2, 3, 4, 3), per_tensor, None),
    "ConvReLU1d": (lambda nn: [nn.Conv1d(4, 6, 3), nn.ReLU()], (2, 4, 9), per_channel, ["0", "1"]),
    "ConvReLU3d": (lambda nn: [nn.Conv3d(2, 3, 2), nn.ReLU()], (1, 2, 3, 4, 3), per_channel, ["0", "1"]),
    "ConvBnReLU1d": (
        lambda nn: [nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU()], (2, 4, 9), per_channel, ["0", "1", "2"],
    ),
    "ConvBn3d": (lambda nn: [nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)], (1, 2, 3, 4, 3), per_channel, ["0", "1"]),
    "ConvTransposeBn": (
        lambda nn: [nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6)], (2, 4, 5, 4), per_tensor, ["0", "1"],
    ),
    "BatchNorm2d": (lambda nn: [nn.BatchNorm2d(4)], (2, 4, 5, 4), per_channel, None),
    "BatchNorm3d": (lambda nn: [nn.BatchNorm3d(2)], (1, 2, 3, 4, 3), per_channel, None),
    "BNReLU2d": (lambda nn: [nn.BatchNorm2d(4), nn.ReLU()], (2, 4, 5, 4), per_channel, ["0", "1"]),
    "ELU": (lambda nn: [nn.ELU(0.7)], (5, 9), per_channel, None),
    "LeakyReLU": (lambda nn: [nn.LeakyReLU(0.13)], (5, 9), per_channel, None),
    "Hardswish": (lambda nn: [nn.Hardswish()], (5, 9), per_channel, None),
    "ReLU6": (lambda nn: [nn.ReLU6()], (5, 9), per_channel, None),
    "LayerNorm": (lambda nn: [nn.LayerNorm((4, 9))], (5, 4, 9), per_channel, None),
    "GroupNorm": (lambda nn: [nn.GroupNorm(2, 4)], (5, 4, 9), per_channel, None),
    "InstanceNorm1d": (lambda nn: [nn.InstanceNorm1d(4, affine=True)], (5, 4, 9), per_channel, None),
    "InstanceNorm2d": (lambda nn: [nn.InstanceNorm2d(4, affine=True)], (2, 4, 5, 4), per_channel, None),
    "InstanceNorm3d": (lambda nn: [nn.InstanceNorm3d(2, affine=True)], (1, 2, 3, 4, 3), per_channel, None),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_give_pytorchs_integers(torch, kind):
    ours, theirs = (converted(lib, *LAYERS[kind]) for lib in (jtorch, torch))
    assert printed(ours[0][1]) == printed(theirs[0][1])
    close(ours[1], theirs[1])
    again = copy.deepcopy(ours[0])
    file = io.BytesIO()
    jtorch.save(ours[0].state_dict(), file)
    file.seek(0)
    again.load_state_dict(jtorch.load(file))
    assert again(inputs(jtorch, LAYERS[kind][1])).equal(ours[1])


@pytest.mark.parametrize("kind", ["Conv1d", "Conv3d", "ConvTranspose2d", "BNReLU2d", "LeakyReLU", "LayerNorm"])
def test_pytorchs_state_dicts_are_read(torch, kind):
    ours, theirs = (converted(lib, *LAYERS[kind]) for lib in (jtorch, torch))
    file = io.BytesIO()
    torch.save(theirs[0].state_dict(), file)
    file.seek(0)
    ours[0].load_state_dict(jtorch.load(file))
    close(ours[0](inputs(jtorch, LAYERS[kind][1])), theirs[1])
    assert ours[0][1].scale.item() == pytest.approx(float(theirs[0][1].scale), rel=1e-7)


def test_linear_layers_with_an_activation(torch):
    for name, activation in (("LinearLeakyReLU", ("LeakyReLU", 0.1)), ("LinearTanh", ("Tanh",))):
        kind, *options = activation
        parts = filled(nn.Sequential(nn.Linear(5, 4)))[0], getattr(nn, kind)(*options)
        model = nn.Sequential(aq.QuantStub(), getattr(jtorch.ao.nn.intrinsic, name)(*parts)).eval()
        model.qconfig = aq.default_qconfig
        x = inputs(jtorch, (7, 5))
        prepared = aq.prepare(model)
        prepared(x)
        made = aq.convert(prepared)
        assert type(made[1]).__name__ == name
        assert (made(x).dequantize() - model(x)).abs().max().item() < 0.05
    with pytest.raises(AssertionError, match="Incorrect types"):
        jtorch.ao.nn.intrinsic.LinearTanh(nn.Linear(2, 2), nn.ReLU())


def test_prelu_is_its_definition():
    """Not compared with PyTorch's kernel, which also scales the positive numbers of some shapes (of 2.13)."""
    layer, x = jtorch.ao.nn.quantized.PReLU(0.02, 120), jtorch.tensor([-1.0, -0.5, 0.5, 1.0])
    layer.set_weight(jtorch.quantize_per_tensor(jtorch.tensor([0.25]), 0.25 / 255, 0, jtorch.quint8))
    q = layer(jtorch.quantize_per_tensor(x, 0.02, 64, jtorch.quint8))
    exact = nn.functional.prelu(x, jtorch.tensor([0.25]))
    assert (q.dequantize() - exact).abs().max().item() <= 0.010001 and q.q_zero_point() == 120


def test_transposed_convolutions_have_one_scale(torch):
    for lib in (jtorch, torch):
        with pytest.raises(AssertionError, match="Per channel weight observer is not supported yet for ConvTranspose"):
            converted(lib, lambda nn: [nn.ConvTranspose2d(2, 2, 2)], (1, 2, 3, 3), per_channel)


DYNAMIC = {
    "Conv1d": (lambda nn: nn.Conv1d(4, 6, 3, 2, 1, groups=2), (2, 4, 9)),
    "Conv2d": (lambda nn: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 6, 5)),
    "Conv3d": (lambda nn: nn.Conv3d(2, 3, 2), (1, 2, 3, 4, 3)),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(4, 6, 3, 2), (2, 4, 9)),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), (2, 4, 6, 5)),
    "ConvTranspose3d": (lambda nn: nn.ConvTranspose3d(2, 3, 2), (1, 2, 3, 4, 3)),
}


@pytest.mark.parametrize("kind", DYNAMIC)
@pytest.mark.filterwarnings("ignore:The current implementation of the:UserWarning")
def test_dynamic_convolutions_give_pytorchs_numbers(torch, kind):
    make, shape = DYNAMIC[kind]
    results, names = [], []
    for lib in (jtorch, torch):
        float_type, small = getattr(lib.nn, kind), getattr(lib.ao.nn.quantized.dynamic, kind)
        model = filled(lib.nn.Sequential(make(lib.nn)))
        made = lib.ao.quantization.quantize_dynamic(model, {float_type}, mapping={float_type: small})
        results.append(made(inputs(lib, shape)).detach().numpy())
        names.append(repr(made))
    assert names[0] == names[1]
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


def test_weights_in_half_precision(torch):
    results = []
    for lib in (jtorch, torch):
        model = filled(lib.nn.Sequential(lib.nn.Linear(5, 4)))
        made = lib.ao.quantization.quantize_dynamic(model, {lib.nn.Linear}, dtype=lib.float16)
        results.append((repr(made), made(inputs(lib, (3, 5))).detach().numpy()))
    assert results[0][0] == results[1][0]
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6, atol=1e-6)


# --- embeddings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("width", [6, 7])
def test_bags_of_embeddings(torch, bits, width):
    if bits == 4 and width % 2:
        pytest.skip("PyTorch packs rows of an even width")
    results = []
    for lib in (jtorch, torch):
        model = filled(lib.nn.Sequential(lib.nn.EmbeddingBag(9, width, mode="sum", include_last_offset=True)))
        dtype = lib.quint8 if bits == 8 else lib.quint4x2
        bag = lib.ao.quantization.quantize_dynamic(model, {lib.nn.EmbeddingBag}, dtype=dtype)[0]
        weight = bag.weight()
        indices, offsets = lib.tensor([1, 2, 3, 8, 8, 0]), lib.tensor([0, 2, 2, 6])
        weighted = bag(indices, offsets, lib.arange(6.0))
        results.append([weight.int_repr(), bag(indices, offsets), weighted, weight.q_per_channel_scales(),
                        weight.q_per_channel_zero_points(), weight.dequantize()])  # fmt: skip
        results[-1].append(repr(bag))
    assert results[0].pop() == results[1].pop()
    np.testing.assert_array_equal(results[0][0].numpy(), results[1][0].numpy())
    for a, b in zip(results[0], results[1], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-6, atol=2e-6)


def test_embeddings_are_converted_saved_and_trained(torch):
    results = []
    for lib in (jtorch, torch):
        q = lib.ao.quantization
        model = filled(lib.nn.Sequential(lib.nn.Embedding(9, 6)))
        model.qconfig = q.float_qparams_weight_only_qconfig
        made = q.convert(q.prepare(model))
        results.append((repr(made), made(lib.tensor([[1, 2], [8, 0]])).numpy(), made))
    assert results[0][0] == results[1][0]
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6, atol=1e-6)
    file = io.BytesIO()
    jtorch.save(results[0][2].state_dict(), file)
    file.seek(0)
    fresh = nn.Sequential(jtorch.ao.nn.quantized.Embedding(9, 6))
    fresh.load_state_dict(jtorch.load(file))
    np.testing.assert_array_equal(fresh(jtorch.tensor([[1, 2], [8, 0]])).numpy(), results[0][1])
    trained = []
    for lib in (jtorch, torch):
        q = lib.ao.quantization
        model = filled(lib.nn.Sequential(lib.nn.Embedding(9, 6), lib.nn.Linear(6, 2))).train()
        model[0].qconfig, model[1].qconfig = q.default_embedding_qat_qconfig, None
        prepared = q.prepare_qat(model, q.get_embedding_qat_module_mappings())
        prepared(lib.tensor([1, 2, 8])).sum().backward()
        grad = prepared[0].weight.grad.clone()
        made = q.convert(prepared.eval(), q.get_embedding_static_quant_module_mappings())
        trained.append((grad.numpy(), made[0](lib.tensor([1, 2, 8])).numpy()))
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
def test_fused_convolutions_are_trained(torch, n):
    results = []
    for lib in (jtorch, torch):
        q = lib.ao.quantization
        conv, bn = getattr(lib.nn, f"Conv{n}d"), getattr(lib.nn, f"BatchNorm{n}d")
        model = filled(lib.nn.Sequential(conv(2, 4, 2), bn(4), lib.nn.ReLU(), conv(4, 3, 2), bn(3))).train()
        model = q.fuse_modules_qat(model, [["0", "1", "2"], ["3", "4"]])
        model = lib.nn.Sequential(q.QuantStub(), *model)
        model.qconfig = q.get_default_qat_qconfig("fbgemm", version=0)
        prepared = q.prepare_qat(model)
        optimizer = lib.optim.SGD(prepared.parameters(), lr=0.01)
        x = inputs(lib, (3, 2, *(5,) * n))
        for _ in range(2):
            optimizer.zero_grad()
            (prepared(x) ** 2).mean().backward()
            optimizer.step()
        made = q.convert(prepared.eval())
        results.append(([type(m).__name__ for m in made], [p.detach().numpy() for p in prepared.parameters()], made(x)))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    close(results[0][2], results[1][2], share=0.9)


def test_activations_with_a_known_range_are_rounded_while_training(torch):
    results = []
    for lib in (jtorch, torch):
        q = lib.ao.quantization
        model = filled(lib.nn.Sequential(lib.nn.Linear(4, 4), lib.nn.Sigmoid(), lib.nn.Linear(4, 4), lib.nn.Tanh()))
        model.train().qconfig = q.get_default_qat_qconfig("fbgemm", version=0)
        results.append(q.prepare_qat(model)(inputs(lib, (3, 4))).detach().numpy())
    np.testing.assert_allclose(*results, atol=1e-6)


# --- graph mode ------------------------------------------------------------------------------------------------------

GRAPHS = {
    "norms": (
        lambda nn: [nn.Linear(6, 6), nn.LayerNorm(6), nn.Sigmoid(), nn.Linear(6, 6), nn.Hardswish(), nn.Linear(6, 2)],
        (8, 6),
    ),
    "activations": (
        lambda nn: [nn.Linear(6, 6), nn.LeakyReLU(), nn.Linear(6, 6), nn.ELU(), nn.Tanh(), nn.Softmax(1)],
        (8, 6),
    ),
    "1d": (lambda nn: [nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 2, 3)], (3, 2, 9)),
    "3d": (lambda nn: [nn.Conv3d(2, 4, 2), nn.ReLU(), nn.GroupNorm(2, 4), nn.Conv3d(4, 2, 2)], (2, 2, 4, 3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", GRAPHS)
def test_graph_mode_gives_pytorchs_numbers(torch, kind):
    build, shape = GRAPHS[kind]
    results = []
    for lib in (jtorch, torch):
        fx = importlib.import_module(f"{lib.__name__}.ao.quantization.quantize_fx")
        model, x = filled(lib.nn.Sequential(*build(lib.nn))).eval(), inputs(lib, shape)
        mapping = lib.ao.quantization.get_default_qconfig_mapping("fbgemm")
        prepared = fx.prepare_fx(model, mapping, (x,))
        prepared(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = fx.convert_fx(prepared)
        kinds = [type(m).__name__ for m in made.modules() if type(m).__module__.find(".quantized") > 0]
        results.append((made(x).detach().numpy(), sorted(k for k in kinds if "Params" not in k)))
    assert results[0][1] == results[1][1]
    reach = np.ptp(results[1][0])
    assert np.abs(results[0][0] - results[1][0]).max() <= 0.02 * reach
    assert (np.abs(results[0][0] - results[1][0]) <= 1e-5).mean() > 0.8


# --- configurations and observers ------------------------------------------------------------------------------------


def test_configurations_are_compared_and_observers_saved(torch):
    assert aq.qconfig_equals(aq.get_default_qconfig("x86"), aq.get_default_qconfig("fbgemm"))
    assert not aq.qconfig_equals(aq.get_default_qconfig("x86"), aq.get_default_qconfig("qnnpack"))
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).eval()
    model.qconfig = aq.default_qconfig
    prepared, other = aq.prepare(model), aq.prepare(model)
    prepared(inputs(jtorch, (5, 3)))
    aq.load_observer_state_dict(other, aq.get_observer_state_dict(prepared))
    assert other[1].activation_post_process.max_val.equal(prepared[1].activation_post_process.max_val)
    recording = aq.RecordingObserver()
    recording(jtorch.ones(2))
    assert recording.get_tensor_value()[0].equal(jtorch.ones(2))
