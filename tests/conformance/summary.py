"""Prints what agrees with PyTorch, by entry: ``python -m tests.conformance.summary [--quick] [name ...]``."""

from __future__ import annotations

import sys


def main(args: list[str]) -> int:
    try:
        from . import modules, optimizers
    except ModuleNotFoundError as error:
        print(f"nothing compared: {error}")
        return 0
    quick, names = "--quick" in args, [a for a in args if not a.startswith("-")]
    totals = [0, 0, 0]
    print(f"{'entry':40} passed failed missing")
    for table, prefix in ((optimizers, "optim"), (modules, "nn")):
        for name in table.ENTRIES:
            if names and name not in names:
                continue
            if reason := table.missing(name):
                totals[2] += 1
                print(f"{prefix + '.' + name:40} {0:6} {0:6} {1:7}  {reason}")
                continue
            every = 10 if quick else 1
            runs = [(name, t, every) for t in (True, False)] if table is modules else [(name, every)]
            reports = [table.report(*run) for run in runs]
            failed, missing = ([x for r in reports for x in getattr(r, kind)] for kind in ("failed", "missing"))
            counts = (sum(r.passed for r in reports), len(failed), len(missing))
            totals = [a + b for a, b in zip(totals, counts, strict=True)]
            print(f"{prefix + '.' + name:40} {counts[0]:6} {counts[1]:6} {counts[2]:7}", flush=True)
            for line in (*failed, *missing):
                print(f"    {' '.join(line.split())[:200]}")
    print(f"{'all':40} {totals[0]:6} {totals[1]:6} {totals[2]:7}")
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
