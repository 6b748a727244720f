"""jtorch.onnx.export: the graph computes what the model does, at the example's sizes and at others."""

from __future__ import annotations

import io
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import jtorch as torch
from jtorch import nn
from jtorch.nn import functional as F

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, monkeypatch):
    """The names an example program defines."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="example")


def agrees(program, model, *inputs, tol=1e-5):
    """onnxruntime, given nothing but the file, and the model give the same."""
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    feed = {i.name: t.numpy() for i, t in zip(session.get_inputs(), inputs, strict=True)}
    with torch.no_grad():
        expected = model(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    actual = session.run(None, feed)
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == tuple(b.shape) and str(a.dtype) == str(b.dtype).removeprefix("torch.")
        np.testing.assert_allclose(a, b.numpy(), rtol=tol, atol=tol)


def kinds(program) -> list[str]:
    return [n.op_type for n in program.model_proto.graph.node]


# --- the models of the examples --------------------------------------------------------------------------------------


def test_digits_cnn(monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("tqdm")
    torch.manual_seed(0)
    model = example("digits_cnn", monkeypatch)["Net"]()
    program = torch.onnx.export(model, (torch.randn(2, 1, 8, 8),), dynamic_axes={"x": {0: "batch"}})
    assert model.training  # exported in evaluation mode, and put back
    assert kinds(program) == [
        "Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "BatchNormalization", "Relu", "MaxPool", "Flatten",
        "Gemm", "Relu", "Gemm",
    ]  # fmt: skip
    state = {k for k in model.state_dict() if "num_batches" not in k}
    assert set(program.weights) == state
    proto = program.model_proto
    assert proto.ir_version == 10 and proto.opset_import[0].version == 20
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for batch in (1, 2, 7):
        agrees(program, model.eval(), torch.randn(batch, 1, 8, 8))


@pytest.mark.parametrize("opset", [20, 23])
def test_char_gpt(monkeypatch, opset):
    torch.manual_seed(0)
    model = example("char_gpt", monkeypatch)["GPT"](50, 16, width=32, heads=2, layers=2).eval()
    axes = {"tokens": {0: "batch", 1: "time"}}
    program = torch.onnx.export(model, (torch.randint(50, (2, 12)),), dynamic_axes=axes, opset_version=opset)
    assert ("Attention" in kinds(program)) == (opset == 23)
    for shape in ((2, 12), (5, 16), (1, 1)):
        agrees(program, model, torch.randint(50, shape))


def test_char_lstm(monkeypatch):
    torch.manual_seed(0)
    model = example("char_lstm", monkeypatch)["CharLSTM"](40, width=16).eval()

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, tokens):
            logits, (h, c) = self.model(tokens)
            return logits, h, c

    wrapped = Logits()
    axes = {"tokens": {0: "batch", 1: "time"}}
    program = torch.onnx.export(wrapped, (torch.randint(40, (2, 6)),), dynamic_axes=axes)
    assert kinds(program).count("LSTM") == 2
    for shape in ((2, 6), (5, 9)):
        agrees(program, wrapped, torch.randint(40, shape))


# --- common models ---------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.down = (
            nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if i != o else nn.Identity()
        )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        y += self.down(x)
        return F.relu(y)


def resnet():
    stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return nn.Sequential(stem, Residual(8, 8), Residual(8, 16, 2), head)


def mobile():
    h = 16
    return nn.Sequential(
        nn.Conv2d(4, h, 1, bias=False), nn.BatchNorm2d(h), nn.Hardswish(), nn.Conv2d(h, h, 3, padding=1, groups=h),
        nn.BatchNorm2d(h), nn.ReLU6(), nn.Hardsigmoid(), nn.PixelShuffle(2), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4),
    )  # fmt: skip


class ViT(nn.Module):
    def __init__(self, d=16):
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, d, 4, 4), nn.Parameter(torch.randn(1, 1, d))
        self.pos, self.head = nn.Parameter(torch.randn(1, 5, d)), nn.Linear(d, 5)
        layer = nn.TransformerEncoderLayer(d, 2, 32, batch_first=True, norm_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        return self.head(self.encoder(x)[:, 0])


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.norm, self.down2 = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.GroupNorm(2, 8),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        self.up, self.out = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(24, 4, 3, padding=1)

    def forward(self, x):
        a = F.silu(self.norm(self.down1(x)))
        b = F.leaky_relu(self.down2(F.avg_pool2d(a, 2)))
        return self.out(torch.cat([a, self.up(b), F.interpolate(b, scale_factor=2, mode="nearest")], 1))


class Bert(nn.Module):
    def __init__(self, d=16):
        super().__init__()
        self.token, self.position, self.norm = nn.Embedding(50, d), nn.Embedding(64, d), nn.LayerNorm(d, eps=1e-12)
        self.q, self.k, self.v, self.pool = (nn.Linear(d, d) for _ in range(4))
        self.register_buffer("ids", torch.arange(64).expand(1, -1))

    def forward(self, ids, mask):
        B, T = ids.shape
        x = self.norm(self.token(ids) + self.position(self.ids[:, :T]))
        q, k, v = (m(x).view(B, T, 2, -1).permute(0, 2, 1, 3) for m in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) / 8**0.5 + (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        y = (torch.softmax(scores, -1) @ v).permute(0, 2, 1, 3).contiguous().view(B, T, -1)
        return y, torch.tanh(self.pool(y[:, 0]))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.rnn = nn.GRU(4, 6, 2, bidirectional=True, batch_first=True), nn.RNN(4, 3, nonlinearity="relu")
        self.lstm = nn.LSTM(4, 5, bidirectional=True, bias=False)

    def forward(self, x):
        return self.gru(x)[0], self.rnn(x)[0], self.lstm(x)[0]


class Indexing(nn.Module):
    """Masks, indices, order and writes in place."""

    def forward(self, x, mask):
        values, at = x.masked_fill(mask, float("-inf")).softmax(-1).topk(2, -1)
        kept = x.clone()
        kept[:, 0] = 1.5
        kept[:, 1:3] *= 2
        ordered, order = torch.sort(x, descending=True)
        lower = torch.tril(torch.ones(x.shape[1], x.shape[1]))
        return (
            torch.zeros_like(x).scatter(1, at, values), x.cumsum(1), x.gather(1, at), x[:, [0, 2]], x.argmax(1),
            torch.einsum("bi,ij->bj", x, lower), torch.where(x > 0, x, -x), kept, ordered, order, x.std(1),
            x.var(0, unbiased=False), x[torch.arange(2), torch.tensor([1, 2])], F.one_hot(at, 8), x.flip(1),
            x.roll(1, 1), F.pad(x, (1, 2)), x.mean(), (x / x.shape[0]).sum(), x.max(1)[0], x.clamp(-1, 1),
            x.floor() // 2, x % 0.7, x.repeat(1, 2), x.unfold(1, 2, 2).sum(),
        )  # fmt: skip


CASES = {
    "resnet": (resnet, lambda b: (torch.randn(b, 3, 32, 32),), {"input": {0: "b"}}),
    "mobile": (mobile, lambda b: (torch.randn(b, 4, 8, 6),), {"input": {0: "b"}}),
    "vit": (ViT, lambda b: (torch.randn(b, 3, 8, 8),), {"x": {0: "b"}}),
    "unet": (UNet, lambda b: (torch.randn(b, 3, 8, 8),), {"x": {0: "b"}}),
    "recurrent": (Recurrent, lambda b: (torch.randn(b, 5, 4),), {"x": {0: "b"}}),
    "indexing": (Indexing, lambda b: (torch.randn(b, 8), torch.rand(b, 8) > 0.8), {"x": {0: "b"}, "mask": {0: "b"}}),
}


@pytest.mark.parametrize("name", CASES)
def test_common_models(name):
    torch.manual_seed(1)
    make, inputs, axes = CASES[name]
    model = make().eval()
    program = torch.onnx.export(model, inputs(3), dynamic_axes=axes)
    for batch in (3, 5):
        agrees(program, model, *inputs(batch))


def test_two_dynamic_axes_and_a_table_that_ends():
    """A table of 64 positions: the sizes found to work are named in a warning."""
    torch.manual_seed(1)
    model = Bert().eval()
    ids, mask = torch.randint(50, (2, 7)), torch.ones(2, 7, dtype=torch.int64)
    shapes = {"ids": {0: "b", 1: "t"}, "mask": {0: "b", 1: "t"}}
    with pytest.warns(UserWarning, match="'t' was found to work for 7 to"):
        program = torch.onnx.export(model, (ids, mask), dynamic_shapes=shapes)
    agrees(program, model, torch.randint(50, (4, 64)), torch.ones(4, 64, dtype=torch.int64))
    agrees(program, model, torch.randint(50, (1, 3)), torch.tensor([[1, 1, 0]]))


def test_a_choice_by_size():
    """What happens at much larger sizes only is said in a warning."""

    def model(x):
        return x.sum(1) if x.shape[0] > 100 else x.exp().sum(1)

    with pytest.warns(UserWarning, match="'b' was found to work for 3 to 11"):
        program = torch.onnx.export(model, (torch.randn(3, 4),), dynamic_axes={"x": {0: "b"}})
    agrees(program, model, torch.randn(7, 4))


def test_size_in_the_middle_of_a_reshape():
    def model(x):
        B, T, C = x.shape
        return x.view(B * T, C).relu().view(B, T, 2, C // 2).transpose(1, 2), x.sum() / (B * T), x * T**-0.5

    program = torch.onnx.export(model, (torch.randn(2, 3, 4),), dynamic_axes={"x": {0: "b", 1: "t"}})
    agrees(program, model, torch.randn(5, 7, 4))


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_other_opsets(opset):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.GELU(),
                          nn.Linear(36, 5), nn.Softmax(-1)).eval()  # fmt: skip
    x = torch.randn(2, 3, 8, 8)
    program = torch.onnx.export(model, (x,), opset_version=opset, dynamic_axes={"input": {0: "b"}})
    assert program.model_proto.opset_import[0].version == opset
    agrees(program, model, torch.randn(3, 3, 8, 8))


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(model, *args, match, error=None, **options):
    with pytest.raises(error or torch.onnx.OnnxExporterError, match=match):
        torch.onnx.export(model, args, **options)


def test_refusals():
    x = torch.randn(3, 4)
    refused(lambda x: torch.linalg.svd(x)[1], x, match=r"no translation to ONNX:\n  svd \(at .*test_export.py:\d+\)",
            error=torch.onnx.errors.UnsupportedOperatorError)  # fmt: skip
    refused(lambda x: x * 2 if x.sum() > 0 else x, x, match="a value was needed.*test_export.py")
    refused(lambda x: x + torch.rand(4), x, match="Random numbers .* cannot be exported")
    refused(lambda x: x.sum(x.shape[0] % 2), x, match="another dim at other sizes", dynamic_axes={"x": {0: "b"}})
    refused(lambda x: x + torch.tensor([1.0] * x.shape[0])[:, None], x, match="differs from call to call",
            dynamic_axes={"x": {0: "b"}})  # fmt: skip
    refused(lambda x: torch.fft.fft(x).real, x, match="complex|no translation")
    refused(nn.Dropout(), x, match="dropout in training mode", training=torch.onnx.TrainingMode.TRAINING)
    refused(nn.ReLU(), x, match="opset_version 99 is not supported", opset_version=99)
    refused(nn.ReLU(), x, match="is not supported", error=NotImplementedError, export_modules_as_functions=True)
    refused(nn.ReLU(), x, match="3 names for 1", input_names=["a", "b", "c"])


def test_wrong_translation_is_caught():
    """The comparison with onnxruntime finds what a translation gets wrong."""
    table = {"relu": lambda g, node, input: g.Abs(input)}
    refused(nn.ReLU(), torch.randn(3), match="does not compute what the model does", custom_translation_table=table)
    right = {"relu": lambda g, node, input: g.Max(input, g.scalar(0, input))}
    program = torch.onnx.export(nn.ReLU(), (torch.randn(3),), custom_translation_table=right)
    assert kinds(program) == ["Max"]


def test_state_is_left_alone():
    """Recording writes nothing: running statistics, parameters, gradients and random numbers stay."""
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[0].weight.grad = torch.ones(3, 3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.onnx.export(model, (torch.randn(2, 3),), dynamic_axes={"input": {0: "b"}})
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.ones(3, 3)) and model.training


# --- files -----------------------------------------------------------------------------------------------------------


def test_files(tmp_path):
    model, x = nn.Linear(40, 30), torch.randn(2, 40)
    path = tmp_path / "model.onnx"
    program = torch.onnx.export(model, (x,), path, input_names=["features"], output_names=["scores"])
    assert (program.input_names, program.output_names) == (["features"], ["scores"])
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert torch.allclose(program(x)[0], model(x), atol=1e-6)
    two = tmp_path / "two.onnx"
    program.save(two, external_data=True)
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "two.onnx", "two.onnx.data"]
    onnx.checker.check_model(str(two), full_check=True)
    run = onnxruntime.InferenceSession(str(two), providers=["CPUExecutionProvider"]).run(None, {"features": x.numpy()})
    np.testing.assert_allclose(run[0], model(x).detach().numpy(), atol=1e-6)
    program.save(tmp_path / "bare.onnx", include_initializers=False)
    assert len(onnx.load(tmp_path / "bare.onnx").graph.input) == 3


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    program = torch.onnx.export(nn.ReLU(), (torch.randn(3),))
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        program.save(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.onnx"]


def test_export_flag():
    seen = []

    def model(x):
        seen.append(torch.onnx.is_in_onnx_export())
        return x + 1

    torch.onnx.export(model, (torch.randn(2),))
    assert seen and all(seen[:2]) and not torch.onnx.is_in_onnx_export()


def test_importing_jtorch_imports_no_onnx():
    import subprocess

    code = "import sys, jtorch, jtorch.onnx; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


# --- quantized models ------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """Convolution, batch norm, linear, between the stubs that quantization needs."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.conv, self.norm, self.relu = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(8 * 16, 5)

    def forward(self, x):
        x = self.pool(self.relu(self.norm(self.conv(self.quant(x)))))
        return self.dequant(self.fc(x.flatten(1)))


def test_static_quantization_becomes_integer_kernels(tmp_path):
    """8-bit weights in the file, within a rounding step of the model, and fused by onnxruntime."""
    aq = torch.ao.quantization
    torch.manual_seed(0)
    fused = aq.fuse_modules(Small().eval(), [["conv", "norm", "relu"]])
    fused.qconfig = aq.get_default_qconfig("x86")
    prepared = aq.prepare(fused)
    with torch.no_grad():
        prepared(torch.randn(64, 1, 8, 8))
    model = aq.convert(prepared)
    program = torch.onnx.export(model, (torch.randn(2, 1, 8, 8),), dynamic_axes={"x": {0: "b"}})
    assert sum(a.nbytes for a in program.weights.values() if a.dtype == np.int8) >= 8 * 9 + 8 * 16 * 5
    assert not any(a.dtype == np.float32 and a.size > 64 for a in program.weights.values())
    x = torch.randn(7, 1, 8, 8)
    with torch.no_grad():
        gap = (program(x)[0] - model(x)).abs().max().item()
    assert gap <= 1.001 * float(model.fc.scale)  # halves are rounded to the other side now and then
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fused_kinds = {n.op_type for n in onnx.load(tmp_path / "fused.onnx").graph.node}
    assert "QLinearConv" in fused_kinds and "Conv" not in fused_kinds


def test_dynamic_quantization():
    torch.manual_seed(0)
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)))
    program = torch.onnx.export(model, (torch.randn(3, 8),), dynamic_axes={"input": {0: "b"}})
    assert "MatMulInteger" in kinds(program)
    x = torch.randn(5, 8)
    assert (program(x)[0] - model(x)).abs().max() < 0.03 * model(x).abs().max()


def test_simulated_quantization():
    def model(x):
        return torch.fake_quantize_per_tensor_affine(x, 0.1, 3, 0, 255)

    program = torch.onnx.export(model, (torch.randn(3, 8),))
    assert kinds(program) == ["QuantizeLinear", "DequantizeLinear"]


def test_models_are_told_that_they_are_exported():
    class Careful(nn.Module):
        def forward(self, x):
            if not torch.compiler.is_exporting() and x.sum() > 0:  # looks at a value where that is possible
                return x + x
            return 2 * x

    x = torch.ones(2, 3)
    agrees(torch.onnx.export(Careful(), (x,), dynamic_axes={"x": {0: "n"}}), Careful(), x)
    assert not torch.compiler.is_exporting()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(mode):
    model, ids = nn.EmbeddingBag(9, 4, mode=mode), torch.randint(0, 9, (3, 5))
    agrees(torch.onnx.export(model, (ids,), dynamic_axes={"input": [0, 1]}), model, ids[:2, :4])
    with pytest.raises(torch.onnx.OnnxExporterError, match="given by offsets"):
        torch.onnx.export(model, (ids.reshape(-1), torch.tensor([0, 4])))


def test_rnn_with_relu_is_read_back():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(3, 4, nonlinearity="relu")

        def forward(self, x):
            return self.rnn(x)[0]

    model, x, file = Layer(), torch.randn(5, 2, 3), io.BytesIO()
    torch.onnx.export(model, (x,), file)
    np.testing.assert_allclose(
        torch.onnx.load(file.getvalue())(x).detach().numpy(), model(x).detach().numpy(), atol=1e-6
    )
