"""Saying why: what flushed a trace, and what about it had not been seen before.

``JTORCH_LOGS=flushes,recompiles`` prints these as they happen; :mod:`jtorch.debug` reads the same facts.
"""

from __future__ import annotations

import sys
import threading

from .. import config, errors

_last = threading.local()


def _say(topic: str, text: str) -> None:
    print(f"[jtorch:{topic}] {text}", file=sys.stderr)


def flush(trace, cause: str) -> None:
    if "flushes" in config.logs:
        _say("flushes", f"{len(trace.calls)} calls on {trace.device}: {cause}, at {errors.user_line()}")


def miss(signature: tuple, trace, entries) -> None:
    if "recompiles" not in config.logs:
        return
    _say("recompiles", f"{len(trace.calls)} calls at {errors.user_line()}: {difference(signature, trace, entries)}")


def difference(signature: tuple, trace, entries) -> str:
    """In words, how a new signature differs from the nearest one that has a program."""
    device, _, leaf_avals, outputs, donate, *_ = signature
    names = [c.name for c in trace.calls]
    best, best_score = None, -1.0
    for known, entry in entries.items():
        if known[0] != device:
            continue
        steps = entry.program.steps
        same = sum(a[0].name == b for a, b in zip(steps, names, strict=False))
        score = 2 * same / max(len(steps) + len(names), 1)
        if score > best_score:
            best, best_score = (known, entry), score
    if best is None:
        return "first program on this device"
    known, entry = best
    steps = entry.program.steps
    if len(steps) != len(names):
        for i, (a, b) in enumerate(zip(steps, names, strict=False)):
            if a[0].name != b:
                return f"call {i} is {trace.calls[i]!r} where the nearest program has {a[0]!r}"
        return f"{len(names)} calls where the nearest program has {len(steps)}"
    for i, (a, b) in enumerate(zip(steps, trace.calls, strict=True)):
        if a[0] is b:
            continue
        if a[0].name != b.name:
            return f"call {i} is {b!r} where the nearest program has {a[0]!r}"
        for j, (x, y) in enumerate(zip(a[0].in_avals, b.in_avals, strict=False)):
            if x is not y:
                return f"operand {j} of call {i} ({b.name}) is {y!r}, was {x!r}"
        if a[0].key is not None and b.key is not None and a[0].key != b.key and b.op is not None:
            changed = [
                f"{n}={y!r} (was {x!r})"
                for n, x, y in zip(b.op.static_names, a[0].key[0], b.key[0], strict=True)
                if x != y
            ]
            if changed:
                return f"call {i} ({b.name}) has {', '.join(changed)}"
        return f"call {i} ({b.name}) differs"
    if known[2] != leaf_avals:
        return "an input has another shape or dtype"
    if known[3] != outputs:
        more, fewer = set(outputs) - set(known[3]), set(known[3]) - set(outputs)
        return f"other results are still held: {len(more)} more, {len(fewer)} fewer (a variable kept or dropped)"
    if known[4] != donate:
        return "other inputs are still held by somebody (donation differs)"
    return "the same calls on other operands"


def scalars_vary(changed, fixed, scalars) -> None:
    if "recompiles" in config.logs:
        shown = ", ".join(f"{fixed[i]!r} -> {scalars[i]!r}" for i in changed[:4])
        _say("recompiles", f"at {errors.user_line()}: Python numbers vary ({shown}); they are run-time operands now")


def remember(entry) -> None:
    _last.entry = entry


def last():
    """The entry this thread ran last, or None."""
    return getattr(_last, "entry", None)
