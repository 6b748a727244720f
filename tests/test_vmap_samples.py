"""``func.vmap`` over every sampled operation gives what a Python loop over the batch gives."""

from __future__ import annotations

import importlib
import pkgutil
import warnings

import numpy as np
import pytest

import jtorch
import jtorch.nn.functional  # noqa: F401 (completes the namespaces)

from . import samples
from .samples.table import TABLE, T
from .test_ops import flat, resolve

for _module in pkgutil.iter_modules(samples.__path__):
    importlib.import_module(f"{samples.__name__}.{_module.name}")

BATCH = 2
#: Calls that need values while they are recorded, which vmap refuses, and what they read.
REFUSED = {
    "torch.histogramdd": "the data, for the edges of the bins", "torch.istft": "the window, whether it covers all",
    "torch.segment_reduce": "the lengths", "torch.rnn_relu": "the batch sizes of packed sequences",
}  # fmt: skip


def _leaves(x) -> list:
    if isinstance(x, (tuple, list)):
        return [leaf for y in x for leaf in _leaves(y)]
    return [x] if isinstance(x, jtorch.Tensor) else []


def _filled(x, tensors):
    if isinstance(x, (tuple, list)) and _leaves(x):
        return type(x)(_filled(y, tensors) for y in x)
    return next(tensors) if isinstance(x, jtorch.Tensor) else x


def _arguments(sample, seed: int):
    def convert(array, spec: T):
        return jtorch.from_numpy(np.array(array)) if array.ndim else jtorch.tensor(array.item(), dtype=getattr(
            jtorch, array.dtype.name))  # fmt: skip

    args, kwargs = sample.materialise(convert, seed=seed)
    if isinstance(kwargs.get("dtype"), str):
        kwargs["dtype"] = getattr(jtorch, kwargs["dtype"].removeprefix("torch."))
    return args, kwargs


def outcome(path: str, sample) -> str | None:
    """None if the mapped call agrees with the loop, else what is wrong. Raises what the mapped call raises."""
    function = resolve(jtorch, path)
    cases = [_arguments(sample, seed) for seed in range(BATCH)]
    columns = [_leaves((list(args), list(kwargs.values()))) for args, kwargs in cases]
    if not columns[0]:
        return None
    loop = [flat(function(*args, **kwargs), jtorch.Tensor) for args, kwargs in cases]

    def call(*tensors):
        source = iter(tensors)
        args = [_filled(a, source) for a in cases[0][0]]
        kwargs = {k: _filled(v, source) for k, v in cases[0][1].items()}
        return tuple(flat(function(*args, **kwargs), jtorch.Tensor))

    cases = [_arguments(sample, seed) for seed in range(BATCH)]  # in-place functions have changed the first ones
    columns = [_leaves((list(args), list(kwargs.values()))) for args, kwargs in cases]
    stacked = [jtorch.stack(c) for c in zip(*columns, strict=True)]
    mapped = jtorch.func.vmap(call)(*stacked)
    for k, together in enumerate(mapped):
        for i in range(BATCH):
            ours, theirs = together[i].detach(), loop[i][k].detach()
            if tuple(ours.shape) != tuple(theirs.shape) or ours.dtype is not theirs.dtype:
                return (
                    f"result {k}: {ours.dtype} {tuple(ours.shape)}, the loop gives {theirs.dtype} {tuple(theirs.shape)}"
                )
            a, b = (np.asarray(t.to(jtorch.float64) if t.dtype in (jtorch.bfloat16, jtorch.float16) else t) for t in (
                ours, theirs))  # fmt: skip
            if not np.allclose(a, b, rtol=1e-4, atol=1e-4, equal_nan=True):
                return f"result {k}: {a!r}, the loop gives {b!r}"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("path", TABLE)
def test_vmap_agrees_with_a_loop(path):
    if path in REFUSED:
        with pytest.raises(RuntimeError, match="vmap"):
            outcome(path, TABLE[path][0])
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problems = [f"{i}: {p}" for i, sample in enumerate(TABLE[path]) if (p := outcome(path, sample))]
    assert problems == []
