"""Compiled steps that end in Python numbers."""

import pytest

import jtorch as torch
from jtorch import nn
from jtorch.compiler.state import statistics

from .compiling import batches, captured, fresh  # noqa: F401 (fresh is a fixture)


class Metrics:
    def __init__(self):
        self.seen = []

    def keep(self, x):
        self.seen.append(x)


def ending(kind, model, optimizer):
    """A training step that ends in numbers, in one way or another."""
    metrics = Metrics()

    def loss_of(x):
        out = model(x)
        return out, (out - 1).square().mean()

    def item(x):
        out, loss = loss_of(x)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item(), (out.detach(), "done")

    def to_float(x):
        loss = loss_of(x)[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        value = float(loss)
        return {"loss": value, "tensor": loss.detach()}

    def several(x):
        out, loss = loss_of(x)
        named = {"loss": loss, "positive": (out > 0).sum(), "largest": out.abs().argmax()}
        with torch.no_grad():
            return {name: t.item() for name, t in named.items()}

    def small_numbers(x):
        positive, total = (x > 0).sum(), x.sum()
        return 1, positive.item(), 2.0, total.item()

    def method(x):
        return nested(x)

    def nested(x):
        loss = loss_of(x)[1]
        return loss.item()

    # from here on something depends on the number
    def branch(x):
        value = loss_of(x)[1].item()
        return 1 if value > 1.5 else 2

    def arithmetic(x):
        return loss_of(x)[1].item() * 2

    def kept(x):
        metrics.seen.append(loss_of(x)[1].item())
        return metrics.seen[-1]

    def kept_by_a_method(x):
        metrics.keep(loss_of(x)[1].item())
        return metrics.seen[-1]

    def formatted(x):
        return f"{loss_of(x)[1].item():.4f}"

    def percent(x):
        value = loss_of(x)[1].item()
        return "%.4f" % value  # noqa: UP031

    def table(x):
        return [10, 20, 30, 40, 50, 60, 70, 80][(x > 0).sum().item() % 8]

    def key(x):
        return {loss_of(x)[1].item(): 1}

    def ranges(x):
        return list(range((x > 0).sum().item()))

    def goes_on(x):
        value = loss_of(x)[1].item()
        return value, (x * value).sum().item()

    def converted(x):
        return int((x > 0).sum())

    def truth(x):
        return (x.sum() > 0).item()

    def rounded(x):
        return round(loss_of(x)[1].item(), 3)

    def in_numpy(x):
        import numpy as np

        return bool(np.isfinite(loss_of(x)[1].item()))

    return {f.__name__: f for f in locals().values() if callable(f) and getattr(f, "__closure__", 0) != 0}[kind]


REPLAYED = ("item", "to_float", "several", "small_numbers", "method")
RECORDED = ("branch", "arithmetic", "kept", "kept_by_a_method", "formatted", "percent", "table", "key", "ranges",
            "goes_on", "converted", "truth", "rounded", "in_numpy")  # fmt: skip


@pytest.mark.usefixtures("compiled_at_once")  # equal to the last digit
@pytest.mark.parametrize("kind", [*REPLAYED, *RECORDED])
def test_steps_that_end_in_numbers(kind):
    sides = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(6, 2)
        step = ending(kind, model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
        sides.append(torch.compile(step) if compiled else step)
    plain, fast = sides
    for x in batches(7):
        a, b = plain(x), fast(x)
        leaves = torch.utils._pytree.tree_leaves(b)
        assert all(type(y) in (int, float, bool, str, torch.Tensor) for y in leaves)
        assert str(a) == str(b)
    assert captured(fast) == (kind in REPLAYED)
    assert statistics.replays == (5 if kind in REPLAYED else 0)


def test_ending_in_a_number_needs_no_other_program_than_before():
    model = nn.Linear(6, 2)
    step = torch.compile(ending("item", model, torch.optim.Adam(model.parameters())))
    x = batches(1)[0]
    step(x), step(x)  # the first is recorded, the second captured
    compiles = torch.debug.counters()["compiles"]
    for _ in range(3):
        step(x)
    assert statistics.replays == 3 and torch.debug.counters()["compiles"] == compiles


def test_numbers_and_arrays_are_read_under_fullgraph():
    x = torch.arange(4.0)
    for f in (
        lambda x: x * x.sum().item(), lambda x: torch.zeros(int(x.sum())), lambda x: x[x > 1], torch.nonzero,
        lambda x: torch.from_numpy(x.numpy() * 2), lambda x: x[: int(x[2])], torch.unique,
    ):  # fmt: skip
        fast = torch.compile(f, fullgraph=True)
        for _ in range(3):
            assert torch.equal(fast(x), f(x))
    for f in (lambda x: x + (1 if x.sum() > 0 else 2), lambda x: x.tolist()):
        with pytest.raises(torch._dynamo.exc.Unsupported, match="test_compile_numbers.py"):
            torch.compile(f, fullgraph=True)(x)


def test_numbers_at_the_end_are_replayed_under_fullgraph():
    model = nn.Linear(6, 2)
    step = torch.compile(ending("item", model, torch.optim.SGD(model.parameters(), lr=0.1)), fullgraph=True)
    for x in batches(7):  # what is imported on first use may cost one attempt
        assert isinstance(step(x)[0], float)
    assert captured(step) and statistics.replays >= 2
