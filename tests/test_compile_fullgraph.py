"""What ``fullgraph=True`` lets pass: reads that PyTorch's compiler has in its graph."""

import numpy as np
import pytest

import jtorch as torch

from .compiling import asserting, asserts_either, batches, captured, fresh, same  # noqa: F401 (fresh is a fixture)


@torch.library.custom_op("jtorch_test::by_numpy", mutates_args=())
def by_numpy(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sin(x.numpy()))


torch.library.define("jtorch_test::excluded", "(Tensor x) -> Tensor")


@torch.library.impl("jtorch_test::excluded", "cpu")
@torch.compiler.disable
def excluded(x):
    return x * 3


FUNCTIONS = {
    "custom op": lambda x: by_numpy(x) + 1,
    "operation of a library": lambda x: torch.ops.jtorch_test.excluded(x) + 1,
    "cond": lambda x: torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,)),
    "cond without operands": lambda x: torch.cond(x.sum() > 0, lambda: x * 2, lambda: x - 1),
    "while_loop": lambda x: torch.while_loop(lambda y: y.sum() < 50, lambda y: (y + 1,), (x,))[0],
    "assert": asserting,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_those_of_the_function(name):
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True)
    for x in batches(5):
        assert same(compiled(x), FUNCTIONS[name](x))


def test_assertions_fail_as_they_do():
    compiled = torch.compile(asserting, fullgraph=True)
    compiled(torch.ones(2))
    with pytest.raises(AssertionError, match="finite"):
        compiled(torch.tensor([float("nan")]))
    with pytest.raises(AssertionError):
        compiled(torch.tensor([200.0]))


def test_other_truth_values_are_refused():
    def chooses(x):
        return x + 1 if x.sum() > 0 else x

    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"bool\(\)"):
        torch.compile(chooses, fullgraph=True)(torch.ones(2))

    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"bool\(\)"):
        torch.compile(asserts_either, fullgraph=True)(-torch.ones(2))


def test_numbers_may_be_used_where_programs_ask_for_them():
    def repeated(x, n):
        first, *_ = n.tolist()
        return x.repeat(n[0].item()) + first + int(n[1]) + float(n[1])

    compiled = torch.compile(repeated, fullgraph=True)
    x, n = torch.ones(2), torch.tensor([2, 3])
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"tolist\(\)"):
        compiled(x, n)
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        for k in range(4):
            assert same(compiled(x, n + k), repeated(x, n + k))
    assert not captured(compiled)
