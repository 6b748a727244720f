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


def test_refusals():
    with pytest.raises(RuntimeError, match="same metadata"):
        scan(lambda c, v: (torch.stack([c, c]), v), torch.zeros(()), torch.ones(2))
    with pytest.raises(RuntimeError, match="Leading dimensions"):
        hmap(lambda x: x[0], (torch.ones(2), torch.ones(3)))
    with pytest.raises(ValueError, match="Combine_mode"):
        associative_scan(torch.add, torch.ones(2), 0, combine_mode="other")


def test_cond_by_its_module():
    from jtorch._higher_order_ops import cond
    from jtorch._higher_order_ops.cond import cond as same

    assert cond is same is torch.cond
