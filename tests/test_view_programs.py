"""Random programs of views, in-place writes and pure operations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import jtorch

from .both import compare, plain

VIEW_STEPS = ("select", "slice", "t", "flat", "unsqueeze", "diagonal", "view")
WRITE_STEPS = ("mul_", "add_tensor_", "copy_", "fill_", "index_", "exp-ish", "iadd_view")
PURE_STEPS = ("mul", "sum", "sin", "cat", "detach")


@st.composite
def random_program(draw):
    """Instructions: (kind, which tensor, which other tensor, small number)."""
    n = draw(st.integers(3, 8))
    kinds = st.sampled_from((*VIEW_STEPS, *VIEW_STEPS, *WRITE_STEPS, *WRITE_STEPS, *PURE_STEPS))
    return [
        (draw(kinds), draw(st.integers(0, 20)), draw(st.integers(0, 20)), draw(st.integers(0, 3))) for _ in range(n)
    ]


def interpret(torch, instructions, base_requires_grad):
    """Run instructions on a growing list of tensors; values, and gradients with respect to the leaves."""
    a = torch.tensor(np.linspace(0.5, 1.5, 12).reshape(3, 4)).requires_grad_()
    b = torch.tensor(np.linspace(-1.0, 1.0, 4)).requires_grad_()
    start = a * 1 if base_requires_grad else torch.tensor(np.linspace(1.0, 2.0, 12).reshape(3, 4))
    pool = [start, b * 2]
    errors = []
    for kind, i, j, k in instructions:
        x, y = pool[i % len(pool)], pool[j % len(pool)]
        try:
            made = step(torch, kind, x, y, k, a, b)
        except RuntimeError as error:
            errors.append((kind, "a leaf Variable" in str(error)))
            continue
        if made is not None:
            pool.append(made)
    total = sum((t * torch.tensor(np.cos(np.arange(t.numel(), dtype=np.float64)).reshape(t.shape))).sum() for t in pool)
    grads = ["none"]
    if total.requires_grad:
        try:
            grads = torch.autograd.grad(total, (a, b), allow_unused=True)
            grads = [torch.zeros(1) if g is None or not bool((g != 0).any()) else g for g in grads]
        except RuntimeError as error:
            grads = [str(error)[:90]]
    return [t.detach() for t in pool], [t.requires_grad for t in pool], [t._version for t in pool], errors, grads


def step(torch, kind, x, y, k, a, b):
    rows = x.shape[0] if x.dim() else 0
    if kind == "select":
        return x[k % rows] if rows else None
    if kind == "slice":
        return x[k % rows :: 1 + k % 2] if rows else None
    if kind == "t":
        return x.transpose(0, -1) if x.dim() > 1 else None
    if kind == "flat":
        return x.reshape(-1)
    if kind == "unsqueeze":
        return x.unsqueeze(0) if x.dim() < 4 else None
    if kind == "diagonal":
        return x.diagonal() if x.dim() > 1 else None
    if kind == "view":
        return x.view(x.numel())
    if kind == "mul_":
        x.mul_(1.0 + k / 2)
    elif kind == "add_tensor_":
        x.add_(b[k] * 3)
    elif kind == "copy_":
        x.copy_(y.reshape(-1)[0].clone() if y.numel() else b[0])
    elif kind == "fill_":
        x.fill_(0.5 + k)
    elif kind == "index_":
        if rows:
            x[k % rows] = a[0, k] * 2
    elif kind == "exp-ish":
        x.tanh_()
    elif kind == "iadd_view":
        if rows:
            v = x[-1]
            v += b[0]
    elif kind == "mul":
        return x * (1.5 + k)
    elif kind == "sum":
        return x.sum()
    elif kind == "sin":
        return x.sin()
    elif kind == "cat":
        return torch.cat([x.reshape(-1), y.reshape(-1)])
    elif kind == "detach":
        return x.detach()
    return None


@given(random_program(), st.booleans())
@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
def test_random_programs(instructions, base_requires_grad):
    """Final values, requires_grad, versions, which steps are refused, and gradients are PyTorch's.

    Where PyTorch finds that backward needs a value overwritten meanwhile, jtorch may have the gradient all the same:
    what it saved is immutable, and only operands and outputs saved as they are are watched.
    """
    torch = pytest.importorskip("torch")
    theirs = plain(interpret(torch, instructions, base_requires_grad), torch)
    # PyTorch takes a view of a base that had no history when it was taken, and has now, for a leaf
    assume(not any(leaf for _, leaf in theirs[3]))
    assume(all(np.isfinite(t["values"]).all() for t in theirs[0]))
    ours = plain(interpret(jtorch, instructions, base_requires_grad), jtorch)
    if isinstance(theirs[-1][0], str) and "modified" in theirs[-1][0]:
        ours, theirs = ours[:-1], theirs[:-1]
    compare(ours, theirs)
