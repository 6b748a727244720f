"""Quantization-aware training, recurrent layers and FX graph mode: numbers are PyTorch's."""

from __future__ import annotations

import importlib
import io

import numpy as np
import pytest

import jtorch
from jtorch import nn
from jtorch.ao import quantization as aq
from jtorch.ao.nn import qat

from .both import check


def fx_of(torch):
    return importlib.import_module(f"{torch.__name__}.ao.quantization.quantize_fx")


def with_weights(torch, model, state):
    model.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    return model


def state_of(model) -> dict:
    return {k: v.detach().numpy().copy() for k, v in model.state_dict().items()}


def batches(torch, *shape, n: int = 3):
    draw = np.random.default_rng(0)
    return [torch.tensor(draw.normal(size=shape).astype(np.float32)) for _ in range(n)]


# --- recurrent layers ------------------------------------------------------------------------------------------------

RECURRENT = {
    "LSTM": (lambda nn: nn.LSTM(6, 5, 2, bidirectional=True), (4, 3, 6)),
    "GRU": (lambda nn: nn.GRU(6, 5, batch_first=True), (3, 4, 6)),
    "LSTMCell": (lambda nn: nn.LSTMCell(6, 5), (3, 6)),
    "GRUCell": (lambda nn: nn.GRUCell(6, 5), (3, 6)),
    "RNNCell": (lambda nn: nn.RNNCell(6, 5, nonlinearity="relu"), (3, 6)),
}


def leaves(x):
    return [x] if hasattr(x, "shape") else [t for y in x for t in leaves(y)]


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_give_pytorchs_numbers(torch, kind):
    make, shape = RECURRENT[kind]
    theirs = torch.nn.ModuleList([make(torch.nn)])
    ours = with_weights(jtorch, nn.ModuleList([make(nn)]), state_of(theirs))
    small = aq.quantize_dynamic(ours)[0]
    assert type(small).__module__.endswith("dynamic.rnn") and "int8" in {str(b.dtype)[6:] for b in small.buffers()}
    want = torch.ao.quantization.quantize_dynamic(theirs)[0](batches(torch, *shape)[0])
    got = small(batches(jtorch, *shape)[0])
    for a, b in zip(leaves(got), leaves(want), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)  # the sums are exact; sigmoid and tanh are not


def test_recurrent_layers_are_saved_and_take_packed_sequences():
    make = lambda: aq.quantize_dynamic(nn.Sequential(nn.LSTM(4, 3)), {nn.LSTM: aq.per_channel_dynamic_qconfig})  # noqa: E731
    first, second, file = make(), make(), io.BytesIO()
    jtorch.save(first, file)
    file.seek(0)
    second.load_state_dict(first.state_dict())
    x = jtorch.randn(5, 2, 4)
    packed = nn.utils.rnn.pack_padded_sequence(x, [5, 3])
    for other in (second, jtorch.load(file, weights_only=False)):
        assert jtorch.equal(other(x)[0], first(x)[0])
        assert jtorch.equal(other(packed)[0].data, first(packed)[0].data)
    alone, _ = first(x[:3, 1:])  # the shorter one's results do not depend on the other's length, up to the grid
    np.testing.assert_allclose(
        nn.utils.rnn.pad_packed_sequence(first(packed)[0])[0][:3, 1:].numpy(), alone.numpy(), atol=0.05
    )


# --- quantization-aware training -------------------------------------------------------------------------------------


def network(torch):
    nn, aq = torch.nn, torch.ao.quantization

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant = aq.QuantStub(), aq.DeQuantStub()
            self.conv, self.bn, self.relu = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
            self.last = nn.Linear(4 * 4 * 4, 3)

        def forward(self, x):
            x = self.relu(self.bn(self.conv(self.quant(x))))
            return self.dequant(self.last(x.flatten(1)))

    return Net()


def trained(torch, prepared, shape):
    optimizer = torch.optim.SGD(prepared.parameters(), 0.05)
    *data, last = batches(torch, *shape)
    for x in data:
        optimizer.zero_grad()
        prepared(x).square().mean().backward()
        optimizer.step()
    return prepared.eval(), last


@pytest.mark.parametrize(("backend", "version"), [("qnnpack", 0), ("fbgemm", 1)])
def test_training_gives_pytorchs_numbers(torch, backend, version):
    state = state_of(network(torch))
    results = []
    for lib in (torch, jtorch):
        model = with_weights(lib, network(lib), state).train()
        a = lib.ao.quantization
        model.qconfig = a.get_default_qat_qconfig(backend, version)
        prepared = a.prepare_qat(a.fuse_modules_qat(model, [["conv", "bn", "relu"]]))
        prepared, x = trained(lib, prepared, (5, 2, 6, 6))
        converted = a.convert(prepared)
        step = float(converted.last.scale)
        results.append([prepared(x).detach().numpy(), converted(x).numpy(), list(prepared.state_dict())])
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-6)
    # a difference in the last place of a trained weight may move a result over a tie: one step of the last grid
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1.01 * step)
    assert results[0][2] == results[1][2]


def test_preparing_draws_what_pytorchs_does(torch):
    """The layers it puts in are drawn at first, and then get the weights there are."""
    results = []
    for lib in (torch, jtorch):
        a = lib.ao.quantization
        lib.manual_seed(0)
        model = lib.nn.Sequential(
            lib.nn.Conv2d(1, 4, 3), lib.nn.BatchNorm2d(4), lib.nn.ReLU(), lib.nn.Flatten(), lib.nn.Linear(4, 3),
            lib.nn.Linear(3, 2, bias=False), lib.nn.BatchNorm1d(2),
        )  # fmt: skip
        model.train().qconfig = a.get_default_qat_qconfig("fbgemm")
        prepared = a.prepare_qat(a.fuse_modules_qat(model, [["0", "1", "2"], ["5", "6"]]))
        results.append((lib.rand(3).tolist(), repr(prepared[0].activation_post_process)))
    assert results[0] == results[1]


RANGES = {
    "both sides": [[-1.0, 0.7], [-0.3, 1.2]], "above": [[0.5, 2.0], [3.0, 1.0]], "below": [[-0.5, -2.0], [-3.0, -1.0]],
    "one each": [[0.5, 2.0], [-3.0, -1.0]], "nothing": [[0.0, 0.0], [0.0, 0.0]], "small": [[1e-6, -2e-6], [3e-6, 0.0]],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["act", "wt", "per_channel_wt"])
@pytest.mark.parametrize("name", RANGES)
def test_grids_of_the_fused_kernel(name, kind):
    def program(torch):
        fake = getattr(torch.ao.quantization, f"default_fused_{kind}_fake_quant")()
        x = torch.tensor(RANGES[name])
        return fake(x), fake(x.flip(0) * 2 + 0.1), fake.scale, fake.zero_point, fake.calculate_qparams()

    check(program)


def test_fake_quantize_is_switched_and_saved():
    fake = aq.default_per_channel_weight_fake_quant()
    w = jtorch.randn(3, 4)
    rounded = fake(w)
    assert not jtorch.equal(rounded, w) and fake.scale.shape == (3,)
    fake.apply(aq.disable_observer)
    before = fake.scale.clone()
    fake(w * 9)
    assert jtorch.equal(fake.scale, before)
    other = aq.default_per_channel_weight_fake_quant()
    other.load_state_dict(fake.state_dict())
    assert jtorch.equal(other(w), rounded)
    fake.apply(aq.disable_fake_quant)
    assert fake(w) is w
    with pytest.raises(AssertionError, match="training mode"):
        aq.prepare_qat(nn.Sequential(nn.Linear(2, 2)).eval())
    with pytest.raises(AssertionError, match="must have a valid qconfig"):
        qat.Linear.from_float(nn.Linear(2, 2))


# --- FX graph mode ---------------------------------------------------------------------------------------------------


def residual(torch):
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
            self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.pool, self.mean, self.last = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

        def forward(self, x):
            x = self.pool(self.stem(x))
            x = torch.relu(x + self.bn(self.conv(x)))
            return torch.sigmoid(self.last(torch.flatten(self.mean(x), 1)))

    return Net()


@pytest.mark.parametrize("mode", ["static", pytest.param("trained", marks=pytest.mark.slow)])
def test_graph_mode_gives_pytorchs_numbers(torch, mode):
    state, results = state_of(residual(torch)), []
    for lib in (torch, jtorch):
        model, a, fx = with_weights(lib, residual(lib), state), lib.ao.quantization, fx_of(lib)
        if mode == "static":
            mapping = a.get_default_qconfig_mapping("x86")
        else:
            mapping = a.get_default_qat_qconfig_mapping("qnnpack", 0)
        mapping.set_object_type(lib.sigmoid, None)
        *data, x = batches(lib, 2, 3, 8, 8)
        if mode == "static":
            prepared = fx.prepare_fx(model.eval(), mapping, (x,))
            for b in data:
                prepared(b)
        else:
            prepared, x = trained(lib, fx.prepare_qat_fx(model.train(), mapping, (x,)), (2, 3, 8, 8))
        before = prepared(x).detach().numpy()
        converted = fx.convert_fx(prepared)
        results.append((before, converted(x).detach().numpy()))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-6)
    # sums of the last layer may fall on the other side of a tie: one step of its grid, through the sigmoid (without
    # training too, on processors that sum in another order than those that found equal numbers)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=0.01)
    names = {type(m).__name__ for m in converted.modules()}
    assert {"ConvReLU2d", "QFunctional", "Linear"} <= names and "BatchNorm2d" not in names


def test_graph_mode_leaves_parts_in_floating_point():
    fx = fx_of(jtorch)
    model = nn.Sequential(nn.Linear(4, 4), nn.Softplus(), nn.Linear(4, 4), nn.Linear(4, 2)).eval()
    mapping = aq.get_default_qconfig_mapping().set_module_name("2", None)
    x = jtorch.randn(8, 4)
    prepared = fx.prepare_fx(model, mapping, (x,))
    with pytest.raises(RuntimeError, match="has seen no values"):
        fx.convert_fx(prepared)
    prepared(x)
    converted = fx.convert_fx(prepared)
    kinds = [type(m) for m in converted.children()]
    assert kinds[1] is nn.Softplus and kinds[2] is nn.Linear
    assert kinds[0].__module__.endswith("quantized.modules.linear") and kinds[3] is kinds[0]
    assert (converted(x) - model(x)).abs().max() < 0.1
    dynamic = aq.QConfigMapping.from_dict({"": None, "object_type": [(nn.Linear, aq.default_dynamic_qconfig)]})
    small = fx.convert_fx(fx.prepare_fx(model, dynamic, (x,)))
    assert type(small.get_submodule("0")).__module__.endswith("dynamic.linear")
    assert jtorch.equal(small(x), aq.quantize_dynamic(model, {nn.Linear})(x))
    with pytest.raises(AssertionError, match="eval mode"):
        fx.prepare_fx(model.train(), mapping, (x,))


def test_graph_mode_refuses_other_backends():
    fx, net = fx_of(jtorch), jtorch.nn.Sequential(jtorch.nn.Linear(2, 2)).eval()
    with pytest.raises(NotImplementedError, match="backend_config"):
        fx.prepare_fx(net, {"": None}, backend_config=object())
