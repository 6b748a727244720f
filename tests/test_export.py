"""``torch.export``: programs with open sizes, written to files and run without the model's source."""

import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import jtorch as torch
from jtorch import nn
from jtorch.export import Dim, dims

ROOT = pathlib.Path(__file__).parent.parent


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, picture, scale=1.0):
        h = torch.relu(self.bn(self.conv(picture))).mean((2, 3))
        return {"logits": self.fc(h) * scale, "features": (h, None)}


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 8), nn.Linear(8, 20)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.out.weight = self.embed.weight

    def forward(self, ids):
        batch, length = ids.shape
        mask = torch.triu(torch.full((length, length), float("-inf")), 1)
        positions = torch.arange(length, device=ids.device).float() / length
        h = self.layer(self.embed(ids) + positions[None, :, None], src_mask=mask)
        return self.out(h).reshape(batch * length, -1).view(batch, length, 20)


@pytest.fixture(scope="module")
def picture_program():
    torch.manual_seed(0)
    model = Classifier().eval()
    x = torch.randn(4, 1, 6, 6)
    return model, torch.export.export(model, (x,), dynamic_shapes={"picture": {0: Dim("batch", min=1, max=64)}})


def saved(program, **options) -> io.BytesIO:
    stream = io.BytesIO()
    torch.export.save(program, stream, **options)
    stream.seek(0)
    return stream


def test_open_batch_round_trip(picture_program):
    model, program = picture_program
    loaded = torch.export.load(saved(program)).module()
    for module in (program.module(), loaded):
        for n in (1, 3, 9):
            x = torch.randn(n, 1, 6, 6)
            want, got = model(x), module(x)
            assert torch.allclose(want["logits"], got["logits"], atol=1e-6)
            assert torch.allclose(want["features"][0], got["features"][0], atol=1e-6) and got["features"][1] is None
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert program.platforms == ("cpu", "cuda", "tpu")


def test_loaded_program_has_gradients(picture_program):
    model, program = picture_program
    loaded = torch.export.load(saved(program)).module()
    x = torch.randn(2, 1, 6, 6)
    model.zero_grad()
    loaded(x)["logits"].square().sum().backward()
    model(x)["logits"].square().sum().backward()
    for (name, p), q in zip(model.named_parameters(), loaded.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-5), name


def test_signature_and_refusals(picture_program):
    _, program = picture_program
    signature = program.graph_signature
    assert "conv.weight" in signature.parameters and "bn.running_mean" in signature.buffers
    assert signature.user_inputs == ("picture",) and signature.user_outputs == ("mul", "mean")
    module = program.module()
    wrong = (
        r"Guard failed: picture.size\(\)\[2\] == 6: the program takes shape \[batch, 1, 6, 6\].*, got \[2, 1, 7, 7\]"
    )
    with pytest.raises(AssertionError, match=wrong):
        module(torch.zeros(2, 1, 7, 7))
    with pytest.raises(TypeError, match="float32"):
        module(torch.zeros(2, 1, 6, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match="takes 1 positional arguments"):
        module(torch.zeros(2, 1, 6, 6), 3.0)
    with pytest.raises(RuntimeError, match="module()"):
        program(torch.zeros(2, 1, 6, 6))
    with pytest.raises(NotImplementedError, match="train"):
        module.train()
    assert "stablehlo" in program.stablehlo()


def test_two_open_sizes_tied_weights_and_products_of_sizes():
    torch.manual_seed(0)
    model = Language().eval()
    batch, length = dims("batch", "length")
    program = torch.export.export(model, (torch.zeros(2, 7, dtype=torch.int64),), dynamic_shapes=((batch, length),))
    loaded = torch.export.load(saved(program)).module()
    for shape in ((1, 4), (3, 11)):
        ids = torch.randint(0, 20, shape)
        assert torch.allclose(model(ids), loaded(ids), atol=1e-5)
    assert loaded.out.weight is loaded.embed.weight
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in model.parameters())


def test_buffers_that_are_written():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("total", torch.zeros(2))

        def forward(self, x):
            self.total += x
            return self.total * 2

    model = Counter()
    program = torch.export.export(model, (torch.ones(2),))
    assert model.total.tolist() == [0, 0] and program.graph_signature.changed == ("total",)
    module = torch.export.load(saved(program)).module()
    module(torch.ones(2))
    assert module(torch.ones(2)).tolist() == [4, 4] and module.total.tolist() == [2, 2]


def test_nested_arguments_and_dtypes():
    class Model(nn.Module):
        def forward(self, pair, *, table, flag=True):
            a, b = pair
            return [a.double() + table["x"], b.to(torch.bfloat16), (table["x"] > 0) if flag else None]

    args, kwargs = ((torch.ones(3), torch.arange(3)),), {"table": {"x": torch.ones(3, dtype=torch.float64)}}
    program = torch.export.export(Model(), args, kwargs)
    got = torch.export.load(saved(program)).module()(*args, **kwargs)
    assert [t.dtype for t in got] == [torch.float64, torch.bfloat16, torch.bool]
    assert got[0].tolist() == [2, 2, 2]


def in_a_module(fn):
    class Model(nn.Module):
        def forward(self, x):
            return fn(x)

    return Model()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x: x if x.sum() > 0 else -x, r"bool\(\).*test_export.py"),
        (lambda x: x * x.max().item(), r"item\(\).*test_export.py"),
        (lambda x: x.reshape(2, -1), "reshape|polynomial|size"),
    ],
)
def test_what_cannot_be_exported_names_the_line(fn, words):
    with pytest.raises(RuntimeError, match=words):
        torch.export.export(in_a_module(fn), (torch.ones(4),), dynamic_shapes=({0: Dim("n")},))


def test_dynamic_shapes_are_checked():
    model, x = in_a_module(torch.relu), torch.ones(4, 2)
    for wrong in ({"y": None}, {"x": {5: Dim("n")}}, {"x": (Dim("n"),)}, {"x": {0: Dim("n", min=7)}}, {"x": {0: 3}}):
        with pytest.raises(torch._dynamo.exc.UserError, match="x|y|arguments"):
            torch.export.export(model, (x,), dynamic_shapes=wrong)
    with pytest.raises(AssertionError, match="identifier"):
        Dim("a b")
    with pytest.raises(NotImplementedError, match="positive integer"):
        Dim("n") * -1
    with pytest.raises(ValueError, match="nn.Module"):
        torch.export.export(torch.relu, (x,))
    n = Dim("n")

    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

    with pytest.raises(torch._dynamo.exc.UserError, match=r"Constraints violated \(n\)"):
        torch.export.export(Two(), (torch.ones(3), torch.ones(4)), dynamic_shapes=({0: n}, {0: n}))
    with pytest.raises(torch._dynamo.exc.UserError, match="different definitions"):
        two = {0: Dim("n", max=9)}, {0: Dim("n", max=8)}
        torch.export.export(Two(), (torch.ones(3), torch.ones(3)), dynamic_shapes=two)
    same = torch.export.export(Two(), (torch.ones(3), torch.ones(3)), dynamic_shapes=({0: Dim("n")}, {0: Dim("n")}))
    with pytest.raises(AssertionError, match="Guard failed"):
        same.module()(torch.ones(4), torch.ones(5))
    auto = torch.export.export(model, (x,), dynamic_shapes={"x": {0: Dim.AUTO(max=9), 1: Dim.STATIC}})
    assert auto.module()(torch.ones(9, 2)).shape == (9, 2)
    with pytest.raises(AssertionError, match="Guard failed"):
        auto.module()(torch.ones(10, 2))


def test_numbers_among_the_results_follow_the_sizes(tmp_path):
    class Sizes(nn.Module):
        def forward(self, x, y):
            return x.sum(), x.shape[0], {"area": 2 * x.numel() - y.shape[0], "fixed": 3}, [x.shape]

    n = Dim("n")
    shapes = {0: n, 1: Dim("m")}, {0: 2 * n + 1}
    program = torch.export.export(Sizes(), (torch.ones(3, 5), torch.ones(7)), dynamic_shapes=shapes)
    assert [x.shape for x in program.example_inputs[0]] == [(3, 5), (7,)] and program.example_inputs[1] == {}
    torch.export.save(program, tmp_path / "sizes.pt2")
    for made in (program, torch.export.load(tmp_path / "sizes.pt2")):
        assert made.module()(torch.ones(4, 2), torch.ones(9))[1:] == (4, {"area": 7, "fixed": 3}, [(4, 2)])

    with pytest.raises(torch._dynamo.exc.UserError):
        torch.export.export(in_a_module(lambda x: x.reshape(2, -1)), (torch.ones(6),), dynamic_shapes=({0: n},))

    class Half(nn.Module):
        def forward(self, x):
            return x, x.shape[0] // 2

    with pytest.raises(torch._dynamo.exc.UserError, match="polynomial"):
        torch.export.export(Half(), (torch.ones(4),), dynamic_shapes=({0: n},))


@pytest.mark.parametrize("bounds", [{}, {"min": 1}, {"min": 2}, {"min": 2, "max": 5}, {"min": 4, "max": 5}, {"max": 7}])
def test_dims_are_printed_as_pytorchs(bounds):
    theirs = pytest.importorskip("torch").export.Dim("n", **bounds)
    assert repr(Dim("n", **bounds)) == repr(theirs)
    assert repr(2 * Dim("n", **bounds) - 1) == repr(2 * theirs - 1)


def test_files_are_written_whole_and_read_with_care(tmp_path, picture_program):
    _, program = picture_program
    path = tmp_path / "model.zip"
    torch.export.save(program, path, extra_files={"labels.txt": "a b c"})
    assert os.listdir(tmp_path) == ["model.zip"]
    extra = {"labels.txt": ""}
    torch.export.load(path, extra_files=extra)
    assert extra["labels.txt"] == "a b c"
    data = path.read_bytes()
    with pytest.raises(RuntimeError, match="whole file"):
        torch.export.load(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(RuntimeError, match="no file of torch.export.save"):
        other = io.BytesIO()
        with zipfile.ZipFile(other, "w") as archive:
            archive.writestr("data.pkl", b"")
        torch.export.load(io.BytesIO(other.getvalue()))
    other = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "manifest.json":
                content = json.dumps(json.loads(content) | {"format": 99})
            new.writestr(name, content)
    with pytest.raises(RuntimeError, match="format 99"):
        torch.export.load(io.BytesIO(other.getvalue()))
    with pytest.raises(TypeError, match="ExportedProgram"):
        torch.export.save(nn.Linear(1, 1), path)
    assert path.read_bytes() == data


def test_runs_where_there_is_no_jtorch(tmp_path, picture_program):
    model, program = picture_program
    torch.export.save(program, tmp_path / "model.zip")
    x = torch.randn(5, 1, 6, 6)
    np.savez(tmp_path / "inputs.npz", picture=x.numpy())
    blocked = (
        "import sys; sys.modules['jtorch'] = None; import runpy; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    said = subprocess.run(
        [sys.executable, "-c", blocked, str(ROOT / "examples" / "run_exported.py"), "model.zip", "inputs.npz"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert f"sum {model(x)['logits'].sum().item():.3f}"[:-1] in said.stdout


@pytest.mark.slow
def test_example():
    said = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "export_and_run.py"), "--steps", "60"],
        capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "output 0: shape (9, 3)" in said.stdout


def test_wide_linear_layers_of_an_open_batch():
    model = nn.Linear(8, 1024)  # its gradient is spelled by the number of rows, which is open here
    x = torch.randn(3, 8)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=512)},))
    y = program.module()(torch.ones(200, 8))
    y.sum().backward()
    assert torch.allclose(y, model(torch.ones(200, 8)), atol=1e-6)


def test_transposed_convolution_of_open_images():
    model = nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1, output_padding=1)
    sizes = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", min=4, max=64), 3: torch.export.Dim("w", min=4, max=64)}
    program = torch.export.export(model, (torch.randn(2, 2, 8, 8),), dynamic_shapes=(sizes,))
    x = torch.randn(1, 2, 6, 11)
    assert torch.allclose(program.module()(x), model(x), atol=1e-6)
