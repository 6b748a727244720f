"""Every declared operation: documented, sampled, exported where it says, and with PyTorch's parameters."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import jtorch
import jtorch.nn.functional  # noqa: F401 (completes the namespaces)
from jtorch.ops.registry import OPS
from jtorch.tensor.export import function

from . import samples
from .samples.table import TABLE

for _module in pkgutil.iter_modules(samples.__path__):
    importlib.import_module(f"{samples.__name__}.{_module.name}")

PUBLIC = [op for op in OPS.values() if op.namespaces]
_SHORT = {"linalg": "linalg_", "special": "special_", "fft": "fft_"}
#: Sampled elsewhere: the result is not determined (signs of eigenvectors), or the test is its own.
SAMPLED_ELSEWHERE = {"eig", "_segment_reduce"}
#: Operations that follow PyTorch's documentation where its tables and schemas say something else, and those that take
#: the parameters of several schemas.
DOCUMENTED = {
    "nn.functional.max_pool3d": "documented with ceil_mode before return_indices",
    "torch.var": "unbiased and correction in one", "torch.std": "unbiased and correction in one",
    "torch.var_mean": "unbiased and correction in one", "torch.std_mean": "unbiased and correction in one",
    "torch.trapezoid": "x and dx in one", "torch.cumulative_trapezoid": "x and dx in one",
    "torch._segment_reduce": "the part for offsets; torch.segment_reduce has all parameters",
}  # fmt: skip


def place(library, namespace: str):
    for part in namespace.split(".") if namespace != "torch" else ():
        library = getattr(library, part)
    return library


def test_every_operation_is_documented():
    assert [op.name for op in PUBLIC if not op.doc] == []


def test_every_operation_is_exported_where_it_says():
    absent = []
    for op in PUBLIC:
        if "." in op.name:
            continue  # an overload: reached through the function of its name
        for namespace in op.namespaces:
            absent += [(namespace, n) for n in (op.name, *op.aliases) if not hasattr(place(jtorch, namespace), n)]
        if op.method:
            absent += [("Tensor", n) for n in (op.name, *op.aliases) if not hasattr(jtorch.Tensor, n)]
        if op.inplace:
            absent += [("Tensor", f"{op.name}_")] if not hasattr(jtorch.Tensor, f"{op.name}_") else []
    assert absent == []


def test_every_operation_has_samples():
    missing = []
    for op in PUBLIC:
        names = {op.name, *op.aliases, op.name.split(".")[0]}
        paths = {("torch." if s == "torch" else f"torch.{s}.") + n for s in op.namespaces for n in names}
        paths |= {f"torch.Tensor.{n}" for n in names}
        if not paths & set(TABLE) and op.name not in SAMPLED_ELSEWHERE:
            missing.append(op.name)
    assert missing == []


def _names(signature) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in signature.parameters.values() if p.kind not in kinds and p.name[0] != "_"]


def _theirs(torch, overrides, namespace: str, name: str) -> list[list[str]]:
    """The parameter lists PyTorch gives: of the function itself, in its table of overrides, and in its schemas."""
    found = []
    f = getattr(place(torch, namespace), name, None)
    try:
        found.append(_names(inspect.signature(f)))
    except (TypeError, ValueError):
        pass
    if f in overrides:
        found.append(_names(inspect.signature(overrides[f])))
    packet = getattr(torch.ops.aten, _SHORT.get(namespace, "") + name, None)
    if packet is not None:
        schemas = [getattr(packet, o)._schema for o in packet.overloads() if "out" not in o]
        found += [[{"self": "input"}.get(a.name, a.name) for a in s.arguments] for s in schemas]
    return [[n for n in names if n != "out"] for names in found]


def _fits(ours: list[str], theirs: list[str]) -> bool:
    """The same names in the same order, but for what neither side needs: old flags, and places for new tensors."""
    ignored = {
        "size_average", "reduce", "cudnn_enable", "cudnn_enabled", "esp", "eps", "generator", "layout", "device",
        "pin_memory", "inplace", "dtype", "weight", "axis",
    }  # fmt: skip
    renamed = [{"A": "input", "x": "input", "self": "input", "X": "input"}.get(n, n) for n in theirs]
    mine = [{"A": "input", "x": "input", "X": "input"}.get(n, n) for n in ours]
    return [n for n in mine if n not in ignored] == [n for n in renamed if n not in ignored]


def test_parameters_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    overrides = torch.overrides.get_testing_overrides()
    different = {}
    for op in PUBLIC:
        if "." in op.name:
            continue
        for namespace in op.namespaces:
            ours = [n for n in _names(inspect.signature(function(op))) if n != "out"]
            candidates = _theirs(torch, overrides, namespace, op.name)
            if candidates and not any(_fits(ours, c) for c in candidates):
                different[f"{namespace}.{op.name}"] = ours, candidates
    unexpected = {name: found for name, found in different.items() if name not in DOCUMENTED}
    assert unexpected == {}, "\n".join(f"{k}: {v[0]} {v[1][:3]}" for k, v in unexpected.items())
    assert different.keys() == DOCUMENTED.keys()  # an entry that has become untrue is an error as well
