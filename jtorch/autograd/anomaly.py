"""Anomaly mode: raise where a gradient first becomes NaN."""

from __future__ import annotations

import warnings

from ..tape import engine


class set_detect_anomaly:
    """Switch anomaly detection on or off; as a context manager, until the block ends.

    While it is on, operations remember the lines that called them, and the error of a backward that fails is preceded
    by a warning with those of the operation it belongs to. With ``check_nan`` every backward call's result is read, so
    backward runs call by call.
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        self._before = engine.anomaly.enabled, engine.anomaly.check_nan
        engine.anomaly.enabled = bool(mode)
        engine.anomaly.check_nan = bool(mode) and check_nan

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        engine.anomaly.enabled, engine.anomaly.check_nan = self._before


class detect_anomaly(set_detect_anomaly):
    """``with detect_anomaly():`` raise RuntimeError naming the first backward that returns NaN."""

    def __init__(self, check_nan: bool = True):
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )
        super().__init__(True, check_nan)
