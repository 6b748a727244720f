"""Each sample of PyTorch's ``module_db``: the module in both libraries, from construction to gradients."""

from __future__ import annotations

import warnings

import numpy as np
import torch

import jtorch

from .both import Report, close, converted, leaves, module_db

ENTRIES = {info.module_cls.__name__: info for info in module_db}


#: Where PyTorch's float32 is further from float64 than its tolerance: by 1.06e-5 in a sample whose packed projection
#: has gradients up to 7.3 (jtorch's is 3e-6 off there).
PARAMETER_GRADIENTS = {"MultiheadAttention": {"atol": 2e-5}}


def missing(name: str) -> str | None:
    """Why an entry cannot be compared at all, or None."""
    return None if hasattr(jtorch.nn, name) else f"jtorch.nn has no {name}"


def report(name: str, training: bool, every: int = 1) -> Report:
    """Every ``every``-th sample of an entry."""
    info, result = ENTRIES[name], Report()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = info.module_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=True, training=training
        )
    for i, sample in enumerate(samples):
        if i % every == 0:
            result.run(f"{name}[{i}] {sample.desc}".strip(), check, info, sample, training)
    return result


def check(info, sample, training: bool) -> None:
    """Construct with one seed, compare what is saved; run with one seed, compare outputs, gradients, buffers."""
    ours_class = getattr(jtorch.nn, info.module_cls.__name__)
    made = sample.constructor_input
    theirs, ours = (
        _seeded(lib, lambda kind=kind, args=args, kwargs=kwargs: kind(*args, **kwargs))
        for lib, kind, args, kwargs in (
            (torch, info.module_cls, made.args, made.kwargs),
            (jtorch, ours_class, converted(made.args), converted(made.kwargs)),
        )
    )
    theirs, ours = theirs.to(torch.float32).train(training), ours.to(jtorch.float32).train(training)
    if not info.is_lazy:
        _same_state("initial", ours, theirs)
        with torch.no_grad():
            ours.load_state_dict(converted(theirs.state_dict()))  # initial values may differ in the last place

    given = sample.forward_input
    if given is None:
        return
    seen: dict = {}
    args, kwargs = converted(given.args, seen), converted(given.kwargs, seen)
    expected = _seeded(torch, lambda: theirs(*given.args, **given.kwargs))
    result = _seeded(jtorch, lambda: ours(*args, **kwargs))

    expected, result = dict(leaves(expected)), dict(leaves(result))
    if list(expected) != list(result):
        raise AssertionError(f"outputs at {list(result)}, expected {list(expected)}")
    for place, value in expected.items():
        close(f"output{place}", result[place], value)

    _backward(torch, expected)
    _backward(jtorch, result)
    inputs = [x for _, x in leaves((given.args, given.kwargs)) if x.requires_grad and x.is_leaf]
    for i, x in enumerate(inputs):
        close(f"gradient of input {i}", seen[id(x)].grad, x.grad)
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        close(f"gradient of {name}", p.grad, q.grad, **PARAMETER_GRADIENTS.get(info.module_cls.__name__, {}))
    _same_state("final", ours, theirs)


def _seeded(lib, call):
    lib.manual_seed(7)
    return call()


def _same_state(when: str, ours, theirs) -> None:
    ours, theirs = ours.state_dict(), theirs.state_dict()
    if list(ours) != list(theirs):
        raise AssertionError(f"{when} state_dict has {list(ours)}, expected {list(theirs)}")
    for name, value in theirs.items():
        close(f"{when} {name}", ours[name], value)


def _backward(lib, outputs: dict) -> None:
    """From the outputs' sum, each element weighted by a number of its own."""
    total = None
    for i, x in enumerate(outputs.values()):
        if not x.requires_grad:
            continue
        weight = np.random.default_rng(i).uniform(0.5, 1.5, tuple(x.shape)).astype("float32")
        term = (x * lib.tensor(weight)).sum()
        total = term if total is None else total + term
    if total is not None:
        total.backward()
