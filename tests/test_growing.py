"""Sequences that grow: what is compiled for them, and that it is right."""

from __future__ import annotations

import numpy as np
import pytest

import jtorch
from jtorch import debug
from jtorch.trace import executor
from jtorch.trace.executable import Executable

# what is tested is how programs are compiled
pytestmark = pytest.mark.usefixtures("compiled_at_once")


def test_cropped_generation_has_one_program():
    """Once the model sees the last `block` ids only, a longer sequence is no new program."""
    torch = jtorch
    torch.manual_seed(0)
    table, block = torch.randn(7, 7), 4
    ids, lengths, compiles = torch.zeros(2, 1, dtype=torch.long), [], []
    for _ in range(12):
        before = debug.counters()["compiles"]
        seen = ids if ids.size(1) <= block else ids[:, -block:]
        weights = (table[seen].mean(1) * 3).softmax(-1)
        ids = torch.cat((ids, torch.multinomial(weights, 1)), dim=1)
        compiles.append(debug.counters()["compiles"] - before)
        lengths.append(ids.size(1))
    assert lengths == list(range(2, 14))
    assert compiles[:4] == [1, 1, 1, 1] and sum(compiles[6:]) == 0  # the last crop is met once from either side


def test_greedy_generation_has_one_program():
    """A token that nobody draws (`argmax`) is waited for where it is appended, once the line's results grow."""
    torch = jtorch
    torch.manual_seed(0)
    table, block = torch.randn(7, 7), 4
    ids, expected, compiles = torch.zeros(1, 1, dtype=torch.long), [0], []
    for _ in range(14):
        before = debug.counters()["compiles"]
        ids = torch.cat((ids, table[ids[:, -block:]].mean(1).argmax(-1, keepdim=True)), dim=1)
        assert not (ids[:, -1] == 99).item()
        compiles.append(debug.counters()["compiles"] - before)
        expected.append(table.numpy()[expected[-block:]].mean(0).argmax())
    assert ids.tolist() == [expected]
    assert all(compiles[:3]) and sum(compiles[7:]) == 0


def test_integers_that_are_joined_at_one_size_stay_in_the_program():
    torch = jtorch
    for _ in range(6):
        known = torch.arange(4)
        known.tolist()
        before = debug.counters()["flushes"]
        joined = torch.cat((known, torch.ones(4).argmax(0, keepdim=True)))
        assert debug.counters()["flushes"] == before
        assert joined.tolist() == [0, 1, 2, 3, 0]


def test_integers_are_joined_and_cut_as_they_are_in_a_program():
    """`cat` and views of integers that exist, against the same of integers that are still to be computed."""
    torch, rng = jtorch, np.random.default_rng(0)
    for dtypes in ((torch.int64, torch.int64), (torch.int32, torch.uint8), (torch.bool, torch.int16)):
        a, b = (torch.tensor(rng.integers(0, 2, (3, n))).to(d) for n, d in zip((4, 2), dtypes, strict=True))
        a.tolist(), b.tolist()
        joined = torch.cat((a, b), dim=-1)
        pending = torch.cat((a.clone(), b.clone()), dim=-1)
        assert joined.dtype is pending.dtype and joined.tolist() == pending.tolist()
        for form in (lambda t: t[:, -3:], lambda t: t[1], lambda t: t.t()[::2], lambda t: t.unfold(1, 2, 2)):
            assert (form(joined) + 1).tolist() == (form(pending) + 1).tolist()
    empty = torch.zeros(0, dtype=torch.long)
    empty.tolist()
    assert torch.cat((empty, joined.long())).tolist() == joined.long().tolist()


def test_a_view_of_integers_follows_its_base():
    torch = jtorch
    base = torch.arange(6)
    base.tolist()
    view = base[2:4]
    assert (view * 10).tolist() == [20, 30]
    base[2] = 7
    assert (view * 10).tolist() == [70, 30]
    view += 1
    assert base.tolist() == [0, 1, 8, 4, 4, 5]


def test_a_line_that_keeps_meeting_new_programs_compiles_quickly():
    executor.clear()
    x = jtorch.ones(40)

    def total(n):
        return (x[:n] * 2).sum().item()

    for n in range(1, 13):
        assert total(n) == 2 * n
    assert [e.quick for e in executor._entries.values()] == [False] * 8 + [True] * 4
    last = list(executor._entries.values())[-1]
    first = last.executable
    for _ in range(executor._SETTLED - 1):
        assert total(12) == 24
    assert last.quick and last.executable is first
    assert total(12) == 24
    assert not last.quick and last.executable is not first  # it is what the line does now

    early = list(executor._entries.values())[-2]
    for _ in range(executor._PROVED - 1):
        assert total(11) == 22
    assert early.quick
    assert total(11) == 22 and not early.quick  # others came after it, but it comes back
    assert total(11) == 22 and early.runs == executor._PROVED + 2


def test_episodes_of_any_length_share_the_pieces_of_their_programs(monkeypatch):
    """A step that is unrolled as often as an episode is long: what repeats itself is compiled once for all lengths."""
    executor.clear()
    torch, compiled = jtorch, []
    make = Executable.__init__
    monkeypatch.setattr(Executable, "__init__", lambda self, *args: (compiled.append(args[0]), make(self, *args))[1])
    w = torch.full((3, 3), 0.1, requires_grad=True)

    def gradient(n):
        x = total = torch.ones(1, 3)
        for _ in range(n):
            x = torch.tanh(x @ w)
            total = total + x.exp().log1p().sin().cos()
        w.grad = None
        total.sum().backward()
        return w.grad.sum().item()

    for n in range(1, 12):  # the first programs of a line are compiled whole
        gradient(n)
    found, pieces = [], []
    for n in (24, 28, 32):
        before = len(compiled)
        found.append(gradient(n))
        pieces.append(len(compiled) - before)
    assert pieces[0] > 1 and sum(pieces[1:]) <= pieces[0]
    np.testing.assert_allclose(found, [_reference(n) for n in (24, 28, 32)], rtol=1e-4)


def _reference(n):
    """The same gradient by differences, in double precision."""

    def total(w):
        x = s = np.ones((1, 3))
        for _ in range(n):
            x = np.tanh(x @ w)
            s = s + np.cos(np.sin(np.log1p(np.exp(x))))
        return s.sum()

    w, h = np.full((3, 3), 0.1), 1e-6
    return sum((total(w + h * d) - total(w - h * d)) / (2 * h) for d in np.eye(9).reshape(9, 3, 3))
