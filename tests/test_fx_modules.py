"""``torch.fx``: graph modules are modules of jtorch, and how functions notice Proxies."""

from __future__ import annotations

import copy
import importlib
import io
import pickle
import subprocess
import sys
import threading
import warnings

import pytest

import jtorch

# --- jtorch's own


class Small(jtorch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = jtorch.nn.Linear(2, 3), jtorch.nn.BatchNorm1d(3)
        self.register_buffer("hidden", jtorch.ones(3), persistent=False)

    def forward(self, x, y=2.0):
        return jtorch.nn.functional.relu(self.norm(self.linear(x))) * y + self.hidden


def test_a_graph_module_is_a_module():
    fx = importlib.import_module("jtorch.fx")
    jtorch.manual_seed(0)
    model, x = Small(), jtorch.randn(8, 2)
    gm = fx.symbolic_trace(model)
    assert list(gm.state_dict()) == list(model.state_dict()) or set(gm.state_dict()) == set(model.state_dict())
    assert gm.linear.weight is model.linear.weight
    optimizer = jtorch.optim.SGD(gm.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = gm(x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    gm.eval(), model.eval()
    expected = model(x, 3.0)
    compiled = jtorch.compile(gm)
    stored = io.BytesIO()
    jtorch.save(gm, stored)
    stored.seek(0)
    for other in (gm, copy.deepcopy(gm), copy.copy(gm), pickle.loads(pickle.dumps(gm)), compiled, compiled,
                  jtorch.load(stored, weights_only=False)):  # fmt: skip
        jtorch.testing.assert_close(other(x, 3.0), expected)
    copied = copy.deepcopy(gm)
    assert copied.code == gm.code and type(copied).__name__ == "Small" and copied.graph is not gm.graph
    assert pickle.loads(pickle.dumps(gm)).code == gm.code
    with jtorch.no_grad():
        copied.linear.weight.zero_()
    assert gm.linear.weight.count_nonzero() > 0  # the copy's own weights were zeroed


def test_functions_listen_only_while_proxies_live():
    fx = importlib.import_module("jtorch.fx")
    before = jtorch.relu.__code__, jtorch.split.__code__, jtorch.Tensor.__add__.__code__
    proxy = fx.Proxy(fx.Graph().placeholder("x"))
    assert jtorch.relu.__code__ is not before[0]
    x = jtorch.arange(4.0)
    assert jtorch.relu(x - 1).tolist() == [0.0, 0.0, 1.0, 2.0] and [t.tolist() for t in jtorch.split(x, 2)][1] == [2, 3]
    assert jtorch.relu(proxy).node.target is jtorch.relu
    del proxy
    assert (jtorch.relu.__code__, jtorch.split.__code__, jtorch.Tensor.__add__.__code__) == before
    fx.symbolic_trace(Small())
    with pytest.raises(fx.proxy.TraceError):
        fx.symbolic_trace(lambda x: jtorch.relu(x) if x else x)
    assert jtorch.nn.Module.__call__.__qualname__ == "Module.__call__"
    assert jtorch.relu.__code__ is before[0]


def test_threads_trace_at_once():
    fx = importlib.import_module("jtorch.fx")
    before, errors = jtorch.relu.__code__, []

    def work():
        try:
            for _ in range(30):
                proxy = fx.Proxy(fx.Graph().placeholder("x"))
                assert jtorch.relu(proxy).node.target is jtorch.relu
                assert jtorch.relu(jtorch.ones(2)).tolist() == [1.0, 1.0]
                del proxy
        except Exception as error:  # shown below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and jtorch.relu.__code__ is before


def test_functions_imported_before():
    place: dict = {}
    source = (
        "from jtorch.nn.functional import dropout, relu; from jtorch import split; from jtorch.fx import symbolic_trace"
    )
    exec(f"{source}\ngm = symbolic_trace(lambda x: dropout(relu(split(x, 1)[0]), 0.1))", place)
    assert [n.target.__name__ for n in place["gm"].graph.nodes if n.op == "call_function"] == [
        "split", "getitem", "relu", "dropout"
    ]  # fmt: skip


def test_with_functions_that_ask():
    """Once a class has __torch_function__, public functions are replaced by ones that ask."""
    fx = importlib.import_module("jtorch.fx")
    held = jtorch.split

    class Mine(jtorch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return super().__torch_function__(func, types, args, kwargs or {})

    def make(split):
        return lambda x: split(x, 2)[0] + 1

    for split in (held, jtorch.split):
        gm = fx.symbolic_trace(make(split))
        assert "torch.functional.split(x, 2, dim = 0)" in gm.code
        assert gm(jtorch.arange(4.0)).tolist() == [1.0, 2.0]


def test_what_is_refused():
    fx = importlib.import_module("jtorch.fx")
    gm = fx.symbolic_trace(lambda x: x + 1)
    with pytest.raises(NotImplementedError, match="torch.save"):
        gm.to_folder("nowhere")
    with pytest.raises(NotImplementedError, match="no symbolic sizes"):
        importlib.import_module("jtorch.fx.experimental.symbolic_shapes").ShapeEnv()
    with pytest.warns(UserWarning, match="cannot check"):
        fx.symbolic_trace(lambda x, f: f(x), {"f": jtorch.relu})
    with pytest.raises(NotImplementedError, match="keyword-only"):
        fx.symbolic_trace(lambda x, *, d: x + d[0], {"d": [fx.PH]})


def test_under_the_name_torch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import torch, torch.fx\nfrom torch.fx import symbolic_trace, Interpreter\n"
        "from torch.fx.passes.shape_prop import ShapeProp\nfrom torch.fx.node import map_arg, Argument, Target\n"
        "gm = symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))\n"
        "print(gm.code, Interpreter(gm).run(torch.ones(1, 2)).shape, torch.fx.Node is type(gm.graph.output_node()))\n"
    )
    done = subprocess.run([sys.executable, "-m", "jtorch", str(script)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert 'getattr(self, "1")(_0)' in done.stdout and "torch.Size([1, 2]) True" in done.stdout


def test_nothing_is_warned_about_unknown_modules():
    fx = importlib.import_module("jtorch.fx")
    gm = fx.symbolic_trace(lambda x: x)
    with pytest.raises(AttributeError, match="nothing"):
        gm.graph.call_module("nothing")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gm.graph.get_attr("nothing")
    assert "no underlying reference" in str(said[0].message)
