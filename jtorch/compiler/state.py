"""What the compiler knows on each thread, and what it counts."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager


class _State(threading.local):
    epoch = 0  # of the process: captures made in an earlier one are forgotten

    def __init__(self):
        self.depth = 0  # compiled functions being run on this thread
        self.disabled = 0
        self.exporting = 0
        self.tracing = False
        self.stance = "default"

    @contextmanager
    def compiling(self):
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


state = _State()


class Compiled:
    """Base of compiled functions, for guards: what one keeps for itself is nothing another could read."""

    _fn = None


class Statistics:
    """How often compiled functions were replayed, recorded and captured, and why some are only recorded."""

    replays = records = captures = 0
    breaks: Counter = Counter()


statistics = Statistics()


def reset() -> None:
    """Forget all captures, of every compiled function."""
    _State.epoch += 1
    statistics.replays = statistics.records = statistics.captures = 0
    statistics.breaks.clear()
