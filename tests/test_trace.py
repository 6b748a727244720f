"""The trace: what is compiled, when, how often, and what happens when it fails."""

from __future__ import annotations

import gc
import threading

import chex
import jax
import numpy as np
import pytest

import jtorch
from jtorch import debug
from jtorch.functions.arrays import _functions
from jtorch.tensor.dispatch import call, concrete_zeros, rebind
from jtorch.trace import executor, explain, recorder
from jtorch.trace.recorder import step_boundary

# what is tested is how programs are compiled
pytestmark = pytest.mark.usefixtures("compiled_at_once")


@pytest.fixture(autouse=True)
def clean():
    jtorch.sync()
    yield
    jtorch.sync()


def compiles() -> int:
    return executor.counters.compiles


class Loop:
    """The usual training loop on a small network, by hand."""

    def __init__(self, seed=0, width=8):
        jtorch.manual_seed(seed)
        self.w = [jtorch.randn(width, width).requires_grad_() for _ in range(3)]
        self.m = [concrete_zeros(w.shape, w.dtype, "cpu") for w in self.w]
        self.v = [concrete_zeros(w.shape, w.dtype, "cpu") for w in self.w]
        self.t = concrete_zeros((), jtorch.float32, "cpu")
        self.width = width

    def forward(self, x):
        for w in self.w:
            x = (x @ w).tanh()
        return x.square().mean()

    def step(self, batch=4, lr=1e-3, micro=1):
        for w in self.w:
            w.grad = None
        for _ in range(micro):
            loss = self.forward(jtorch.ones(batch, self.width))
            loss.backward()
        self.update(lr)
        return loss

    def update(self, lr):
        with jtorch.no_grad():
            out = call(
                "_adam_step", self.w, [w.grad for w in self.w], self.m, self.v, (), self.t, lr, 0.9, 0.999, 1e-8, 0.0
            )
        for target, new in zip(self.w + self.m + self.v + [self.t], out, strict=True):
            rebind(target, new)
        step_boundary()


def test_usual_loop_compiles_once():
    loop = Loop()
    before = compiles()
    for _ in range(20):
        loss = loop.step()
        loss.item()
    assert compiles() - before == 1


def test_ragged_last_batch_adds_one():
    loop = Loop(width=9)
    before = compiles()
    for _ in range(3):
        for batch in (4, 4, 4, 3):
            loop.step(batch)
    assert compiles() - before == 2


def test_learning_rate_never_recompiles():
    loop = Loop(width=10)
    before = compiles()
    for i in range(10):
        loop.step(lr=0.1 / (i + 1))
    assert compiles() - before == 1


def test_varying_number_adds_one_compile():
    x = jtorch.ones(5)
    before = compiles()
    for i in range(6):
        (x * (i + 0.5)).sum().item()
    assert compiles() - before == 2  # as a constant, then as an operand


def test_zero_and_negative_zero_differ():
    x = jtorch.ones(2)
    assert np.signbit((x * 0.0).numpy()).tolist() == [False, False]
    assert np.signbit((x * -0.0).numpy()).tolist() == [True, True]


def test_varying_slice_start_does_not_recompile_each_time():
    data = jtorch.from_numpy(np.arange(100.0, dtype=np.float32))
    before = compiles()
    total = [data[i : i + 10].sum().item() for i in range(0, 90, 10)]
    assert compiles() - before == 2
    assert total == [float(sum(range(i, i + 10))) for i in range(0, 90, 10)]


def test_accumulation_over_varying_micro_batches_does_not_recompile():
    loop = Loop(width=11)
    for micro in (1, 2, 3):
        loop.step(micro=micro)
    before = compiles()
    for micro in (4, 2, 6, 3):
        loop.step(micro=micro)
    assert compiles() == before


def test_accumulated_gradients_are_right():
    loop = Loop(width=6)
    (single,) = jtorch.autograd.grad(loop.forward(jtorch.ones(4, 6)), loop.w[0])
    for w in loop.w:
        w.grad = None
    for _ in range(3):
        loop.forward(jtorch.ones(4, 6)).backward()
    np.testing.assert_allclose(loop.w[0].grad.numpy(), 3 * single.numpy(), rtol=1e-6)


def test_parameters_and_state_are_donated():
    loop = Loop(width=12)
    for _ in range(2):
        loop.step()
    view = debug.last_trace()
    assert view.donated() == 10  # three weights, two moments each, the step count
    memory = view.memory()
    assert memory.alias_size_in_bytes >= 9 * 12 * 12 * 4


def test_memory_is_flat():
    loop = Loop(width=13)
    for _ in range(5):
        loop.step()
    jtorch.sync()
    gc.collect()
    before = len(jax.live_arrays())
    for _ in range(200):
        loop.step()
    jtorch.sync()
    gc.collect()
    assert len(jax.live_arrays()) <= before + 2


def test_values_kept_across_flush_are_not_recomputed():
    x = jtorch.ones(3, requires_grad=True)
    y = x.exp()
    z = y.sin().sum()
    z.item()  # a flush between forward and backward
    z.backward()
    names = [c.split(" = ")[1].split("(")[0] for c in debug_calls(lambda: x.grad.numpy())]
    assert "exp" not in names and "sin" not in names
    np.testing.assert_allclose(x.grad.numpy(), np.cos(np.e) * np.e * np.ones(3), rtol=1e-6)


def debug_calls(run):
    run()
    return debug.last_trace().calls


def test_only_held_values_are_outputs():
    a = jtorch.ones(3)
    b = a * 2
    c = b + 1
    del b
    c.numpy()
    entry = debug.last_trace()._entry
    assert len(entry.program.outputs) == 1


def test_repeated_calls_are_traced_by_jax_once():
    """24 equal layers: JAX traces the op's body once for its shape and once for its program."""
    key = len(_functions)
    _functions[key] = chex.assert_max_traces(lambda x, w: x @ w, n=2)
    w, x = jtorch.ones(4, 4), jtorch.ones(4, 4)
    for _ in range(24):
        x = call("_jax_function", (x, w), key=key)
    assert debug_text(x).count("func.func private @_jax_function") == 1


def debug_text(x):
    x.numpy()
    return debug.last_trace().stablehlo()


def test_long_trace_is_cut(monkeypatch):
    monkeypatch.setattr(jtorch.config, "max_trace", 50)
    x = jtorch.ones(2)
    flushes = executor.counters.flushes
    for _ in range(120):
        x = x + 1
    assert executor.counters.flushes - flushes == 2
    assert x.tolist() == [121.0, 121.0]


def test_executable_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(jtorch.config, "max_executables", 3)
    for n in range(1, 7):
        jtorch.ones(n).exp().numpy()
    assert len(executor._entries) <= 3


def test_x64_flag_is_untouched():
    a = jtorch.arange(3)
    (a * 2).numpy()
    assert a.dtype is jtorch.int64
    assert not jax.config.jax_enable_x64
    assert jax.numpy.arange(3).dtype == np.int32


def test_index_out_of_range_is_raised_with_the_line():
    table = jtorch.arange(5.0)
    index = jtorch.tensor([1, 7])
    picked = table[index]
    with pytest.raises(IndexError, match=r"out of bounds.*test_trace.py"):
        picked.numpy()
    with pytest.raises(IndexError):
        picked.numpy()  # again
    assert (table + 1).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]  # the next trace starts clean


def test_failed_check_keeps_the_last_good_parameters():
    loop = Loop(width=5)
    loop.step()
    good = [w.detach().numpy() for w in loop.w]
    index = jtorch.tensor([0, 99])
    for w in loop.w:
        w.grad = None
    loss = loop.forward(loop.w[0].detach()[index])
    loss.backward()
    with pytest.raises(IndexError):
        loop.update(1e-3)
        loss.item()
    for w, before in zip(loop.w, good, strict=True):
        np.testing.assert_array_equal(w.detach().numpy(), before)


def test_failed_flush_fails_its_values_and_nothing_else(monkeypatch):
    x = jtorch.ones(3)
    y = x.clone()
    y.numpy()
    kept = x * 2
    y.add_(kept)
    monkeypatch.setattr(executor.Entry, "compile", lambda *_: (_ for _ in ()).throw(RuntimeError("RESOURCE_EXHAUSTED")))
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        kept.numpy()
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        kept.numpy()
    monkeypatch.undo()
    assert y.tolist() == [1.0, 1.0, 1.0]  # its last good value
    assert (x + 1).tolist() == [2.0, 2.0, 2.0]


def test_logs_name_the_cause_and_the_difference(capsys, monkeypatch):
    monkeypatch.setattr(jtorch.config, "logs", {"flushes", "recompiles"})
    (jtorch.ones(3) * 3).tanh().numpy()
    (jtorch.ones(4) * 3).tanh().numpy()
    err = capsys.readouterr().err
    assert "numpy()" in err and "test_trace.py" in err
    assert "f32[4], was f32[3]" in err


def test_eight_threads_train_as_one_after_another():
    def train(seed, results):
        loop = Loop(seed=seed, width=7)
        for _ in range(5):
            loss = loop.step()
        results[seed] = loss.item()

    executor.clear()  # a line that has met many programs compiles the next ones anew after some runs
    # the generator is the process's: weights are drawn before the threads start
    loops = [Loop(seed=s, width=7) for s in range(8)]
    alone = []
    for s in range(8):
        reference = Loop(seed=s, width=7)
        for _ in range(5):
            loss = reference.step()
        alone.append(loss.item())
    together = [None] * 8

    def work(s):
        for _ in range(5):
            loss = loops[s].step()
        together[s] = loss.item()

    threads = [threading.Thread(target=work, args=(s,)) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert together == alone


def test_bad_index_is_the_error_of_its_own_thread_and_of_what_it_made():
    def other(box):
        table = jtorch.zeros(3, 2)
        box.append(table[jtorch.tensor([1, 7])].sum())
        recorder.flush_all("test")  # runs; the word of flags is not read yet

    box = []
    thread = threading.Thread(target=other, args=(box,))
    mine = jtorch.arange(4.0)[jtorch.tensor([2, 3])] * 2
    recorder.flush_all("test")
    thread.start()
    thread.join()
    assert mine.tolist() == [4.0, 6.0]
    assert (mine + 1).tolist() == [5.0, 7.0]
    with pytest.raises(IndexError, match="out of range|out of bounds"):
        (box[0] + 1).item()
    with pytest.raises(IndexError, match="out of range|out of bounds"):
        box[0].item()
    assert (mine + 2).tolist() == [6.0, 8.0]


def test_value_pending_on_another_thread_is_flushed():
    box = []
    thread = threading.Thread(target=lambda: box.append(jtorch.ones(3) * 2 + 1))
    thread.start()
    thread.join()
    assert (box[0] + 1).tolist() == [4.0, 4.0, 4.0]


def test_programs_lower_for_other_platforms():
    from jtorch.trace import explain
    from jtorch.trace.jaxapi import export_program

    loop = Loop(width=6)
    loop.step()
    exported = export_program(explain.last(), ("cuda", "tpu"))
    assert exported.platforms == ("cuda", "tpu")


def test_sync_waits_and_settles_checks():
    picked = jtorch.arange(3.0)[jtorch.tensor([5])]
    with pytest.raises(IndexError):
        jtorch.sync()
    with pytest.raises(IndexError):
        picked.numpy()


def test_sync_waits_for_what_is_held_and_what_is_not():
    """An output is enough to wait for; where none is left, a program of its own goes through the queue."""
    from jtorch.trace import executor

    x = jtorch.randn(300, 300)
    held = [x @ x for _ in range(3)]
    jtorch.sync()
    assert all(h._value().array.is_ready() for h in held) and not executor._started
    held[0] += x @ x
    y = held[0] @ x
    jtorch.sync()
    assert y._value().array.is_ready() and held[0]._value().array.is_ready()
    for n in range(70):  # more programs than are remembered, and nobody holds the results of some
        y = x @ x if n % 2 else (x @ x).sum().item()
    jtorch.sync()
    assert y._value().array.is_ready() and not executor._started
    jtorch.sync()


@pytest.mark.slow
def test_resident_memory_is_flat_over_2000_steps():
    import resource

    loop = Loop(width=64)
    for _ in range(200):
        loop.step()
    jtorch.sync()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(2000):
        loss = loop.step(lr=1e-4 * (1 + i % 7))
    assert np.isfinite(loss.item())
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 8, f"peak resident memory grew by {grown:.1f} MiB"


@pytest.mark.parametrize("begin", ["train", "loader", "zero_grad"])
def test_what_is_recorded_before_a_loop_is_a_program_of_its_own(begin, compiled_at_once):
    """A schedule made between optimizer and loop would make the first step another program than the others."""
    model = jtorch.nn.Linear(4, 3)
    optimizer = jtorch.optim.SGD(model.parameters(), lr=0.1)
    weights = jtorch.linspace(0.1, 1, 5).cumprod(0)
    data = [(np.ones(4, np.float32), i % 5) for i in range(6)]
    if begin != "loader":
        if begin == "train":
            model.train()
        batches = [(jtorch.from_numpy(np.ones((2, 4), np.float32)), jtorch.tensor([i, i + 1])) for i in range(3)]
    else:
        batches = jtorch.utils.data.DataLoader(data, batch_size=2)
    seen = []
    for x, t in batches:
        optimizer.zero_grad()
        (model(x).sum(1) * weights[t]).sum().backward()
        optimizer.step()
        seen.append(explain.last())
    assert len({id(entry) for entry in seen}) == 1, [len(entry.program.steps) for entry in seen]


def test_training_mode_set_in_a_captured_function_ends_nothing():
    model = jtorch.nn.Linear(4, 3)

    @jtorch.compile(fullgraph=True)
    def f(x):
        y = x * 2
        model.train()
        return model(y)

    x = jtorch.ones(2, 4)
    for _ in range(4):
        found = f(x)
    assert f.captures == 1, f.latest
    np.testing.assert_array_equal(found.detach().numpy(), model(x * 2).detach().numpy())
