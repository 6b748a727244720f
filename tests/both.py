"""Running one program under jtorch and under PyTorch, and comparing what it returns."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest

import jtorch

#: PyTorch's own tolerances by dtype (torch.testing.assert_close)
TOLERANCE = {
    "float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5), "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5),
}  # fmt: skip


def plain(x, library):
    """A result as Python and NumPy data: a tensor becomes (dtype, shape, requires_grad, values)."""
    if isinstance(x, library.Tensor):
        name = str(x.dtype).removeprefix("torch.")
        if x.is_meta:
            return {"dtype": name, "shape": tuple(x.shape), "requires_grad": x.requires_grad, "values": None}
        data = x.detach().to(library.float64) if name in ("bfloat16", "float16") else x.detach().resolve_conj()
        return {
            "dtype": name, "shape": tuple(x.shape), "requires_grad": x.requires_grad,
            "values": data.resolve_neg().numpy().copy(),
        }  # fmt: skip
    if isinstance(x, dict):
        return {k: plain(v, library) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        return [plain(v, library) for v in x]
    if isinstance(x, (library.dtype, library.device)):
        return str(x)
    return x


def compare(ours, theirs, where: str = "result") -> None:
    """Assert that two results of :func:`plain` agree."""
    assert type(ours) is type(theirs), f"{where}: {ours!r}, PyTorch gives {theirs!r}"
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), f"{where}: {list(ours)}, PyTorch gives {list(theirs)}"
        if ours.keys() == {"dtype", "shape", "requires_grad", "values"}:
            for key in ("dtype", "shape", "requires_grad"):
                assert ours[key] == theirs[key], f"{where}: {key} {ours[key]}, PyTorch gives {theirs[key]}"
            if theirs["values"] is not None:
                rtol, atol = TOLERANCE.get(ours["dtype"], (0, 0))
                np.testing.assert_allclose(
                    ours["values"], theirs["values"], rtol=rtol, atol=atol, equal_nan=True, err_msg=where
                )
            return
        for k in ours:
            compare(ours[k], theirs[k], f"{where}[{k!r}]")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), f"{where}: {len(ours)} entries, PyTorch gives {len(theirs)}"
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            compare(a, b, f"{where}[{i}]")
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype, f"{where}: {ours.dtype}, PyTorch gives {theirs.dtype}"
        np.testing.assert_allclose(ours, theirs, rtol=1.3e-6, atol=1e-5, err_msg=where)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1.3e-6, abs=1e-5, nan_ok=True), where
    else:
        assert ours == theirs, f"{where}: {ours!r}, PyTorch gives {theirs!r}"


def _run(program, library):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return plain(program(library), library)


def check(program) -> None:
    """``program(torch)`` gives the same under both libraries."""
    torch = pytest.importorskip("torch")
    compare(_run(program, jtorch), _run(program, torch))


def check_raises(program, error: type, *words: str) -> None:
    """``program(torch)`` raises ``error`` under both; jtorch's message contains all ``words``."""
    text = _error(program, jtorch, error)
    for word in words:
        assert word.lower() in text.lower(), f"the message does not say {word!r}: {text}"
    try:
        import torch
    except ImportError:
        return
    _error(program, torch, error)


def _error(program, library, error: type) -> str:
    try:
        result = _run(program, library)
    except error as caught:
        return str(caught)
    raise AssertionError(f"{library.__name__} raised nothing and returned {result}")


def part(library, name: str):
    """A module of a library: ``part(torch, "fx")``."""
    return importlib.import_module(f"{library.__name__}.{name}")


def leaf(torch, *values):
    """A float64 vector that requires a gradient."""
    return torch.tensor(values or (0.5, -1.25, 2.0), dtype=torch.float64, requires_grad=True)


class Table(dict):
    """Programs by name: ``@table`` adds one, and the test file runs them all."""

    def __call__(self, program):
        assert program.__name__ not in self, f"{program.__name__} is defined twice"
        self[program.__name__] = program
        return program
