"""jtorch's operations against PyTorch's ``op_db``: a slice by default, the whole table with ``--run-slow``."""

import inspect
import json
import pathlib
import re

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed; it is the reference here")

import torch  # noqa: E402

from jtorch import config  # noqa: E402
from jtorch.ops.registry import OPS  # noqa: E402

from . import ops, ops_checks, ops_table  # noqa: E402
from .ops_convert import find  # noqa: E402

RECORDED = json.loads((pathlib.Path(__file__).parents[2] / "docs" / "op_db.json").read_text())
#: A spread of kinds: elementwise, reductions, indexing, views, linear algebra, layers, losses, random numbers.
SLICE = (
    "add", "atan2", "bernoulli", "cat", "cholesky_solve", "clamp", "complex", "cummax", "expand_copy", "fft.rfft",
    "gather", "index_put", "linalg.eigh", "logsumexp", "masked_fill", "nn.functional.conv2d",
    "nn.functional.cross_entropy", "nn.functional.layer_norm", "nn.functional.avg_pool2d", "prod", "scatter_add",
    "sort", "where",
)  # fmt: skip


@pytest.fixture(autouse=True)
def compile_quickly(monkeypatch):
    monkeypatch.setattr(config, "quick_compile", True)


def unexpected(name: str, line: dict) -> list[str]:
    """What failed and is not recorded in docs/op_db.json."""
    known = RECORDED["remainder"].get(name, {})
    found = []
    for aspect, result in line["aspects"].items():
        if line["dtype"] not in known.get(aspect, {}).get("dtypes", ()):
            found += [f"{name} {line['dtype']} {aspect} {x}" for x in (*result["failed"], *result["missing"])]
    return found


def agrees(name: str, dtype: str, samples: int) -> None:
    wrong = unexpected(name, ops.run(ops.ENTRIES[name], getattr(torch, dtype), samples))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", SLICE)
def test_slice_equals_pytorch(name):
    """One float, one integer dtype, and gradients to the second order."""
    supported = ops.dtypes_of(ops.ENTRIES[name], "quick")
    for dtype in supported:
        agrees(name, str(dtype).removeprefix("torch."), samples=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ops.ENTRIES)
def test_entry_equals_pytorch(name):
    for dtype in ops.dtypes_of(ops.ENTRIES[name], "quick"):
        agrees(name, str(dtype).removeprefix("torch."), samples=3)


def test_a_wrong_result_is_found():
    """The comparison can fail: another function's results are not sin's."""
    op = ops.ENTRIES["sin"]
    with pytest.raises(ops_checks.Unlike, match="differ"):
        ops_checks.same(op, "result", ops.jtorch.cos(ops.jtorch.ones(2)), torch.sin(torch.ones(2)))
    with pytest.raises(ops_checks.Unlike, match="expected torch.float32"):
        ops_checks.same(op, "result", ops.jtorch.ones(2, dtype=ops.jtorch.float64), torch.ones(2))


def test_summary_counts_entries_and_keeps_reasons():
    line = {"name": "sin", "dtype": "float32", "seconds": 0.0}
    good = {"forward": {"passed": 2, "failed": [], "missing": []}}
    bad = {"forward": {"passed": 1, "failed": ["[1] wrong"], "missing": []}}
    done = {("sin", "float32"): line | {"aspects": good}, ("cos", "float32"): line | {"name": "cos", "aspects": bad}}
    found = ops_table.summary(["sin", "cos"], done)
    assert found["aspects"]["forward"] == {"entries": 2, "passed": 1, "runs": 2, "runs_passed": 1}
    assert found["remainder"] == {"cos": {"forward": {"dtypes": ["float32"], "reason": "[1] wrong"}}}


# --- the registry ----------------------------------------------------------------------------------------------------

SCHEMA_PREFIXES = {"linalg": "linalg_", "special": "special_", "fft": "fft_"}
#: The table and PyTorch's documentation name these operands; its schemas number them.
DOCUMENTED = {"cholesky_solve", "lstsq", "orgqr", "ormqr", "tensorsolve"}
EXPORTED = [op for op in OPS.values() if op.namespaces and "." not in op.name]


def torch_parameters(op) -> set[str] | None:
    """The names of every overload's arguments (schemas say ``self`` for ``input``), or None when PyTorch shows none."""
    found = set()
    for namespace in op.namespaces:
        function = find(op.name if namespace == "torch" else f"{namespace}.{op.name}", torch)
        if inspect.isfunction(function):
            found |= set(inspect.signature(function).parameters)
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{SCHEMA_PREFIXES.get(namespace, '')}{op.name}"):
            found |= {"input" if a.name == "self" else a.name for a in schema.arguments}
    return None if not found or {"args", "kwargs"} <= found else found


def test_every_exported_op_is_documented():
    assert not [op.name for op in EXPORTED if not op.doc]


def test_every_exported_op_is_compared_somewhere():
    """In the table, or as a row of tests/samples or of another test file of the operations."""
    entries = {name for op in ops.op_db for name in (op.name, *(alias.name for alias in op.aliases))}
    tests = pathlib.Path(__file__).parents[1]
    rows = "".join(f.read_text() for f in (*tests.glob("samples/*.py"), *tests.glob("test_*.py")))
    for op in EXPORTED:
        names = {op.name, *op.aliases, *(f"{n}.{x}" for n in op.namespaces for x in (op.name, *op.aliases))}
        assert names & entries or any(re.search(rf"\b{re.escape(n)}\b", rows) for n in names), op.name


def test_parameters_have_the_names_pytorch_gives_them():
    wrong = {}
    for op in EXPORTED:
        known = torch_parameters(op)
        if known is not None and op.name not in DOCUMENTED:
            other = [p.name for i, p in enumerate(op.parameters) if i and p.name not in known]
            if other:
                wrong[op.name] = other
    assert not wrong
