"""``torch.jit``: scripted and traced functions and modules, their files, and the names TorchScript programs use."""

import copy
import io
import pickle
import warnings
from typing import Dict, List, Optional, Tuple  # noqa: UP035 (what TorchScript programs write)

import pytest

import jtorch as torch
from jtorch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.k = nn.Linear(4, 3), 2.0

    def forward(self, x):
        return torch.relu(self.fc(x)) * self.k

    @torch.jit.export
    def gain(self):
        return self.k

    @torch.jit.ignore
    def helper(self):
        return "python"

    @torch.jit.unused
    def other(self):
        return 1


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def test_scripted_module_is_the_module_under_another_class(net):
    scripted = torch.jit.script(net)
    x = torch.randn(5, 4)
    for _ in range(4):
        assert torch.equal(scripted(x), net(x))
    assert scripted._compiled.captures == 1
    assert isinstance(scripted, torch.jit.ScriptModule) and isinstance(scripted, Net)
    assert scripted.original_name == "Net" and torch.jit.script(scripted) is scripted
    assert list(scripted.state_dict()) == ["fc.weight", "fc.bias"]
    assert scripted.gain() == 2.0 and scripted.helper() == "python" and scripted.other() == 1
    scripted.k = 5.0
    assert torch.equal(scripted(x), net(x)) and net.k == 5.0
    scripted.eval()
    assert not net.training
    with pytest.raises(AttributeError, match="TorchScript"):
        scripted.graph  # noqa: B018


def test_scripted_and_traced_modules_are_printed_as_pytorchs():
    theirs = pytest.importorskip("torch")

    def printed(torch):
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Sequential(torch.nn.ReLU()))
        made = torch.jit.script(model), torch.jit.trace(model, torch.ones(1, 2))
        return [(repr(m), type(m).__name__, m.original_name) for m in made]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert printed(torch) == printed(theirs)


def test_copies_and_pickles_stand_alone(net):
    scripted = torch.jit.script(net)
    x = torch.randn(2, 4)
    for new in (copy.deepcopy(scripted), pickle.loads(pickle.dumps(scripted))):
        assert isinstance(new, torch.jit.ScriptModule) and torch.equal(new(x), net(x))
        with torch.no_grad():
            new.fc.weight.zero_()
        assert not torch.equal(new(x), net(x))


def test_scripted_child_and_training(net):
    parent = nn.Sequential(torch.jit.script(net), nn.Linear(3, 1))
    assert list(parent.state_dict())[:2] == ["0.fc.weight", "0.fc.bias"]
    parent.load_state_dict(parent.state_dict())
    optimizer = torch.optim.SGD(parent.parameters(), lr=0.1)
    x, losses = torch.randn(8, 4), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (parent(x) - 1).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_script_of_functions_and_classes():
    @torch.jit.script
    def double_if(x, flag: bool, names: Optional[List[str]] = None):  # noqa: UP006, UP045
        return x * 2 if flag else x - len(names or [])

    x = torch.ones(2)
    for _ in range(4):
        assert double_if(x, True).tolist() == [2, 2]
        assert double_if(x, False, ["a"]).tolist() == [0, 0]
    assert isinstance(double_if, torch.jit.ScriptFunction) and double_if.captures == 2

    class Plain:
        pass

    assert torch.jit.script(Plain) is Plain
    with pytest.raises(RuntimeError, match="expects a function"):
        torch.jit.script(3)


def test_trace_runs_once_and_follows_control_flow():
    calls = []

    def f(x, scale):
        calls.append(torch.jit.is_tracing())
        return x * scale if x.shape[0] > 2 else x

    traced = torch.jit.trace(f, (torch.ones(3), torch.tensor(2.0)))
    assert calls == [True] and not torch.jit.is_tracing()
    assert traced(torch.ones(4), torch.tensor(3.0)).tolist() == [3] * 4
    assert traced(torch.ones(2), torch.tensor(3.0)).tolist() == [1, 1]  # not frozen
    kwargs = torch.jit.trace(f, example_kwarg_inputs={"x": torch.ones(3), "scale": torch.tensor(1.0)})
    assert kwargs(torch.ones(3), torch.tensor(4.0)).tolist() == [4] * 3
    with pytest.raises(RuntimeError, match="either"):
        torch.jit.trace(f)


def test_trace_warns_where_a_value_is_read():
    def f(x):
        return x if x.sum() > 0 else -x

    with pytest.warns(torch.jit.TracerWarning, match=r"bool\(\).*test_jit.py"):
        traced = torch.jit.trace(f, torch.ones(2))
    assert traced(torch.full((2,), -3.0)).tolist() == [3, 3]
    with pytest.raises(RuntimeError, match=r"bool\(\)"):
        traced.save(io.BytesIO())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.jit.trace(f, torch.ones(2), check_trace=False)


@pytest.mark.parametrize("kind", ["script", "trace"])
def test_save_and_load(net, kind, tmp_path):
    x = torch.randn(5, 4)
    module = torch.jit.trace(net.eval(), x) if kind == "trace" else torch.jit.script(net.eval())
    if kind == "script":
        with pytest.raises(RuntimeError, match="call the module once"):
            module.save(tmp_path / "m.pt")
        module(x)
    torch.jit.save(module, tmp_path / "m.pt", _extra_files={"note": "hello"})
    extra = {"note": ""}
    loaded = torch.jit.load(tmp_path / "m.pt", map_location="cpu", _extra_files=extra)
    assert isinstance(loaded, torch.jit.ScriptModule) and extra["note"] == b"hello"
    for n in (1, 5, 7):  # the first dimension was left open
        y = torch.randn(n, 4)
        assert torch.allclose(loaded(y), net(y), atol=1e-6)
    assert list(loaded.state_dict()) == list(net.state_dict())
    with torch.no_grad():
        loaded.fc.weight.zero_()
    again = io.BytesIO()
    loaded.save(again)
    again.seek(0)
    assert torch.jit.load(again).fc.weight.abs().sum().item() == 0
    assert copy.deepcopy(loaded)(x).shape == (5, 3)


def test_sizes_that_must_be_fixed_are():
    f = torch.jit.trace(lambda x: x.reshape(2, 6), torch.arange(12.0))
    stream = io.BytesIO()
    f.save(stream)
    stream.seek(0)
    loaded = torch.jit.load(stream)
    assert loaded(torch.ones(12)).shape == (2, 6)
    with pytest.raises(RuntimeError, match=r"\[12\], got \[24\]"):
        loaded(torch.ones(24))


def test_a_torchscript_archive_is_named():
    torch_archive = io.BytesIO()
    import zipfile

    with zipfile.ZipFile(torch_archive, "w") as archive:
        archive.writestr("m/constants.pkl", b"")
        archive.writestr("m/code/__torch__.py", b"")
    torch_archive.seek(0)
    with pytest.raises(RuntimeError, match="TorchScript archive"):
        torch.jit.load(torch_archive)


def test_freeze(net):
    traced = torch.jit.trace(net, torch.ones(1, 4))
    with pytest.raises(RuntimeError, match="eval mode"):
        torch.jit.freeze(traced)
    with pytest.raises(RuntimeError, match="ScriptModule"):
        torch.jit.freeze(net)
    frozen = torch.jit.freeze(traced.eval())
    x = torch.randn(2, 4)
    want = net(x).detach()
    with torch.no_grad():
        net.fc.weight.zero_()
    assert torch.equal(frozen(x), want) and not frozen(x).requires_grad


def test_names_of_the_language():
    assert not torch.jit.is_scripting()
    assert torch.jit.annotate(List[int], []) == []  # noqa: UP006
    assert torch.jit.isinstance([1, 2], List[int]) and not torch.jit.isinstance(["a"], List[int])  # noqa: UP006
    assert torch.jit.isinstance({"a": 1}, Dict[str, int]) and torch.jit.isinstance((1, "a"), Tuple[int, str])  # noqa: UP006
    assert torch.jit.isinstance(None, Optional[int]) and not torch.jit.isinstance(1.0, Optional[int])  # noqa: UP045
    assert torch.jit.wait(torch.jit.fork(lambda a, b: a + b, 1, b=2)) == 3

    @torch.jit.ignore(drop=True)
    def dropped():
        return 4

    assert dropped() == 4

    class Old(torch.jit.ScriptModule):
        __constants__ = ["n"]

        def __init__(self):
            super().__init__()
            self.n = torch.jit.Attribute(3, int)

        @torch.jit.script_method
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.n

    assert Old()(torch.ones(1)).item() == 4
    assert torch.jit.Final[int] is not None


def test_functions_from_text():
    unit = torch.jit.CompilationUnit("""
        def helper(x: Tensor, n: int = 2) -> Tensor:
            return x * n

        def chooses(x: Tensor, words: Optional[List[str]] = None) -> Tensor:
            if bool(x.sum() > 0):
                return torch.relu(helper(x))
            return x - 1
    """)
    assert isinstance(unit.helper, torch.jit.ScriptFunction)
    for _ in range(4):
        assert unit.chooses(torch.ones(2)).tolist() == [2, 2] and unit.chooses(-torch.ones(2)).tolist() == [-2, -2]
    assert unit.define("def late(x): return x + 1") is unit and unit.late(torch.ones(1)).item() == 2
    with pytest.raises(AttributeError, match="nothing"):
        _ = unit.nothing

    class Old(torch.jit.ScriptModule):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.full((2,), 3.0))
            self.define("""
            def forward(self, x):
                return self.scaled(x) + 1
            def scaled(self, x):
                return x * self.weight
            """)

    assert Old()(torch.ones(2)).tolist() == [4, 4]


def test_traces_take_named_example_inputs(net):
    x = torch.ones(2, 4)
    traced = torch.jit.trace_module(net, {"forward": {"x": x}}, example_inputs_is_kwarg=True)
    assert torch.equal(traced(x), net(x)) and torch.equal(traced(x=x), net(x))


def test_programs_in_memory(net):
    x = torch.ones(2, 4)
    loaded = torch.jit.load(io.BytesIO(torch.jit.trace(net, x).save_to_buffer()))
    assert torch.allclose(loaded(x), net(x))
    again = copy.copy(loaded)
    assert again is not loaded and again.fc.weight is loaded.fc.weight and torch.equal(again(x), loaded(x))
    function = torch.jit.trace(lambda x: x * 2, x)
    assert torch.equal(torch.jit.load(io.BytesIO(function.save_to_buffer()))(x), x * 2)
    wanted = torch.ones(2, 4, requires_grad=True)
    torch.jit.load(io.BytesIO(torch.jit.trace(lambda x: x * x, wanted).save_to_buffer()))(wanted).sum().backward()
    assert torch.equal(wanted.grad, 2 * x)


def test_instances_and_switches():
    class Plain:
        pass

    one = Plain()
    assert torch.jit.script(one) is one
    assert torch.jit._unwrap_optional(one) is one
    with pytest.raises(AssertionError, match="null optional"):
        torch.jit._unwrap_optional(None)
    assert not torch.jit.onednn_fusion_enabled()
    torch.jit.enable_onednn_fusion(True)
    assert torch.jit.onednn_fusion_enabled()
    torch.jit.enable_onednn_fusion(False)


def messages(torch, tmp_path):
    """What goes wrong, and how, in the same words up to the first colon."""
    x = torch.ones(1, 2)
    calls = (
        lambda: torch.jit.trace(lambda x: {"a": x}, x),
        lambda: torch.jit.freeze(torch.jit.script(torch.nn.Linear(2, 2).eval()), preserved_attrs=["nope"]),
        lambda: torch.jit.load(str(tmp_path / "nothing.pt")),
        lambda: torch.jit.load(str(tmp_path)),
    )
    found = []
    for call in calls:
        with pytest.raises(Exception) as caught:  # noqa: B017 (which, is compared)
            call()
        found.append((type(caught.value).__name__, str(caught.value).partition(":")[0][:60]))
    return found


def test_errors_are_those_of_pytorch(tmp_path):
    reference = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert messages(torch, tmp_path) == messages(reference, tmp_path)


def test_containers_as_results_of_traces():
    traced = torch.jit.trace(lambda x: {"a": x + 1}, torch.ones(2), strict=False)
    assert traced(torch.zeros(2))["a"].tolist() == [1, 1]
    pair = torch.jit.trace(lambda x: (x, [x]), torch.ones(2))
    assert pair(torch.zeros(2))[1][0].tolist() == [0, 0]


def test_files_know_what_they_were_made_from():
    file, extra = io.BytesIO(), {"note": "", "missing": ""}
    torch.jit.save(torch.jit.trace(nn.Sequential(nn.Linear(2, 2)), torch.ones(1, 2)), file, {"note": "hello"})
    file.seek(0)
    loaded = torch.jit.load(file, _extra_files=extra)
    assert loaded.original_name == "Sequential" and extra == {"note": b"hello", "missing": b""}


def test_settings_of_fusers():
    before = torch.jit.set_fusion_strategy([("STATIC", 3)])
    assert before == [("STATIC", 2), ("DYNAMIC", 10)] and torch.jit.set_fusion_strategy(before) == [("STATIC", 3)]
    with torch.jit.strict_fusion(), torch.jit.fuser("fuser1"):
        frozen = torch.jit.freeze(torch.jit.script(Net().eval()), preserved_attrs=["gain"])
    assert torch.jit.run_frozen_optimizations(frozen) is None and frozen.gain() == 2.0
    assert torch.jit.script(lambda x: x).qualified_name.startswith("__torch__.")
