"""Replays that start their program without recording: what they must notice, and give way to."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import jtorch
from jtorch.trace import executor
from jtorch.trace.launch import Launch

pytestmark = pytest.mark.usefixtures("compiled_at_once")


@pytest.fixture
def launches(monkeypatch):
    """A list to which each replay adds whether it was started directly."""
    found, run = [], Launch.run
    monkeypatch.setattr(Launch, "run", lambda *args: found.append((made := run(*args)) is not None) or made)
    return found


class Training:
    """A small step, and the same one that is never compiled."""

    def __init__(self, compiled=True, rows=4):
        jtorch.manual_seed(0)
        self.table = jtorch.nn.Parameter(jtorch.randn(rows, 3))
        self.optimizer = jtorch.optim.Adam([self.table], lr=0.1)
        self.step = jtorch.compile(self._step) if compiled else self._step

    def _step(self, index, factor):
        self.optimizer.zero_grad()
        loss = (self.table[index] * factor).square().sum()
        loss.backward()
        self.optimizer.step()
        return loss


def both(*calls):
    """Two trainings after the same calls; ``calls``: functions of a training."""
    pair = Training(), Training(False)
    results = [[call(t) for call in calls] for t in pair]
    return pair, results


def steps(n):
    return [lambda t, i=i: t.step(jtorch.tensor([i % 4]), jtorch.full((1, 3), 1.0 + i)).item() for i in range(n)]


def same(pair):
    ours, theirs = pair
    np.testing.assert_array_equal(ours.table.detach().numpy(), theirs.table.detach().numpy())
    np.testing.assert_array_equal(ours.table.grad.numpy(), theirs.table.grad.numpy())
    for a, b in zip(ours.optimizer.state[ours.table].values(), theirs.optimizer.state[theirs.table].values(),
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert ours.table._version == theirs.table._version


def test_a_step_is_started_directly_once_its_program_is_known(launches):
    pair, (ours, theirs) = both(*steps(9))
    assert ours == theirs
    same(pair)
    assert len(launches) >= 4 and all(launches), "learnt, captured, and replayed twice before"


def test_a_buffer_that_somebody_holds_is_not_taken(launches):
    """A gradient kept from the last step, a clone, an array handed out by reference: each stays what it was."""
    pair = Training(), Training(False)
    held = []
    for t in pair:
        kept = []
        for i, call in enumerate(steps(10)):
            call(t)
            if i == 6:
                kept += [t.table.grad, t.table.detach().clone(), t.optimizer.state[t.table]["exp_avg"].clone()]
            if i == 7:
                kept.append(np.from_dlpack(t.table.detach()))
        held.append([np.asarray(x) for x in kept])
    same(pair)
    for a, b in zip(*held, strict=True):
        np.testing.assert_array_equal(a, b)
    assert launches.count(True) >= 3


def test_operands_still_to_be_computed_are_computed_in_its_program(launches):
    t, reference = Training(), Training(False)
    for x in (t, reference):
        for call in steps(5):
            call(x)
        x.loss = x.step(jtorch.tensor([1]) + 1, jtorch.ones(1, 3) * 3)  # pending
        with jtorch.no_grad():
            x.table.mul_(0.5)  # pending, and written by the next step
        x.step(jtorch.tensor([1]), jtorch.ones(1, 3))
        for call in steps(3):
            call(x)
    assert t.loss.item() == reference.loss.item()
    same((t, reference))
    assert launches[:2] == [True, False]


def test_an_index_out_of_range_is_found_and_changes_nothing(launches):
    t = Training()
    for call in steps(5):
        call(t)
    before = t.table.detach().numpy().copy()
    loss = t.step(jtorch.tensor([4]), jtorch.ones(1, 3))
    assert launches[-1]
    with pytest.raises(IndexError, match="out of bounds"):
        loss.item()
    np.testing.assert_array_equal(t.table.detach().numpy(), before)
    t.step(jtorch.tensor([1]), jtorch.ones(1, 3))
    assert (t.table.detach().numpy() != before).any()


def test_an_index_out_of_range_is_raised_without_a_read():
    t = Training()
    for call in steps(5):
        call(t)
    with pytest.raises(IndexError, match="out of bounds"):
        for i in range(200):
            t.step(jtorch.tensor([4 if i == 3 else 1]), jtorch.ones(1, 3))


def test_dropped_programs_are_found_anew(launches):
    t, reference = Training(), Training(False)
    for x in (t, reference):
        for call in steps(6):
            call(x)
        executor.clear()
        launches.append("cleared")
        for call in steps(6):
            call(x)
    same((t, reference))
    assert True in launches[launches.index("cleared") :]


def test_a_failing_program_leaves_the_error(launches, monkeypatch):
    t = Training()
    for call in steps(5):
        call(t)
    before = t.table.detach().numpy().copy()

    def fail(self, *_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(executor.executable.Executable, "__call__", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            t.step(jtorch.tensor([1]), jtorch.ones(1, 3))
    np.testing.assert_array_equal(t.table.detach().numpy(), before)
    assert np.isfinite(t.step(jtorch.tensor([1]), jtorch.ones(1, 3)).item())


def test_inference_is_started_at_once_where_its_results_are_read(launches):
    model = jtorch.nn.Sequential(jtorch.nn.Linear(3, 4), jtorch.nn.ReLU(), jtorch.nn.Linear(4, 2))
    compiled = jtorch.compile(model)
    with jtorch.no_grad():
        for i in range(8):
            x = jtorch.full((2, 3), float(i))
            np.testing.assert_array_equal(compiled(x).numpy(), model(x).numpy())
    assert launches[-1] is True


def test_inference_that_goes_on_is_one_program(launches):
    """What is computed from the results before they are read belongs to the same program."""
    model = jtorch.nn.Linear(3, 4)
    compiled = jtorch.compile(model)
    with jtorch.no_grad():
        for i in range(8):
            x = jtorch.from_numpy(np.full((2, 3), float(i), np.float32))
            assert compiled(x).argmax(-1).shape == (2,) and compiled(x).sum().item() is not None
    assert True not in launches


def test_what_the_caller_holds_is_not_donated(launches):
    """The argument is dropped before the result is read at first, so that its buffer is taken; later it is kept."""

    @jtorch.compile
    def f(x):
        return x * 2

    with jtorch.no_grad():
        for i in range(6):
            x = jtorch.from_numpy(np.full((64, 64), float(i), np.float32))
            y = f(x)
            del x
            assert y[0, 0].item() == 2 * i
        x = jtorch.from_numpy(np.full((64, 64), 5.0, np.float32))
        y = f(x)
        assert (y.numpy() == 10).all() and (x.numpy() == 5).all()


def test_two_threads(launches):
    """Each with tensors of its own, through one compiled function."""

    @jtorch.compile
    def step(w, optimizer, x):
        optimizer.zero_grad()
        (w * x).square().sum().backward()
        optimizer.step()

    def train(out, seed):
        w = jtorch.nn.Parameter(jtorch.full((8,), float(seed)))
        optimizer = jtorch.optim.SGD([w], lr=0.01)
        for i in range(20):
            step(w, optimizer, jtorch.full((8,), 1.0 + i % 3))
        out[seed] = w.detach().numpy()

    alone, together = {}, {}
    for seed in (1, 2):
        train(alone, seed)
    threads = [threading.Thread(target=train, args=(together, seed)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (1, 2):
        np.testing.assert_array_equal(together[seed], alone[seed])
