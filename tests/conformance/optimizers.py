"""Each row of PyTorch's ``optim_db``: a small model trained by both libraries for 20 steps; and its error rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.testing._internal.common_optimizers import (
    OptimizerErrorEnum,
    _get_optim_inputs_including_global_cliquey_kwargs,
)

import jtorch

from .both import Report, close, converted, optim_db

ENTRIES = {info.optim_cls.__name__: info for info in optim_db}
STEPS = 20


def missing(name: str) -> str | None:
    """Why an entry cannot be compared at all, or None."""
    return None if hasattr(jtorch.optim, name) else f"jtorch.optim has no {name}"


def rows(name: str) -> list:
    """Options with ``foreach`` and ``fused`` on and off; ``differentiable`` is compared apart."""
    return _get_optim_inputs_including_global_cliquey_kwargs("cpu", None, ENTRIES[name], skip=("differentiable",))


def report(name: str, every: int = 1) -> Report:
    """Every ``every``-th row of an entry."""
    result = Report()
    for i, row in enumerate(rows(name)):
        if i % every == 0:
            result.run(f"{name}[{i}] {row.desc} {row.kwargs}", check, name, row.kwargs)
    return result


def check(name: str, options: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = train(jtorch, name, converted(options)), train(torch, name, options)
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        close(f"parameter {i} after {STEPS} steps", p, q, rtol=2e-6, atol=1e-12)


def train(lib, name: str, options: dict) -> list:
    """In float64, so that only another update rule can move a parameter by 2e-6 of itself.

    Muon is the exception: it rounds to bfloat16 inside, which the models' own last places may tip. So its gradients
    are given, as are SparseAdam's, which are sparse. A step of LBFGS is 20 iterations already; over hundreds of them
    this model's path is chaotic.
    """
    rng = np.random.default_rng(0)
    x, y = lib.tensor(rng.normal(size=(16, 4))), lib.tensor(rng.normal(size=(16, 3)))
    given = name in ("Muon", "SparseAdam")
    shapes = [(4, 5), (5, 3)] if given else [(4, 5), (5,), (5, 3), (3,), ()]
    params = [lib.tensor(rng.normal(size=shape) * 0.5, requires_grad=True) for shape in shapes]
    optimizer = getattr(lib.optim, name)(params, **options)

    def closure():
        optimizer.zero_grad()
        if given:
            for p in params:
                dense = rng.normal(size=tuple(p.shape)) * (rng.random((len(p), 1)) < 0.6)  # some rows are 0
                p.grad = lib.tensor(dense) if name == "Muon" else lib.tensor(dense).to_sparse(1)
            return None
        w, b, v, c, scale = params
        loss = ((lib.tanh(x @ w + b) @ v * (1 + scale) + c - y) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(1 if name == "LBFGS" else STEPS):
        optimizer.step(closure)
    return params


def check_differentiable(name: str, options: dict) -> None:
    """What a recorded step passes on to the parameters before it and to what their gradients came from.

    One step: PyTorch's next one overwrites what the backward of this one needs. A momentum buffer of SGD counts from
    the second step on, and PyTorch detaches the first: that row says nothing here.
    """
    if options.get("momentum") and name == "SGD":
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = through_step(jtorch, name, converted(options)), through_step(torch, name, options)
    for i, (g, h) in enumerate(zip(ours, theirs, strict=True)):
        close(f"{name} {options}: gradient {i}", g, h, rtol=1e-6, atol=1e-10)


def through_step(lib, name: str, options: dict) -> list:
    rng = np.random.default_rng(0)
    start = lib.tensor(rng.normal(size=(4, 3)), requires_grad=True)
    scale = lib.tensor(rng.uniform(0.5, 2, size=(4, 3)), requires_grad=True)
    p = start.clone()
    optimizer = getattr(lib.optim, name)([p], **options, differentiable=True)
    p.grad = lib.sin(p.clone()) * scale  # a clone: the step writes to p
    optimizer.step()
    (p * lib.tensor(rng.normal(size=(4, 3)))).sum().backward()
    return [start.grad, scale.grad]


def error_rows(name: str) -> list:
    info = ENTRIES[name]
    return [] if info.optim_error_inputs_func is None else info.optim_error_inputs_func("cpu", torch.float32)


def check_error(name: str, row) -> None:
    """The exception of PyTorch's, with words that its pattern accepts."""
    given = row.optimizer_error_input
    params = [torch.zeros(2, 3, requires_grad=True)] if given.params is None else given.params
    params = converted(params)
    with pytest.raises(row.error_type, match=row.error_regex), warnings.catch_warnings():
        warnings.simplefilter("error" if row.error_type is UserWarning else "ignore")
        optimizer = getattr(jtorch.optim, name)(params, **converted(given.kwargs))
        if row.error_on is OptimizerErrorEnum.STEP_ERROR:
            for p in optimizer.param_groups[0]["params"]:
                p.grad = jtorch.zeros_like(p)
            optimizer.step()
