"""Control flow whose bodies are functions."""

import pytest

import jtorch as torch
from jtorch._higher_order_ops.associative_scan import associative_scan
from jtorch._higher_order_ops.map import map as hmap
from jtorch._higher_order_ops.scan import scan
from jtorch._higher_order_ops.while_loop import while_loop


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_scans_agree_with_cumulative_sums(length, reverse):
    x = torch.randn(3, length, requires_grad=True)
    wanted = x.flip(1).cumsum(1).flip(1) if reverse else x.cumsum(1)
    carry, ys = scan(lambda c, v: (c + v, c + v), torch.zeros(3), x, dim=1, reverse=reverse)
    torch.testing.assert_close(ys.T, wanted)
    torch.testing.assert_close(carry, x.sum(1))
    for mode in ("pointwise", "generic"):
        torch.testing.assert_close(associative_scan(torch.add, x, 1, reverse, mode), wanted)
    (g,) = torch.autograd.grad((associative_scan(torch.add, x, 1, reverse) * ys.T).sum(), x)
    (h,) = torch.autograd.grad((wanted * wanted).sum(), x)
    torch.testing.assert_close(g, h)


def test_a_linear_recurrence_of_pairs():
    a, b = torch.rand(7, 2), torch.rand(7, 2)
    _, found = associative_scan(lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1]), (a, b), 0)
    h = torch.zeros(2)
    for i in range(7):
        h = a[i] * h + b[i]
        torch.testing.assert_close(found[i], h)
    products = associative_scan(torch.matmul, torch.rand(5, 3, 3), 0, combine_mode="generic")
    assert products.shape == (5, 3, 3)


def test_map_and_while_loop():
    found = hmap(
        lambda x, y: {"sum": x[0] + y, "double": x[1] * 2}, (torch.arange(3.0), torch.ones(3, 2)), torch.ones(())
    )
    assert found["sum"].tolist() == [1, 2, 3] and found["double"].shape == (3, 2)
    i, x = while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (torch.tensor(0), torch.ones(1)))
    assert i.item() == 3 and x.tolist() == [8]


def test_cond_where_its_predicate_cannot_be_read():
    def f(x):
        return torch.cond(x.sum() > 0, lambda x: (x.sin(), x.sum()), lambda x: (x.cos(), x.prod()), [x])

    class Chooser(torch.nn.Module):
        def forward(self, x):
            return f(x)

    x = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    recorded = torch.export.export(Chooser(), (x[0],)).module()
    for row, both in zip(x, zip(*torch.func.vmap(f)(x), strict=True), strict=True):
        for found in (recorded(row), both):
            torch.testing.assert_close(tuple(found), f(row))
    with pytest.raises(RuntimeError, match="same metadata"):
        torch.func.vmap(lambda x: torch.cond(x.sum() > 0, torch.sum, torch.sin, [x]))(x)


def branches(x, w):
    return torch.cond(x.sum() > 0, lambda x: {"a": (x * w).sin(), "n": 3}, lambda x: {"a": x - 2 * w, "n": 3}, (x,))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_cond_is_one_operation_with_a_gradient(sign):
    x, w = (sign * torch.rand(4)).requires_grad_(), torch.randn(4, requires_grad=True)
    found = branches(x, w)
    assert found["n"] == 3 and found["a"].grad_fn.name() == "CondBackward0"
    wanted = (x * w).sin() if sign > 0 else x - 2 * w
    torch.testing.assert_close(found["a"], wanted)
    for a, b in zip(torch.autograd.grad(found["a"].sum(), (x, w)), torch.autograd.grad(wanted.sum(), (x, w)),
                    strict=True):  # fmt: skip
        torch.testing.assert_close(a, b)


def test_control_flow_reads_nothing():
    """A compiled step with a branch and loops in it is captured, and takes the branch that the data ask for."""
    w = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        y = torch.cond(x.sum() > 0, lambda x: (x * w).tanh(), lambda x: x * w * 2, (x,))
        carry, ys = scan(lambda c, v: (c * 0.5 + v, c + v), torch.zeros(()), y)
        (carry + ys.square().sum()).backward()
        optimizer.step()
        with torch.no_grad():
            n, _ = while_loop(lambda n, v: v < 10, lambda n, v: (n + 1, v * 2), (torch.tensor(0), w.abs().sum()))
        return w.detach().clone(), n

    compiled, results = torch.compile(step, fullgraph=True), []
    batches = [torch.randn(4, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    for run in (compiled, step):
        with torch.no_grad():
            w.fill_(1.0)
        results.append([run(x) for x in batches])
    assert compiled.captures == 1, compiled.latest
    torch.testing.assert_close(results[0], results[1])


def test_an_index_out_of_range_counts_only_in_the_branch_that_is_taken():
    table, at = torch.arange(4.0), torch.tensor([7])
    for kept in (True, False):
        pred = torch.tensor(1.0) > 0
        pred = pred if kept else ~pred
        pair = (lambda i: table[i], lambda i: torch.zeros(1))
        found = torch.cond(pred, *(pair if kept else pair[::-1]), (at,))
        with pytest.raises(IndexError):
            found.item()
        assert torch.cond(~pred, *(pair if kept else pair[::-1]), (at,)).item() == 0
    with pytest.raises(IndexError):
        scan(lambda c, i: (c + table[i], c), torch.zeros(()), torch.tensor([1, 9]))[0].item()


def test_control_flow_refuses_what_it_cannot_keep():
    x, i = torch.ones(2), torch.tensor(0)
    holds = x.sum() > 0
    with pytest.raises(RuntimeError, match="same metadata"):
        torch.cond(holds, torch.sum, torch.sin, (x,))
    with pytest.raises(RuntimeError, match="same metadata"):
        torch.cond(holds, lambda x: (x,), lambda x: x, (x,))
    with pytest.raises(RuntimeError, match="in place"):
        torch.cond(holds, lambda x: x.add_(1), lambda x: x * 1, (x,))
    with pytest.raises(RuntimeError, match="reads the value"):
        torch.cond(holds, lambda x: x * x.sum().item(), lambda x: x, (x,))
    with pytest.raises(RuntimeError, match="one element"):
        torch.cond(x > 0, torch.cos, torch.sin, (x,))
    with pytest.raises(RuntimeError, match="same metadata"):
        while_loop(lambda i: i < 3, lambda i: (i + 1.5,), (i,))
    with pytest.raises(RuntimeError, match="in place"):
        scan(lambda c, v: (c.add_(v), v), torch.zeros(()), x)
    assert x.tolist() == [1.0, 1.0]
    assert torch.cond(True, torch.cos, torch.sin, (x,)).tolist() == x.cos().tolist()


def test_a_loop_that_needs_gradients_is_turned_by_python():
    w = torch.tensor(1.5, requires_grad=True)
    n, y = while_loop(lambda n, y: n < 3, lambda n, y: (n + 1, y * w), (torch.tensor(0), torch.tensor(2.0)))
    y.backward()
    assert n.item() == 3 and w.grad.item() == 2 * 3 * 1.5**2
    assert while_loop(lambda n, y: n < 3, lambda n, y: (n + 1, y * 2), (0, torch.ones(())))[1].item() == 8


def test_a_long_scan_compiles_as_a_short_one():
    def steps(n):
        x, w = torch.randn(n, 3), torch.randn(3, 3, requires_grad=True)
        carry, ys = scan(lambda c, v: ((c @ w + v).tanh(), c.sum()), torch.zeros(3), x)
        before = len(next(iter(recorder.open_traces().values())).calls)
        (carry.sum() + ys.sum()).backward()
        return before, w.grad

    from jtorch.trace import recorder

    torch.sync()
    short, _ = steps(3)
    torch.sync()
    long, grad = steps(400)
    assert short == long and grad.isfinite().all()


def test_refusals():
    with pytest.raises(RuntimeError, match="same metadata"):
        scan(lambda c, v: (torch.stack([c, c]), v), torch.zeros(()), torch.ones(2))
    with pytest.raises(RuntimeError, match="Leading dimensions"):
        hmap(lambda x: x[0], (torch.ones(2), torch.ones(3)))
    with pytest.raises(ValueError, match="Combine_mode"):
        associative_scan(torch.add, torch.ones(2), 0, combine_mode="other")


def test_by_their_modules_and_by_the_package():
    from jtorch import _higher_order_ops as ops
    from jtorch._higher_order_ops.cond import cond

    assert ops.cond is cond is torch.cond and ops.while_loop is while_loop is torch.while_loop
    assert (ops.scan, ops.map, ops.associative_scan) == (scan, hmap, associative_scan)
