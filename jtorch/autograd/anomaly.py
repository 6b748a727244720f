"""Anomaly mode: raise where a gradient first becomes NaN."""

from __future__ import annotations

from ..tape import engine


class set_detect_anomaly:
    """Switch anomaly detection on or off; as a context manager, until the block ends.

    While it is on every backward call's result is read, so backward runs call by call.
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        self._before = engine.anomaly.enabled
        engine.anomaly.enabled = bool(mode) and check_nan

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        engine.anomaly.enabled = self._before


class detect_anomaly(set_detect_anomaly):
    """``with detect_anomaly():`` raise RuntimeError naming the first backward that returns NaN."""

    def __init__(self, check_nan: bool = True):
        super().__init__(True, check_nan)


def is_anomaly_enabled() -> bool:
    return engine.anomaly.enabled
