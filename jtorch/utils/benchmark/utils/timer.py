"""Timing statements. Work is waited for, because jtorch runs it when it is needed."""

from __future__ import annotations

import textwrap
import timeit
from collections.abc import Callable

import jtorch

from .common import Measurement


def timer() -> float:
    """Seconds, read after everything recorded has been computed."""
    jtorch.sync()
    return timeit.default_timer()


class Timer:
    """Times a Python statement, which is run once beforehand, so that compilation is not timed.

    Args:
        stmt, setup, globals: as for ``timeit.Timer``.
        label, sub_label, description: kept in the measurements.
        num_threads: kept; XLA chooses its threads itself.

    Raises:
        NotImplementedError: ``language`` is not Python.
    """

    def __init__(
        self, stmt: str = "pass", setup: str = "pass", global_setup: str = "", timer: Callable[[], float] = timer,
        globals: dict | None = None, label: str | None = None, sub_label: str | None = None,  # noqa: A002
        description: str | None = None, env: str | None = None, num_threads: int = 1, language="python",
    ):  # fmt: skip
        if global_setup or str(language).lower().rpartition(".")[2] not in ("python", "py"):
            raise NotImplementedError("Timer: only Python statements can be timed (global_setup is for C++)")
        names = dict(globals or {})
        names.setdefault("torch", jtorch)
        stmt, setup = textwrap.dedent(stmt).strip(), textwrap.dedent(setup).strip()
        self._timer = timeit.Timer(stmt, setup, timer, names)
        self._facts = {
            "stmt": stmt, "label": label, "sub_label": sub_label, "description": description,
            "num_threads": num_threads, "env": env,
        }  # fmt: skip

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """One measurement of ``number`` runs, after some runs to warm up."""
        self._timer.timeit(max(number // 100, 2))
        return Measurement(number, [self._timer.timeit(number)], **self._facts)

    def blocked_autorange(self, callback=None, min_run_time: float = 0.2) -> Measurement:
        """Measurements of enough runs each to be exact, until they have taken ``min_run_time`` seconds together."""
        self._timer.timeit(2)
        number = 1
        while (taken := self._timer.timeit(number)) < min_run_time / 1000 or taken < 1e-4:
            number *= 10
        times = []
        while not times or sum(times) < min_run_time:
            times.append(self._timer.timeit(number))
            if callback is not None:
                callback(number, times[-1])
        return Measurement(number, times, **self._facts)

    def autorange(self, callback=None) -> Measurement:
        """One measurement of as many runs as take 0.2 seconds."""
        number, measured = self._timer.autorange(callback)
        return Measurement(number, [measured], **self._facts)

    def adaptive_autorange(self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
                           callback=None) -> Measurement:  # fmt: skip
        """Measure until the times spread by less than ``threshold`` of their median, or ``max_run_time`` is over."""
        found = self.blocked_autorange(callback, min_run_time)
        while (found.iqr / found.median >= threshold or len(found.raw_times) < 4) and (
            sum(found.raw_times) < max_run_time
        ):  # fmt: skip
            found.raw_times.append(self._timer.timeit(found.number_per_run))
            if callback is not None:
                callback(found.number_per_run, found.raw_times[-1])
        return found

    def collect_callgrind(self, *args, **kwargs):
        """Raises NotImplementedError: instructions are counted by Valgrind for C++; use ``blocked_autorange``."""
        raise NotImplementedError("Timer.collect_callgrind needs Valgrind and C++; use blocked_autorange()")


__all__ = ["Timer", "timer"]
