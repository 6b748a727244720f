"""``torch.func.rearrange`` against einops' rules, and against PyTorch's."""

from __future__ import annotations

import pytest

import jtorch
from jtorch.func import rearrange

PATTERNS = [
    ("a b c -> c (b a)", {}), ("a ... -> ... a", {}), ("a b c -> a 1 b c", {}), ("a b c -> a () b c", {}),
    ("... -> ...", {}), ("a b c->c b a", {}), ("a bb c_2 -> (c_2 bb) a", {}), ("a ... -> a (...)", {}),
    ("a ... c -> (a ... c)", {}), ("a (b1 b2) c -> b2 a (c b1)", {"b1": 3}),
    ("(a x) b (c d) -> x d (a b) c", {"x": 1, "d": 2}),
]  # fmt: skip
WRONG = [
    ("a b -> b a", {}), ("a b c -> a b c d", {}), ("a b c -> a b", {}), ("a b c d", {}), ("a b _ -> a b _", {}),
    ("a b c -> a a b c", {}), ("a (... b) -> a b ...", {}), ("a b c -> (... a) b c", {}), ("a b c -> a b c", {"z": 3}),
    ("a b c -> a [b] c", {}), ("a 3 c -> a c 3", {}), ("(a (b)) c d -> a b c d", {}), ("... a ... -> a ...", {}),
    ("a b (c -> a b c", {}), ("a b c) -> a b c", {}),
]  # fmt: skip


@pytest.mark.parametrize("pattern, lengths", PATTERNS)
def test_as_pytorch(pattern, lengths):
    torch = pytest.importorskip("torch")
    x = jtorch.arange(24.0).reshape(2, 3, 4)
    expected = torch.func.rearrange(torch.arange(24.0).reshape(2, 3, 4), pattern, **lengths)
    found = rearrange(x, pattern, **lengths)
    assert found.shape == tuple(expected.shape)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("pattern, lengths", WRONG)
def test_refused(pattern, lengths):
    with pytest.raises(ValueError):
        rearrange(jtorch.zeros(2, 3, 4), pattern, **lengths)


@pytest.mark.parametrize("lengths", [{}, {"a": 3}, {"a": 2, "b": 2}])
def test_sizes_that_do_not_fit(lengths):
    with pytest.raises(Exception, match="infer|composed") as caught:
        rearrange(jtorch.zeros(2), "(a b) -> a b", **lengths)
    assert type(caught.value).__name__ == "DimensionBindError"


def test_lists_are_stacked_and_gradients_pass():
    x, y = jtorch.ones(2, requires_grad=True), jtorch.zeros(2)
    z = rearrange([x, y], "n a -> (a n)")
    assert z.tolist() == [1, 0, 1, 0]
    (z * jtorch.arange(4.0)).sum().backward()
    assert x.grad.tolist() == [0, 2]
