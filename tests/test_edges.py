"""Edges of functions, as PyTorch has them: sizes that overflow, formats in memory, indices out of order."""

from __future__ import annotations

import warnings

import pytest

import jtorch

from .both import Table, check, check_raises

programs = Table()


@programs
def lists_of_tensors_as_indices(torch):
    x = torch.arange(6.0).reshape(3, 2)
    y = x.clone()
    y[[torch.tensor([0, 2]), torch.tensor([1, 1])]] = 9.0
    return x[[torch.tensor([0, 2]), torch.tensor([1, 0])]], x[[torch.tensor(1), torch.tensor(0)]], y


@programs
def strides_of_expanded_tensors(torch):
    shapes = [((5,), (1, 5)), ((5, 1), (1, 5, 1)), ((5, 1), (1, 2, 5, 1)), ((2, 5), (0, 2, 5)), ((1, 5), (3, 5))]
    return [torch.zeros(a).expand(b).stride() for a, b in shapes]


@programs
def ravel_is_contiguous(torch):
    x = torch.arange(10.0)[::2].ravel()
    return x, x.is_contiguous(), torch.arange(6.0).reshape(2, 3).t().ravel()


@programs
def resized_in_place(torch):
    made = []
    for start in (torch.arange(16.0), torch.arange(16.0).view(1, 4, 2, 2).to(memory_format=torch.channels_last)):
        a, b, c = (start.clone() for _ in range(3))
        a.resize_(2, 2, 2, 2)
        b.resize_((1, 4, 2, 2), memory_format=torch.channels_last)
        c.resize_as_(b, memory_format=torch.preserve_format)
        made += [a, a.stride(), b, b.stride(), c, c.stride(), start.clone().resize_as_(b).stride()]
    return made


@programs
def made_channels_last(torch):
    x = torch.empty(2, 3, 4, 5, memory_format=torch.channels_last)
    return x.stride(), x.is_contiguous(memory_format=torch.channels_last), torch.zeros(2, 3).stride()


@programs
def splits_at_any_indices(torch):
    x = torch.arange(10)
    return [torch.tensor_split(x, cuts) for cuts in [(3, -1, 5), (5, 3), (20, 30), (-20, 30), (0,), ()]]


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


HUGE = "overflowed"
ERRORS = {
    "empty": (lambda t: t.empty(2**31, 2**31, 2**20), RuntimeError, HUGE),
    "zeros": (lambda t: t.zeros(2**62), RuntimeError, HUGE),
    "full": (lambda t: t.full((2**40, 2**40), 1), RuntimeError, HUGE),
    "rand": (lambda t: t.rand(2**62), RuntimeError, HUGE),
    "expand": (lambda t: t.zeros(3).expand(2**40, 2**40, 3), RuntimeError),
    "float index": (lambda t: t.zeros(3)[1.0], IndexError, "integers"),
    "slice of text": (lambda t: t.zeros(3)["0":"1"], TypeError, "slice indices"),
    "unravel floats": (lambda t: t.unravel_index(t.tensor(0.5), (2, 2)), TypeError, "integer", "float32"),
    "unravel negative": (lambda t: t.unravel_index(t.tensor(1), (-1, 3)), ValueError, "negative"),
    "unravel text": (lambda t: t.unravel_index(t.tensor(1), "a"), TypeError, "ints"),
    "broadcast negative": (lambda t: t.broadcast_shapes((-12,), (1,)), ValueError, "negative"),
    "split of a number": (lambda t: t.tensor_split(t.tensor(1.0), 2), RuntimeError, "0 dims"),
    "split at floats": (lambda t: t.tensor_split(t.zeros(3), t.tensor([1.0])), RuntimeError, "long", "Float"),
    "split at a matrix": (lambda t: t.tensor_split(t.zeros(3), t.tensor([[1]])), RuntimeError, "one-dimensional"),
    "resize to preserve": (
        lambda t: t.zeros(4).resize_((2, 2), memory_format=t.preserve_format), RuntimeError, "memory format"),
    "channels last of 3": (lambda t: t.zeros(4).resize_((2, 2, 1), memory_format=t.channels_last), RuntimeError, "4"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


def test_deprecated_indices_warn():
    x = jtorch.arange(3)
    with pytest.warns(UserWarning, match="uint8"):
        assert x[jtorch.tensor([1, 0, 1], dtype=jtorch.uint8)].tolist() == [0, 2]
    with pytest.warns(UserWarning, match="list as an index"):
        assert x[[jtorch.tensor([2, 0])]].tolist() == [2, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert x[[2, 0]].tolist() == [2, 0]


def test_a_view_is_resized_within_its_storage():
    x = jtorch.arange(6.0)
    view = x[1:4]
    view.resize_(2, 2)
    assert view.tolist() == [[1, 2], [3, 4]]
    view[0, 0] = 9
    assert x[1].item() == 9
    with pytest.raises(RuntimeError, match="storage"):
        view.resize_(3, 3)
