"""onnx's own backend tests over ``jtorch.onnx.load``; the counts go to docs/onnx_backend.json.

python -m tests.onnx.backend_suite [--only PATTERN] [--again] [--record]

A run that is stopped goes on where it was: results are appended to a file in the temporary folder, test by test.
``--again`` repeats the tests that failed. ``--record`` writes the counts for the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
import unittest
import warnings
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "onnx_backend.json"
KINDS = {"OnnxBackendNodeModelTest": "node", "OnnxBackendSimpleModelTest": "simple",
         "OnnxBackendRealModelTest": "real", "OnnxBackendPyTorchConvertedModelTest": "pytorch-converted",
         "OnnxBackendPyTorchOperatorModelTest": "pytorch-operator"}  # fmt: skip


def cases() -> list[tuple[str, str, unittest.TestCase]]:
    """``(kind, name, test)`` of every test for the CPU, the small ones first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx.backend.test

        from jtorch.interop.onnx.backend import JtorchBackend

        groups = onnx.backend.test.BackendTest(JtorchBackend, __name__).test_cases
    found = []
    for group, case in groups.items():
        for name in sorted(dir(case)):
            if name.startswith("test_") and name.endswith("_cpu"):
                found.append((KINDS[group], name.removesuffix("_cpu"), case(name)))
    return sorted(found, key=lambda c: (c[0] == "real", list(KINDS.values()).index(c[0])))


def run(test: unittest.TestCase) -> str | None:
    """None when it passes, else the last line of what went wrong (``"skipped: ..."`` when it did not run)."""
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test.run(result)
    for _, text in result.failures + result.errors:
        lines = [line for line in text.strip().splitlines() if line.strip()]
        named = [line for line in lines if re.match(r"\w[\w.]*(Error|Exception)\b", line)]
        return (named[-1] if named else lines[-1])[:300]
    return f"skipped: {result.skipped[0][1]}" if result.skipped else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a regular expression on names")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--log", default=os.path.join(tempfile.gettempdir(), "jtorch_onnx_backend.jsonl"))
    args = parser.parse_args()
    done: dict[tuple[str, str], str | None] = {}
    if os.path.exists(args.log):
        for line in open(args.log, encoding="utf-8"):
            kind, name, outcome = json.loads(line)
            done[kind, name] = outcome
    everything = cases()
    start = time.time()
    with open(args.log, "a", encoding="utf-8") as log:
        for kind, name, test in everything:
            if not re.search(args.only, name) or ((kind, name) in done and not (args.again and done[kind, name])):
                continue
            outcome = done[kind, name] = run(test)
            log.write(json.dumps([kind, name, outcome]) + "\n")
            log.flush()
            if outcome:
                print(f"{time.time() - start:6.0f} s  {kind} {name}: {outcome}", flush=True)
    counts = {}
    for kind, name, _ in everything:
        of = counts.setdefault(kind, {"tests": 0, "passed": 0})
        of["tests"] += 1
        of["passed"] += (kind, name) in done and done[kind, name] is None
    print(json.dumps(counts, indent=1))
    if args.record:
        if any((kind, name) not in done for kind, name, _ in everything):
            sys.exit("not all tests have been run: not recorded")
        import onnx

        RESULTS.write_text(json.dumps({"onnx": onnx.__version__, "kinds": counts}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
