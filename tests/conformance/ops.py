"""Runs jtorch over PyTorch's table of operations, ``op_db``, and appends what came of it to a file of JSON lines.

    python -m tests.conformance.ops [--shard 1/4] [--only add] [--dtypes quick|...|all] [--samples 8]

A run continues where the file ends; ``--again`` repeats what failed. ``--write`` makes docs/op_db.json of the file.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
import warnings

import torch

with warnings.catch_warnings():  # the tables are private, and use what their own library deprecates
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

import jtorch
from jtorch import config

from . import ops_checks, ops_table

RESULTS = os.path.join(tempfile.gettempdir(), "jtorch_op_db.jsonl")
DTYPES = {
    "quick": ("float32", "int64", "float64"),
    "main": ("float32", "float64", "int64", "bool", "complex64", "complex128", "bfloat16"),
    "floats": ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
    "complex": ("complex128", "complex64", "complex32"),
    "integers": ("bool", "uint8", "int32", "int8", "int16"),
}
#: CUDA's just-in-time kernels are none of ours: their source is CUDA's.
ENTRIES = {op.full_name: op for op in op_db if not op.name.startswith("jiterator")}


def dtypes_of(op, which: str) -> list[torch.dtype]:
    """The dtypes to run an entry at; the one that checks its errors comes first."""
    supported = {d for d in op.supported_dtypes("cpu") if d is not torch.complex32}  # XLA has no such type
    if not supported:  # an operation of CUDA's
        return []
    names = DTYPES.get(which) or sorted(str(d).removeprefix("torch.") for d in supported)
    chosen = [d for d in (getattr(torch, n) for n in names) if d in supported]
    if which in ("floats", "complex", "integers"):
        return chosen  # the errors are checked at another
    first = ops_checks.first_dtype(op)
    return [first, *(d for d in chosen if d != first)]


def run(op, dtype: torch.dtype, limit: int) -> dict:
    """One line of results."""
    start = time.perf_counter()
    try:
        found = ops_checks.run_entry(op, dtype, limit)
    except Exception as error:  # noqa: BLE001 (the table's own helpers may not suit; that is a result too)
        found = {"forward": ops_checks.Outcome(failed=[f"harness: {type(error).__name__}: {error}"])}
    return {
        "name": op.full_name,
        "dtype": str(dtype).removeprefix("torch."),
        "limit": limit,
        "seconds": round(time.perf_counter() - start, 2),
        "aspects": {
            name: {
                "passed": o.passed,
                "failed": [_short(x) for x in o.failed],
                "missing": [_short(x) for x in o.missing],
            }
            for name, o in found.items()
        },
    }


def _short(text: str) -> str:
    return " ".join(text.split())[:400]


def read(path: str) -> dict[tuple[str, str], dict]:
    """The results in a file, the latest of each entry and dtype."""
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        lines = [json.loads(line) for line in file if line.strip()]
    return {(line["name"], line["dtype"]): line for line in lines}


def main(args: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.ops", description=__doc__.split("\n")[0])
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th entry, from the i-th")
    parser.add_argument("--only", nargs="*", help="these entries alone")
    parser.add_argument("--dtypes", default="quick", choices=[*DTYPES, "all"])
    parser.add_argument("--samples", type=int, default=8, help="at most so many per entry and dtype, spread evenly")
    parser.add_argument("--results", default=RESULTS, help="the file of JSON lines")
    parser.add_argument("--again", action="store_true", help="run again what has failed")
    parser.add_argument("--write", action="store_true", help="run nothing; write docs/op_db.json")
    options = parser.parse_args(args)
    done = read(options.results)
    if options.write:
        ops_table.write(ENTRIES, done)
        return 0
    config.quick_compile = True  # each program runs once
    first, count = (int(x) for x in options.shard.split("/"))
    names = options.only or list(ENTRIES)[first - 1 :: count]
    if unknown := [n for n in names if n not in ENTRIES]:
        parser.error(f"op_db has no {', '.join(unknown)}")
    if options.again:
        names = [n for n in names if any(ops_table.failed(r) for (name, _), r in done.items() if name == n)]
    with open(options.results, "a") as file:
        for i, name in enumerate(names):
            for dtype in dtypes_of(ENTRIES[name], options.dtypes):
                before = done.get((name, str(dtype).removeprefix("torch.")))
                if before and not (options.only or options.again and ops_table.failed(before)):
                    continue
                line = run(ENTRIES[name], dtype, options.samples)
                file.write(json.dumps(line) + "\n")
                file.flush()
                print(ops_table.one_line(line), flush=True)
            jtorch.debug.clear_executables()
            if i % 25 == 24:
                gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
