"""``torch.utils.benchmark``: timing statements. Work is waited for, because jtorch runs it when it is needed."""

from __future__ import annotations

import dataclasses
import statistics
import timeit
from collections.abc import Callable

import jtorch


def timer() -> float:
    """Seconds, read after everything recorded has been computed."""
    jtorch.sync()
    return timeit.default_timer()


@dataclasses.dataclass
class Measurement:
    """``raw_times``: seconds for ``number_per_run`` runs of the statement, one entry per measurement."""

    number_per_run: int
    raw_times: list[float]
    stmt: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    num_threads: int = 1

    @property
    def times(self) -> list[float]:
        """Seconds per run."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.times)

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def iqr(self) -> float:
        """The distance between the quartiles."""
        if len(self.times) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.times, n=4, method="inclusive")
        return high - low

    @property
    def title(self) -> str:
        return ": ".join(part for part in (self.label or self.stmt, self.sub_label) if part)

    def __repr__(self) -> str:
        value, unit = select_unit(self.median)
        lines = [f"<jtorch.utils.benchmark.Measurement of {self.title}>"]
        lines += [self.description] if self.description else []
        lines += [f"  {'Median: ' if len(self.raw_times) > 1 else ''}{value:.2f} {unit}"]
        lines += [f"  IQR:    {self.iqr / self.median * value:.2f} {unit}"] if len(self.raw_times) > 3 else []
        many = "s" if len(self.raw_times) > 1 else ""
        lines += [f"  {len(self.raw_times)} measurement{many}, {self.number_per_run} runs per measurement"]
        return "\n".join(lines)


def select_unit(seconds: float) -> tuple[float, str]:
    """The time in the unit that suits it, and the unit's name."""
    for scale, unit in ((1e-9, "ns"), (1e-6, "us"), (1e-3, "ms")):
        if seconds < 1e3 * scale:
            return seconds / scale, unit
    return seconds, "s"


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
        self._timer = timeit.Timer(stmt, setup, timer, names)
        self._facts = {
            "stmt": stmt, "label": label, "sub_label": sub_label, "description": description,
            "num_threads": num_threads,
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


__all__ = ["Measurement", "Timer", "select_unit", "timer"]
