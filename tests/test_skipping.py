"""Writes to parts of a storage happen in place, also where an index check could fail; and not at all where one does."""

from __future__ import annotations

import numpy as np
import pytest

import jtorch
from jtorch import debug
from jtorch.trace import explain
from jtorch.trace.skipping import Skipping

SHAPE = (2, 4, 64, 64)  # 128 kB


pytestmark = pytest.mark.usefixtures("compiled_at_once")

# how: (torch, storage, position, new values)
WRITES = {
    "index_copy_": lambda t, c, at, x: c.index_copy_(2, at, x),
    "index_add_": lambda t, c, at, x: c.index_add_(2, at, x),
    "index_put_": lambda t, c, at, x: c.index_put_((t.tensor([1]), t.tensor([2]), at), x[0, 0]),
    "accumulated": lambda t, c, at, x: c.index_put_((t.tensor([1]), t.tensor([2]), at), x[0, 0], accumulate=True),
    "an index": lambda t, c, at, x: c.__setitem__((slice(None), slice(None), at), x),
    "scatter_": lambda t, c, at, x: c.scatter_(2, at.expand(x.shape), x),
    "scatter_add_": lambda t, c, at, x: c.scatter_add_(2, at.expand(x.shape), x),
    "scatter_reduce_": lambda t, c, at, x: c.scatter_reduce_(2, at.expand(x.shape), x, "amax"),
    "a slice": lambda t, c, at, x: (c[:, :, 5:6].copy_(x), c.index_copy_(2, at, x)),
    "narrow": lambda t, c, at, x: (c.narrow(2, 7, 1).mul_(x), c.index_copy_(2, at, x)),
    "a part of a part": lambda t, c, at, x: c[1].index_copy_(1, at, x[1]),
    "another shape": lambda t, c, at, x: c.view(8, 64, 64).index_copy_(1, at, x.view(8, 1, 64)),
}


def run(t, write, position: int):
    """The storage before the write, itself, what is computed from it afterwards, and what has nothing to do with it."""
    random = np.random.default_rng(0)
    before, x = (random.random(shape, np.float32) for shape in (SHAPE, (2, 4, 1, 64)))
    c, x, at = t.from_numpy(before.copy()), t.from_numpy(x), t.tensor([position])
    if t is jtorch:
        t.sync()
    other = x * 2
    write(t, c, at, x)
    return before, c, c.sum(-1), other


@pytest.mark.parametrize("how", WRITES)
def test_in_place(how):
    _, c, after, _ = run(jtorch, WRITES[how], 3)
    after.numpy()
    skipping = Skipping(explain.last().program)
    assert skipping.steps and not skipping.whole
    hlo = debug.last_trace().hlo()
    assert not [line for line in hlo.splitlines() if " copy(" in line and "f32[2,4,64,64]" in line], hlo
    _, expected, expected_after, _ = run(pytest.importorskip("torch"), WRITES[how], 3)
    np.testing.assert_allclose(c.numpy(), expected.numpy(), rtol=1e-6)
    np.testing.assert_allclose(after.numpy(), expected_after.numpy(), rtol=1e-5)


@pytest.mark.parametrize("how", WRITES)
def test_not_at_all_where_a_check_fails(how):
    before, c, after, other = run(jtorch, WRITES[how], 64)
    error = RuntimeError if how.startswith("scatter") else IndexError  # as in PyTorch
    with pytest.raises(error):
        after.numpy()
    assert Skipping(explain.last().program).steps
    np.testing.assert_array_equal(c.numpy(), before)
    with pytest.raises(error):
        after.sum().item()
    assert other.numpy().shape == (2, 4, 1, 64)


def test_what_a_check_depends_on_is_written_at_once():
    """An index is read from what was written: the check cannot come first, and the storage is chosen as a whole."""
    c, at = jtorch.zeros(256, 64, dtype=jtorch.int64), jtorch.tensor([3])
    table = jtorch.arange(5.0)
    jtorch.sync()
    c.index_copy_(0, at, jtorch.full((1, 64), 4))
    assert table[c[3]].tolist() == [4.0] * 64
    skipping = Skipping(explain.last().program)
    assert not skipping.steps and skipping.whole
    c.index_copy_(0, at, jtorch.full((1, 64), 5))
    with pytest.raises(IndexError):
        table[c[3]].tolist()
    assert c[3].tolist() == [4] * 64


def test_a_cache_is_written_by_many_steps():
    """As generation does: the index of one storage's write comes before it, its values from another's."""
    a, b, at = jtorch.zeros(64, 512), jtorch.zeros(64, 512), jtorch.tensor([0])
    table = jtorch.arange(64 * 512.0).reshape(64, 512)
    for i in range(6):
        x = table[at]
        a.index_copy_(0, at, x)
        b.index_copy_(0, at, a.sum(0, keepdim=True))
        at.add_(1)
        assert at.tolist() == [i + 1]
    np.testing.assert_array_equal(a.numpy()[:6], table.numpy()[:6])
    np.testing.assert_allclose(b.numpy()[:6], np.cumsum(table.numpy()[:6], 0))


OPTIMIZERS = {
    "SGD": {"lr": 0.1},
    "SGD, momentum": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"lr": 0.1},
    "RMSprop": {"centered": True, "momentum": 0.9},
    "Adagrad": {},
    "Adadelta": {},
    "Adamax": {},
    "Rprop": {},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("how", OPTIMIZERS)
def test_optimizers_choose_before_they_go_on(how, dtype):
    """Parameters and state stay as they were where a label is out of range, though the gradient is finite."""
    jtorch.manual_seed(0)
    table = jtorch.nn.Parameter(jtorch.randn(6, 4, dtype=getattr(jtorch, dtype)))
    optimizer = getattr(jtorch.optim, how.split(",")[0])([table], **OPTIMIZERS[how])

    def step(label):
        optimizer.zero_grad()
        table[jtorch.tensor([label])].abs().square().sum().backward()
        optimizer.step()

    def content():
        state = [x.clone() for x in optimizer.state[table].values() if isinstance(x, jtorch.Tensor)]
        return [x.detach().resolve_conj().to(jtorch.complex128).numpy() for x in (table, *state)]

    for _ in range(2):
        step(1)
    before = content()
    step(6)
    program = explain.last().program
    assert Skipping(program).keeping and not Skipping(program).whole
    with pytest.raises(IndexError):
        jtorch.sync()
    for was, now in zip(before, content(), strict=True):
        np.testing.assert_array_equal(now, was)
    step(2)
    assert any((was != now).any() for was, now in zip(before, content(), strict=True))
