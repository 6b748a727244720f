"""Programs kept for later processes: the same results without tracing, and nothing from another version."""

import json
import os
import stat
import subprocess
import sys
import textwrap

import pytest

import jtorch
from jtorch import config
from jtorch.ops.registry import OPS
from jtorch.trace import jaxapi, kept

PROGRAM = """
import json, sys
import jtorch
from jtorch import nn
from jtorch.nn import functional as F
from jtorch.trace import executable, kept

traced = []
lower_program, keep_fact = executable.lower_program, kept.keep_fact
executable.lower_program = lambda *args: traced.append("program") or lower_program(*args)
kept.keep_fact = lambda name, fact: kept.fact(name) is None and traced.append("call") or keep_fact(name, fact)

class Cube(jtorch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g

jtorch.manual_seed(0)
jtorch.use_deterministic_algorithms(True)  # so small a step would be run by NumPy
layers = nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 10)
model = nn.Sequential(nn.Embedding(10, 8), *layers)
optimizer = jtorch.optim.AdamW(model.parameters(), lr=0.01)
tokens, found = jtorch.arange(10), []
for step in range(3):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(tokens), tokens) * (1 + step)
    loss.backward()
    optimizer.step()
    found.append(loss.item())
x = jtorch.linspace(0.5, 2, 6, requires_grad=True)
(g,) = jtorch.autograd.grad((x.tanh() * x.pow(3) / Cube.apply(x)).sum(), x, create_graph=True)
(h,) = jtorch.autograd.grad(g.sum(), x)
found.append(jtorch.linalg.eigvals(jtorch.eye(40) + jtorch.ones(40, 40)).real.sum().item())
found += g.tolist() + h.tolist() + x.detach().cummax(0).values.tolist()
try:
    model[0](tokens + 1).sum().item()
except IndexError as error:
    found.append(str(error).split(" (in")[0])
print(json.dumps([found, traced.count("program"), traced.count("call")]))
"""


def run(cache, program=PROGRAM, **env):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "JTORCH_CACHE_DIR": str(cache), "JTORCH_KEEP_PROGRAMS": "1", **env},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_process_traces_nothing(tmp_path):
    cache = tmp_path / "cache"
    found, programs, calls = run(cache)
    assert programs >= 3 and calls > 40
    again, programs, calls = run(cache)
    assert again == found
    # programs that compile at once are not kept, nor is what the custom function's nodes are called with
    assert programs <= 2 and calls < 5
    (version,) = (cache / "kept").iterdir()
    for path in (cache, cache / "kept", version):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in version.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.write_bytes(path.read_bytes()[:-20])  # cut short
    assert run(cache)[0] == found


def test_programs_from_the_other_cache_are_not_kept(tmp_path):
    """XLA's CPU backend cannot serialize a program again that it has loaded: the copy lacks its functions."""
    found = run(tmp_path / "cache", JTORCH_KEEP_PROGRAMS="0")[0]
    for _ in range(3):
        assert run(tmp_path / "cache")[0] == found


def test_other_settings_are_other_programs(tmp_path):
    found = run(tmp_path / "cache")
    assert run(tmp_path / "cache", JTORCH_QUICK_COMPILE="1")[1] >= 3
    again = run(tmp_path / "cache", JTORCH_KEEP_PROGRAMS="0")
    assert again[0] == found[0] and again[1] >= 3


@pytest.mark.skipif(jaxapi.host_threads() < 2, reason="there is one processor only")
def test_programs_are_for_a_number_of_threads(tmp_path):
    """XLA divides loops for the processors it finds, but leaves them out of the key of a compiled program."""
    cache = tmp_path / "cache"
    assert run(cache, NPROC="1")[1] >= 3
    assert run(cache)[1] >= 3
    assert {"1-threads", f"{jaxapi.host_threads()}-threads"} <= {path.name for path in cache.iterdir()}


@pytest.fixture
def keeping(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "keep_programs", True)
    monkeypatch.setattr(config, "cache_dir", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_names_tell_calls_apart(keeping):
    op, f32 = OPS["sum.dim"] if "sum.dim" in OPS else OPS["sum"], jtorch.ones(2, 3)._value().aval
    names = [
        kept.call_name(op, statics, (key,), "cpu")
        for statics in [((0,), False, None), ((1,), False, None), ((True,), False, None), ((1.0,), False, None)]
        for key in (f32, jtorch.ones(3, 2)._value().aval, jtorch.ones(2, 3).double()._value().aval)
    ]
    assert None not in names and len(set(names)) == len(names)
    before = kept.call_name(op, (), (f32,), "cpu")
    jtorch.set_default_dtype(jtorch.float64)
    try:
        assert kept.call_name(op, (), (f32,), "cpu") != before
    finally:
        jtorch.set_default_dtype(jtorch.float32)


def test_what_is_from_elsewhere_has_no_name(keeping):
    @jtorch.library.custom_op("tests::doubled", mutates_args=())
    def doubled(x: jtorch.Tensor) -> jtorch.Tensor:
        return x * 2

    aval = jtorch.ones(2)._value().aval
    assert kept.call_name(OPS["add"], (lambda: None,), (aval,), "cpu") is None
    made = jtorch.func.vmap(lambda x: x.sin().sum())(jtorch.ones(3, 2))
    assert made.tolist() == pytest.approx([2 * 0.8414709848] * 3)
    assert doubled(jtorch.ones(2)).tolist() == [2.0, 2.0]


def test_folders_that_are_not_private_are_not_used(keeping, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert kept._folder(keeping) is None


def test_old_versions_go(keeping, monkeypatch):
    first = kept._folder(keeping)
    os.utime(first, (0, 0))
    monkeypatch.setattr(kept, "_version", lambda: "another")
    assert kept._folder(keeping).name == "another" and not first.exists()


SCRIPT = """
import json, sys, threading
import jtorch
from jtorch.trace import kept

loaded, deserialize = [], kept.deserialize
kept.deserialize = lambda *args: loaded.append(threading.current_thread().name.split("_")[0]) or deserialize(*args)
n = int(sys.argv[1])
x = jtorch.linspace(0, 1, 50 * n).view(50, n)
found = [(x @ x.T).exp().cumsum(0).sort(0).values.log().sum().item()]
y = jtorch.linspace(-1, 1, 40)
found.append((y.sort().values.cumsum(0) * y.exp().sin()).logsumexp(0).item())
print(json.dumps([found, loaded]))
"""


def test_a_script_loads_the_programs_it_began_with_last_time(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def start(argument):
        done = subprocess.run(
            [sys.executable, str(script), argument], capture_output=True, text=True, check=True, timeout=120,
            env={
                **os.environ, "JTORCH_CACHE_DIR": str(tmp_path / "cache"), "JTORCH_KEEP_PROGRAMS": "1",
                "JTORCH_INTERPRET": "0",
            },
        )  # fmt: skip
        return json.loads(done.stdout.splitlines()[-1])

    found, loaded = start("20")
    assert not loaded
    again, loaded = start("20")
    assert again == found and loaded.count("jtorch-load") >= 1 and len(loaded) >= 2
    other, loaded = start("30")  # whose first program is another one: what was loaded for nothing does no harm
    assert other[1] == found[1] and other[0] != found[0]


LARGER = """
import json
import jtorch
from jtorch.trace import host

traced = []
of_call = host._traced
host._traced = lambda *args: traced.append(1) or of_call(*args)

jtorch.manual_seed(0)
model = jtorch.nn.Sequential(*(jtorch.nn.Linear(128, 128) for _ in range(4)))
optimizer = jtorch.optim.Adam(model.parameters())
model(jtorch.randn(256, 128)).square().sum().backward()
optimizer.step()
print(json.dumps([jtorch.stack([p.sum() for p in model.parameters()]).tolist(), len(traced)]))
"""


def test_what_is_too_much_for_numpy_is_known_without_tracing(tmp_path):
    """Whether to interpret a program is decided as the first process did, by the work of its calls."""
    found, traced = run(tmp_path / "cache", LARGER)
    again, fewer = run(tmp_path / "cache", LARGER)
    assert found == again
    assert fewer < traced
