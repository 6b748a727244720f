"""jtorch.onnx.load: models of ours and of PyTorch's, read back, trained, and damaged."""

from __future__ import annotations

import io

import numpy as np
import pytest

import jtorch
from jtorch import nn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (what follows needs onnx)


def read_back(model, *inputs, **options):
    """The model exported and loaded."""
    file = io.BytesIO()
    jtorch.onnx.export(model, inputs, verify=False, **options).save(file)
    return jtorch.onnx.load(file.getvalue())


def close(a, b, tol=1e-5):
    a, b = (x if isinstance(x, tuple) else (x,) for x in (a, b))
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert jtorch.allclose(x, y, rtol=tol, atol=tol), (x - y).abs().max()


def cnn(lib):
    return lib.nn.Sequential(
        lib.nn.Conv2d(1, 4, 3, padding=1), lib.nn.BatchNorm2d(4), lib.nn.ReLU(), lib.nn.MaxPool2d(2), lib.nn.Flatten(),
        lib.nn.Linear(64, 5),
    )  # fmt: skip


def test_round_trip_keeps_names_and_trains():
    jtorch.manual_seed(0)
    model = cnn(jtorch).eval()
    loaded = read_back(model, jtorch.randn(2, 1, 8, 8), dynamic_axes={"input": {0: "batch"}}).eval()
    state = {k for k in model.state_dict() if "num_batches" not in k}
    assert set(loaded.state_dict()) == state
    assert {n for n, _ in loaded.named_parameters()} == {n for n, _ in model.named_parameters()}
    x, y = jtorch.randn(5, 1, 8, 8), jtorch.randint(5, (5,))
    close(loaded(x), model(x))
    for m in (model, loaded):  # the same gradients, and the same step
        optimizer = jtorch.optim.SGD(m.parameters(), lr=0.1)
        nn.functional.cross_entropy(m(x), y).backward()
        optimizer.step()
    for name, p in model.named_parameters():
        close(dict(loaded.named_parameters())[name], p)
    close(loaded(x), model(x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.embed, self.encoder = nn.Embedding(20, 8), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, tokens):
        return self.encoder(self.embed(tokens)).mean(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTM(4, 5, bidirectional=True), nn.GRU(10, 3)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0]


@pytest.mark.parametrize(
    "make, inputs",
    [(Attention, lambda b: jtorch.randint(20, (b, 6))), (Recurrent, lambda b: jtorch.randn(b, 2, 4))],
    ids=["attention", "recurrent"],
)
def test_round_trip(make, inputs):
    jtorch.manual_seed(0)
    model = make().eval()
    name = "tokens" if make is Attention else "x"
    loaded = read_back(model, inputs(3), dynamic_axes={name: {0: "n"}})
    x = inputs(5)
    close(loaded(x), model(x))
    loaded(x).square().sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_program_is_recorded_not_stopped():
    """Arithmetic on shapes stays on the host: one forward and backward is one program."""
    model = Attention().eval()
    loaded = read_back(model, jtorch.randint(20, (2, 6)), dynamic_axes={"tokens": {0: "b", 1: "t"}})
    x = jtorch.randint(20, (3, 4))
    jtorch.sync()
    before = jtorch.debug.counters()["flushes"]
    loaded(x).sum().backward()
    assert jtorch.debug.counters()["flushes"] == before


# --- models that PyTorch wrote ---------------------------------------------------------------------------------------


def test_model_of_pytorch_trains_alike():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = cnn(torch)
    model(torch.randn(8, 1, 8, 8))  # running statistics that are not their defaults
    model.eval()
    file = io.BytesIO()
    x = torch.randn(3, 1, 8, 8)
    options = dict(dynamo=False, do_constant_folding=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}})
    with pytest.warns(DeprecationWarning):
        torch.onnx.export(model, (x,), file, training=torch.onnx.TrainingMode.PRESERVE, **options)
    loaded = jtorch.onnx.load(file.getvalue()).eval()
    assert {n for n, _ in loaded.named_parameters()} == {n for n, _ in model.named_parameters()}
    ours = loaded(jtorch.from_numpy(x.numpy()))
    np.testing.assert_allclose(ours.detach().numpy(), model(x).detach().numpy(), atol=1e-5)
    ours.square().sum().backward()
    model(x).square().sum().backward()
    theirs = dict(model.named_parameters())
    for name, p in loaded.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs[name].grad.numpy(), atol=1e-4, rtol=1e-4)


def test_lstm_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model, file, x = torch.nn.LSTM(3, 4, 2, bidirectional=True), io.BytesIO(), torch.randn(5, 2, 3)
    with pytest.warns(Warning):
        torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"])
    loaded = jtorch.onnx.load(file.getvalue())
    y, h, c = loaded(jtorch.from_numpy(x.numpy()))
    expected, (eh, ec) = model(x)
    for a, b in ((y, expected), (h, eh), (c, ec)):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-5)
    y.sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())


# --- handlers --------------------------------------------------------------------------------------------------------


def graph_of(nodes, inputs, outputs, initializers=(), opset=20, functions=()):
    infos = [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs]
    results = [helper.make_tensor_value_info(n, t, s) for n, t, s in outputs]
    graph = helper.make_graph(nodes, "test", infos, results, list(initializers))
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("local", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))


F, I64, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def test_the_newest_handler_that_is_not_too_new():
    """Softmax saw a matrix before opset 13."""
    x = jtorch.randn(2, 3, 4)
    for opset, expected in (
        (11, x.reshape(2, 12).softmax(1).reshape(2, 3, 4)),
        (13, x.softmax(-1)),
        (21, x.softmax(-1)),
    ):
        model = graph_of(
            [helper.make_node("Softmax", ["x"], ["y"])], [("x", F, [2, 3, 4])], [("y", F, [2, 3, 4])], opset=opset
        )
        close(jtorch.onnx.load(model)(x), expected)


def test_functions_and_control_flow():
    """A function of the model's own, an If and a Loop, with gradients through them."""
    body = [helper.make_node("Mul", ["a", "a"], ["t"]), helper.make_node("Add", ["t", "b"], ["c"])]
    square = helper.make_function("local", "SquareAdd", ["a", "b"], ["c"], body, [helper.make_opsetid("", 20)])
    step = helper.make_graph(
        [helper.make_node("Add", ["s", "w"], ["s2"]), helper.make_node("Identity", ["go"], ["go2"])], "step",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("i", I64, []), ("go", B, []), ("s", F, [3]))],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("go2", B, []), ("s2", F, [3]))],
    )  # fmt: skip
    yes, no = (
        helper.make_graph([helper.make_node(op, ["s3"], ["r"])], op, [], [helper.make_tensor_value_info("r", F, [3])])
        for op in ("Neg", "Identity")
    )
    nodes = [
        helper.make_node("SquareAdd", ["x", "w"], ["s1"], domain="local"),
        helper.make_node("Loop", ["n", "", "s1"], ["s3"], body=step),
        helper.make_node("If", ["flip"], ["y"], then_branch=yes, else_branch=no),
    ]
    w = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")
    inputs = [("x", F, [3]), ("n", I64, []), ("flip", B, [])]
    model = jtorch.onnx.load(graph_of(nodes, inputs, [("y", F, [3])], [w], functions=[square]))
    x = jtorch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    out = model(x, jtorch.tensor(2), jtorch.tensor(True))
    close(out, -(x * x + 3 * jtorch.tensor([1.0, 2.0, 3.0])))
    out.sum().backward()
    close(model.w.grad, jtorch.tensor([-3.0, -3.0, -3.0]))
    close(x.grad, -2 * x.detach())


def test_operator_that_is_defined_by_others():
    """There is no handler of Attention: ONNX's definition of it is run."""
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1)
    shape = [2, 3, 4, 8]
    model = graph_of([node], [(n, F, shape) for n in "qkv"], [("y", F, shape)], opset=23)
    q, k, v = (jtorch.randn(*shape) for _ in range(3))
    close(jtorch.onnx.load(model)(q, k, v), nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(source, match):
    with pytest.raises(jtorch.onnx.OnnxLoadError, match=match):
        jtorch.onnx.load(source)


@pytest.fixture
def linear(tmp_path):
    """A model in two files; the bytes of the first."""
    program = jtorch.onnx.export(nn.Linear(40, 30), (jtorch.randn(2, 40),), verify=False)
    program.save(tmp_path / "model.onnx", external_data=True)
    return tmp_path / "model.onnx"


def test_external_data(linear):
    x = jtorch.randn(2, 40)
    loaded = jtorch.onnx.load(linear)
    close(loaded(x), x @ loaded.weight.t() + loaded.bias)
    refused(linear.read_bytes(), "load the model from its path")


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "", "link"])
def test_data_outside_of_the_folder_is_refused(linear, location):
    (linear.parent.parent / "secret").write_bytes(b"\0" * 10000)
    (linear.parent / "link").symlink_to(linear.parent.parent / "secret")
    model = onnx.load(linear, load_external_data=False)
    entry = next(t for t in model.graph.initializer if t.external_data)
    next(e for e in entry.external_data if e.key == "location").value = location
    linear.write_bytes(model.SerializeToString())
    refused(linear, "outside of the model's folder")


@pytest.mark.parametrize("key, value", [("offset", "999999"), ("length", "-4"), ("length", "12"), ("offset", "x")])
def test_data_that_does_not_fit_is_refused(linear, key, value):
    model = onnx.load(linear, load_external_data=False)
    entry = next(t for t in model.graph.initializer if t.external_data)
    next(e for e in entry.external_data if e.key == key).value = value
    linear.write_bytes(model.SerializeToString())
    refused(linear, "needs 4800 bytes|must be numbers")


def test_damaged_files_are_refused(tmp_path):
    file = io.BytesIO()
    jtorch.onnx.export(cnn(jtorch), (jtorch.randn(2, 1, 8, 8),), verify=False).save(file)
    data = file.getvalue()
    rng = np.random.default_rng(0)
    refused(b"", "no ONNX model")
    refused(b"\x80\x04not onnx at all", "no ONNX model")
    for cut in (1, 10, len(data) // 2, len(data) - 1):
        refused(data[:cut], "no ONNX model|not valid")
    for _ in range(30):  # whatever a changed byte does, it is a load error, or a model
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            jtorch.onnx.load(bytes(broken))
        except jtorch.onnx.OnnxLoadError:
            pass
    with pytest.raises(FileNotFoundError):
        jtorch.onnx.load(tmp_path / "absent.onnx")


def test_unknown_operator_and_wrong_calls():
    node = helper.make_node("Gizmo", ["x"], ["y"], domain="local")
    model = graph_of([node], [("x", F, [2])], [("y", F, [2])])
    model.opset_import.append(helper.make_opsetid("local", 1))
    with pytest.raises(jtorch.onnx.OnnxLoadError, match="Gizmo of domain 'local'"):
        jtorch.onnx.load(model)(jtorch.ones(2))
    loaded = read_back(nn.Linear(4, 3), jtorch.randn(2, 4))
    with pytest.raises(ValueError, match=r"input 'input' must have the shape \[2, 4\], got \[2, 5\]"):
        loaded(jtorch.ones(2, 5))
    with pytest.raises(TypeError, match="missing"):
        loaded()
    with pytest.raises(TypeError, match="no .*input 'nonsense'"):
        loaded(nonsense=jtorch.ones(2, 4))


def test_linear_models_of_scikit_learn():
    from onnx import helper

    rng = np.random.default_rng(0)
    a, b, x = rng.normal(size=(3, 4)), rng.normal(size=3), rng.normal(size=(5, 4)).astype(np.float32)
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.5], scale=[2.0]),
        helper.make_node("LinearClassifier", ["s"], ["label", "p"], domain="ai.onnx.ml", post_transform="SOFTMAX",
                         coefficients=a.ravel(), intercepts=b, classlabels_ints=[7, 8, 9]),
        helper.make_node("LinearRegressor", ["s"], ["r"], domain="ai.onnx.ml", coefficients=a[:2].ravel(), targets=2),
        helper.make_node("Normalizer", ["r"], ["l1"], domain="ai.onnx.ml", norm="L1"),
    ]  # fmt: skip
    outputs = [info("label", 7, ["n"]), info("p", 1, ["n", 3]), info("r", 1, ["n", 2]), info("l1", 1, ["n", 2])]
    graph = helper.make_graph(nodes, "g", [info("x", 1, ["n", 4])], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)])
    label, p, r, l1 = jtorch.onnx.load(model)(jtorch.tensor(x))
    scaled = (x - 0.5) * 2
    scores = scaled @ a.T + b
    assert label.tolist() == (scores.argmax(1) + 7).tolist()
    np.testing.assert_allclose(p.numpy(), np.exp(scores) / np.exp(scores).sum(1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(r.numpy(), scaled @ a[:2].T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(abs(l1.numpy()).sum(1), 1, atol=1e-5)
