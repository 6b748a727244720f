"""The FX graph of an exported program, and what its inputs and results are."""

import dataclasses
import io

import pytest

import jtorch as torch
from jtorch import nn
from jtorch.export import Dim


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x):
        h = torch.relu(self.bn(self.conv(x))).mean((2, 3))
        return self.fc(h).softmax(-1) + torch.tensor([1.0, 2.0])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(20, 8), nn.LSTM(8, 8, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)

    def forward(self, ids, keep: dict):
        h, _ = self.rnn(self.embed(ids))
        h = self.layer(h)[:, 1:].transpose(1, 2).flatten(1)
        top = h.max(-1)
        return {"values": top.values * keep["scale"], "places": top.indices, "wide": torch.cat([h, h * 2], 1) > 0.5}


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(2))

    def forward(self, x):
        self.total.add_(x.sum(0))
        return x - self.total


def run(program, model, *tensors):
    """What the graph gives, called with all of its inputs."""
    given = [*dict(model.named_parameters()).values(), *dict(model.named_buffers()).values()]
    return program.graph_module(*given, *program.constants.values(), *tensors)


def test_the_graph_of_a_convolutional_network():
    torch.manual_seed(0)
    model = Pictures().eval()
    program = torch.export.export(model, (torch.randn(2, 3, 8, 8),), dynamic_shapes={"x": {0: Dim("b", max=64)}})
    called = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    names = ["conv2d.default", "batch_norm.default", "relu.default", "mean.dim", "linear.default", "softmax.int"]
    assert called == [f"aten.{n}" for n in [*names, "add.Tensor"]]
    for batch in (2, 5):
        x = torch.randn(batch, 3, 8, 8)
        torch.testing.assert_close(run(program, model, x)[0], model(x))
    text = str(program)
    assert 'x: "f32[b, 3, 8, 8]"' in text and 'relu: "f32[b, 4, 6, 6]" = torch.ops.aten.relu.default(' in text
    assert "test_export_graph.py:" in text and "conv_weight: PARAMETER target='conv.weight'" in text
    assert "Range constraints: {'b': VR[0, 64]}" in text


def test_inputs_and_results_by_name():
    model = Pictures().eval()
    signature = torch.export.export(model, (torch.randn(2, 3, 8, 8),)).graph_signature
    kinds = [s.kind.name for s in signature.input_specs]
    assert kinds == ["PARAMETER"] * 6 + ["BUFFER"] * 3 + ["CONSTANT_TENSOR", "USER_INPUT"]
    assert signature.input_specs[0].arg.name == "p_conv_weight" and signature.input_specs[0].target == "conv.weight"
    assert signature.inputs_to_buffers["b_bn_running_mean"] == "bn.running_mean"
    assert signature.user_outputs == ("add",) and signature.output_specs[0].kind.name == "USER_OUTPUT"


@pytest.mark.parametrize("open_sizes", [False, True])
def test_the_graph_of_a_language_model(open_sizes):
    torch.manual_seed(0)
    model = Words().eval()
    ids, keep = torch.randint(0, 20, (3, 6)), {"scale": torch.tensor(2.0)}
    shapes = {"ids": {0: Dim("batch"), 1: Dim("length", min=2)}, "keep": {"scale": None}} if open_sizes else None
    program = torch.export.export(model, (ids, keep), dynamic_shapes=shapes)
    for size in [(3, 6), (4, 9)][: 1 + open_sizes]:
        ids = torch.randint(0, 20, size)
        wanted, found = model(ids, keep), run(program, model, ids, keep["scale"])
        for a, b in zip(wanted.values(), found, strict=True):
            torch.testing.assert_close(b, a)
    assert any(n.target is torch.ops.aten.sym_size.int or str(n.target) == "aten.sym_size.int"
               for n in program.graph.nodes) == open_sizes  # fmt: skip


def test_written_buffers_come_first():
    model = Counting()
    program = torch.export.export(model, (torch.ones(3, 2),))
    new, result = run(program, model, torch.ones(3, 2))
    assert new.tolist() == [3, 3] and result.tolist() == [[-2, -2]] * 3 and model.total.tolist() == [0, 0]
    assert list(program.graph_signature.buffers_to_mutate.values()) == ["total"]
    assert [s.kind.name for s in program.graph_signature.output_specs] == ["BUFFER_MUTATION", "USER_OUTPUT"]


def test_a_loaded_program_has_none():
    program, file = (
        torch.export.export(Counting(), (torch.ones(3, 2),), dynamic_shapes=({0: Dim("n", min=2)},)),
        io.BytesIO(),
    )
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file)
    assert loaded.range_constraints == program.range_constraints and "total: BUFFER" in str(loaded)
    assert loaded.graph_signature.buffers_to_mutate == {"new_total": "total"}
    with pytest.raises(RuntimeError, match="no FX graph"):
        _ = loaded.graph
    with pytest.raises(NotImplementedError, match="StableHLO"):
        program.run_decompositions()


@dataclasses.dataclass
class Pair:
    first: torch.Tensor
    second: torch.Tensor


class Sums(nn.Module):
    def forward(self, pair):
        return Pair(pair.first + pair.second, pair.first - pair.second)


def test_dataclasses_as_arguments():
    torch.export.register_dataclass(Pair)
    program = torch.export.export(Sums(), (Pair(torch.ones(2), torch.ones(2)),))
    result = program.module()(Pair(torch.ones(2), torch.full((2,), 3.0)))
    assert type(result) is Pair and result.first.tolist() == [4, 4] and result.second.tolist() == [-2, -2]
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert torch.export.load(file).module()(Pair(torch.ones(2), torch.ones(2))).first.tolist() == [2, 2]
    with pytest.raises(ValueError, match="Pair"):
        program.module()((torch.ones(2), torch.ones(2)))


def test_wrong_dynamic_shapes():
    with pytest.raises(torch._dynamo.exc.UserError, match="'z'"):
        torch.export.export(Counting(), (torch.ones(3, 2),), dynamic_shapes={"z": {0: Dim("b")}})


class Pairs(nn.Module):
    def forward(self, x, y):
        return x[: y.shape[0]] + y, x.flatten()


def test_derived_sizes():
    n = Dim("n", min=2)
    x, y = torch.ones(9, 3), torch.ones(4, 3)
    program = torch.export.export(Pairs(), (x, y), dynamic_shapes=({0: 2 * n + 1}, {0: n}))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    x, y = torch.randn(13, 3), torch.randn(6, 3)
    for module in (program.module(), torch.export.load(file).module()):
        for a, b in zip(module(x, y), Pairs()(x, y), strict=True):
            torch.testing.assert_close(a, b)
        with pytest.raises(AssertionError, match=r"2\*n \+ 1"):
            module(torch.ones(12, 3), torch.ones(6, 3))
    torch.testing.assert_close(program.graph_module(x, y)[0], Pairs()(x, y)[0])
    assert "f32[2*n + 1, 3]" in str(program)
    only = torch.export.export(Counting(), (torch.ones(6, 2),), dynamic_shapes=({0: n * 3},))
    assert only.module()(torch.ones(9, 2)).tolist() == [[-8, -8]] * 9
    with pytest.raises(torch._dynamo.exc.UserError, match="of no size"):
        torch.export.export(Counting(), (torch.ones(5, 2),), dynamic_shapes=({0: n * 3},))


def test_shapes_by_tensor():
    x, shapes = torch.ones(3, 2), torch.export.ShapesCollection()
    shapes[x] = {0: Dim("rows")}
    program = torch.export.export(Counting(), (x,), dynamic_shapes=shapes)
    assert program.module()(torch.ones(7, 2)).shape == (7, 2) and len(shapes) == 1


def test_writes_through_views_are_in_the_graph():
    def f(x):
        y = x.clone()
        y[1:, ::2] = 0.0
        y[0] += 1
        return y

    class Writes(nn.Module):
        def forward(self, x):
            return f(x)

    x = torch.randn(3, 4)
    program = torch.export.export(Writes(), (x,))
    (result,) = program.graph_module(x)
    assert "slices_put" in program.graph_module.code and torch.equal(result, f(x))
