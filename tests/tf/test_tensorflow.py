"""SavedModel, TFLite and Keras. Everything here imports TensorFlow, which takes seconds."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

import jtorch
from jtorch import nn

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs tensorflow"),
    pytest.mark.filterwarnings("ignore"),  # TensorFlow's own, about itself
]


@pytest.fixture(scope="module")
def jtf():
    import jtorch.interop.tf

    return jtorch.interop.tf


@pytest.fixture(scope="module")
def tf():
    import tensorflow

    return tensorflow


def cnn():
    """A digits CNN with the default gelu; its statistics have seen data."""
    jtorch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8 * 16, 10),
    )  # fmt: skip
    model(jtorch.randn(16, 1, 8, 8) * 2 + 1)
    return model.eval()


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        jtorch.manual_seed(1)
        self.words, self.places = nn.Embedding(50, 32), nn.Embedding(16, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 50)

    def forward(self, ids):
        x = self.words(ids) + self.places(jtorch.arange(ids.shape[1]))
        return self.head(self.body(x)).reshape(ids.shape[0] * ids.shape[1], 50)


_RELOAD = """
import sys
for name in ("jax", "jaxlib", "jtorch"):
    sys.modules[name] = None  # importing it fails
import numpy as np
import tensorflow as tf
folder = sys.argv[1]
data = np.load(folder + "/data.npz")
loaded = tf.saved_model.load(folder + "/model")
for n in (1, 2, 5):
    x = tf.constant(data["x"][:n])
    for out in (loaded(x), loaded.signatures["serving_default"](input=x)):
        np.testing.assert_allclose(out["output"].numpy(), data["y"][:n], rtol=1e-5, atol=1e-5)
variables = loaded.signatures["serving_default"].trainable_variables
with tf.GradientTape() as tape:
    total = tf.reduce_sum(loaded(tf.constant(data["x"]))["output"] ** 2)
for v, g in zip(variables, tape.gradient(total, variables), strict=True):
    key = v.name.split(":")[0].replace("/", ".")
    np.testing.assert_allclose(g.numpy(), data[key], rtol=1e-4, atol=1e-4 * abs(data[key]).max())
assert len(variables) == 6
print("as expected")
"""


def test_saved_model_reloads_without_jax(jtf, tmp_path):
    model, x = cnn(), jtorch.randn(5, 1, 8, 8)
    assert jtf.save_saved_model(model, x, tmp_path / "model") < 1e-5
    (model(x) ** 2).sum().backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=model(x).detach().numpy(), **gradients)
    run = subprocess.run([sys.executable, "-c", _RELOAD, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert run.stdout.strip().endswith("as expected"), run.stderr[-3000:]
    assert sorted(os.listdir(tmp_path)) == ["data.npz", "model"]  # nothing temporary is left

    again = jtf.from_saved_model(tmp_path / "model")  # as a module: outputs and gradients as the module's own
    inputs, expected = x.clone().requires_grad_(), x.clone().requires_grad_()
    (again(inputs)["output"] ** 2).sum().backward()
    (model(expected) ** 2).sum().backward()
    np.testing.assert_allclose(inputs.grad.numpy(), expected.grad.numpy(), rtol=1e-4, atol=1e-4)
    assert {n for n, _ in again.named_parameters()} == {n.replace(".", "_") for n, _ in model.named_parameters()}


def test_transformer_at_other_lengths(jtf, tf, tmp_path):
    model, ids = Transformer().eval(), jtorch.randint(0, 50, (3, 7))
    jtf.save_saved_model(
        model, ids, tmp_path / "m", dynamic_shapes={"ids": {0: "batch", 1: "time"}}, output_names=["y"]
    )
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    for shape in ((1, 1), (4, 16)):
        other = jtorch.randint(0, 50, shape)
        got = loaded.signatures["serving_default"](ids=tf.constant(other.numpy()))["y"].numpy()
        np.testing.assert_allclose(got, model(other).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_newer_operations_are_replaced(jtf, tf, tmp_path):
    def f(x):
        y = x.abs().clamp(max=0.9)
        found = [jtorch.erf(x), x.sinh(), x.cosh(), x.asinh(), (y + 1).acosh(), y.acos(), y.asin(), y.atanh()]
        return *found, x.topk(2, dim=1).values, jtorch.nn.functional.gelu(x)

    x = jtorch.randn(4, 6)
    assert jtf.save_saved_model(f, x, tmp_path / "m") < 1e-5
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    given = tf.constant(x.numpy())
    with tf.GradientTape() as tape:
        tape.watch(given)
        total = tf.reduce_sum(loaded(given)["output_0"])
    np.testing.assert_allclose(tape.gradient(total, given), 2 / np.pi**0.5 * np.exp(-(x.numpy() ** 2)), rtol=1e-5)


def test_refusals_leave_nothing_behind(jtf, tmp_path):
    def factor(a):
        return jtorch.linalg.cholesky(a @ a.mT + jtorch.eye(3))

    x = jtorch.randn(2, 3, 3)
    with pytest.raises(jtf.UnsupportedOperatorError, match=r"cholesky cannot be exported.*test_tensorflow.py"):
        jtf.save_saved_model(factor, x, tmp_path / "m")
    with pytest.raises(jtf.ExportError, match="does not hold at all sizes"):
        jtf.save_saved_model(lambda a: a / float(a.shape[0]), x, tmp_path / "m")
    with pytest.raises(RuntimeError, match="a value was needed"):
        jtf.save_saved_model(lambda a: a if a.sum() > 0 else -a, x, tmp_path / "m")
    with pytest.raises(RuntimeError, match="eval"):
        jtf.save_saved_model(nn.BatchNorm1d(3), x, tmp_path / "m")
    with pytest.raises(jtf.MismatchError):
        jtf.save_saved_model(lambda a: a.exp() * 1.7, x, tmp_path / "m", tolerance=-1.0)
    assert os.listdir(tmp_path) == []
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.txt").write_text("kept")
    with pytest.raises(FileExistsError):
        jtf.save_saved_model(lambda a: a + 1, x, tmp_path / "m")
    assert os.listdir(tmp_path / "m") == ["mine.txt"]


@pytest.mark.parametrize("quantize", [None, "dynamic", "float16", "int8"])
def test_tflite(jtf, tmp_path, quantize):
    model, x = cnn(), jtorch.randn(4, 1, 8, 8)
    data = [jtorch.randn(4, 1, 8, 8) for _ in range(8)] if quantize == "int8" else None
    made = jtf.to_tflite(model, x, tmp_path / "m.tflite", quantize=quantize, representative_data=data)
    wanted = model(x).detach().numpy()
    off = np.abs(made(x)[0] - wanted).max() / np.abs(wanted).max()
    assert off < {None: 1e-5, "float16": 5e-3, "dynamic": 5e-2, "int8": 0.1}[quantize]
    assert made.difference >= off
    assert (tmp_path / "m.tflite").read_bytes() == made.content and made.content[4:8] == b"TFL3"


def test_tflite_of_a_transformer_and_of_a_transposed_convolution(jtf):
    made = jtf.to_tflite(Transformer().eval(), jtorch.randint(0, 50, (2, 7)))
    assert made.difference < 1e-5
    for kernel, stride, padding, extra in ((3, 2, 1, 1), (4, 2, 1, 0), (2, 3, 0, 1)):
        layer = nn.ConvTranspose2d(4, 3, kernel, stride, padding, output_padding=extra)
        assert jtf.to_tflite(layer, jtorch.randn(2, 4, 5, 5)).difference < 1e-5


def test_tflite_refuses_what_it_gets_wrong(jtf):
    x = jtorch.randn(4, 6)
    with pytest.raises(jtf.MismatchError, match="differs from the module"):
        jtf.to_tflite(nn.Linear(6, 3), x, quantize="dynamic", tolerance=1e-9)
    with pytest.raises(ValueError, match="representative_data"):
        jtf.to_tflite(nn.Linear(6, 3), x, quantize="int8")
    with pytest.raises(jtf.ExportError, match="converter refuses"):
        jtf.to_tflite(lambda a: a.sort().values, x)


def test_a_keras_model_trains_in_a_jtorch_loop(jtf, tf):
    tf.keras.utils.set_random_seed(0)
    keras = tf.keras.Sequential([
        tf.keras.layers.Input((4,)), tf.keras.layers.Dense(16, activation="tanh"),
        tf.keras.layers.BatchNormalization(), tf.keras.layers.Dense(1),
    ])  # fmt: skip
    inside = jtf.from_keras(keras)
    jtorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), inside)
    x = jtorch.randn(64, 3)
    target = (x[:, :1] * x[:, 1:2]).tanh()
    optimizer = jtorch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert len(list(inside.parameters())) == 6 and len(dict(inside.named_buffers())) >= 2

    model.eval()
    hidden = model[0](x).detach()
    inside(hidden)  # parameters go into the Keras model with each call
    np.testing.assert_allclose(inside(hidden).detach().numpy(), keras(hidden.numpy()).numpy(), rtol=1e-5, atol=1e-6)
    given = hidden.clone().requires_grad_()
    (gradient,) = jtorch.autograd.grad(inside(given).sum(), given)
    with tf.GradientTape() as tape:
        raw = tf.constant(hidden.numpy())
        tape.watch(raw)
        total = tf.reduce_sum(keras(raw))
    np.testing.assert_allclose(gradient.numpy(), tape.gradient(total, raw).numpy(), rtol=1e-5, atol=1e-6)
