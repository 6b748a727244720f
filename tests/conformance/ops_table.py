"""Results of :mod:`.ops` as counts: docs/op_db.json, from which docs/coverage.md has its table."""

from __future__ import annotations

import json
import os
import pathlib
from collections import Counter

from .ops_checks import ASPECTS

TARGET = pathlib.Path(__file__).parents[2] / "docs" / "op_db.json"


def failed(line: dict) -> bool:
    """Whether anything of one line did not agree."""
    return any(a["failed"] or a["missing"] for a in line["aspects"].values())


def one_line(line: dict) -> str:
    parts = []
    for name, a in line["aspects"].items():
        parts.append(f"{name} {a['passed']}/{a['passed'] + len(a['failed']) + len(a['missing'])}")
    text = f"{line['name']:40} {line['dtype']:10} {line['seconds']:6.1f}s  {', '.join(parts)}"
    for name, a in line["aspects"].items():
        text += "".join(f"\n    {name} {x[:260]}" for x in (*a["failed"][:2], *a["missing"][:1]))
    return text


def summary(entries, done: dict) -> dict:
    """Counts by aspect, and for each entry that does not agree everywhere: which aspects, at which dtypes, why."""
    counts = {a: {"entries": 0, "passed": 0, "runs": 0, "runs_passed": 0} for a in ASPECTS}
    remainder: dict[str, dict] = {}
    for name in entries:
        lines = {dtype: line for (n, dtype), line in done.items() if n == name}
        for aspect in ASPECTS:
            runs = {d: line["aspects"][aspect] for d, line in lines.items() if aspect in line["aspects"]}
            runs = {d: a for d, a in runs.items() if a["passed"] or a["failed"] or a["missing"]}
            if not runs:
                continue
            bad = {d: a for d, a in runs.items() if a["failed"] or a["missing"]}
            count = counts[aspect]
            count["entries"] += 1
            count["passed"] += not bad
            count["runs"] += len(runs)
            count["runs_passed"] += len(runs) - len(bad)
            if bad:
                reason = next((x for a in bad.values() for x in (*a["failed"], *a["missing"])), "")
                remainder.setdefault(name, {})[aspect] = {"dtypes": sorted(bad), "reason": reason[:200]}
    seen = Counter(dtype for _, dtype in done)
    dtypes = sorted(d for d in seen if 10 * seen[d] > len(entries))  # not those of the few entries that take no other
    return {
        "dtypes": dtypes,
        "samples": max((x.get("limit", 3) for x in done.values()), default=0),
        "table": len(entries),
        "aspects": counts,
        "remainder": remainder,
    }


def write(entries, done: dict) -> None:
    """Make docs/op_db.json (written aside and renamed)."""
    aside = TARGET.with_suffix(".tmp")
    aside.write_text(json.dumps(summary(entries, done), indent=1) + "\n")
    os.replace(aside, TARGET)
    print(f"wrote {TARGET}")
