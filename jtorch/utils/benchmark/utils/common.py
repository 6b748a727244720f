"""A measurement, and times in the unit that suits them."""

from __future__ import annotations

import dataclasses
import math
import statistics


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
    env: str | None = None

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
    def significant_figures(self) -> int:
        """How many digits of the median the spread leaves meaningful: between 1 and 6."""
        if not self.iqr or not self.median:
            return 6
        return max(1, min(6, int(-math.log10(self.iqr / self.median / len(self.times) ** 0.5) + 0.5) + 1))

    @property
    def has_warnings(self) -> bool:
        """Whether the times spread so much that they mean little."""
        return self.iqr / self.median > 0.1 if self.median else False

    @property
    def as_row_name(self) -> str:
        return self.sub_label or self.stmt or "[Unknown]"

    @property
    def title(self) -> str:
        return ": ".join(part for part in (self.label or self.stmt, self.sub_label) if part)

    @staticmethod
    def merge(measurements) -> list[Measurement]:
        """Measurements of the same statement and labels as one each."""
        found: dict[tuple, Measurement] = {}
        for m in measurements:
            key = (m.stmt, m.label, m.sub_label, m.description, m.num_threads, m.env)
            if key not in found:
                found[key] = dataclasses.replace(m, number_per_run=1, raw_times=[])
            found[key].raw_times += m.times
        return list(found.values())

    def __repr__(self) -> str:
        value, unit = select_unit(self.median)
        lines = [f"<jtorch.utils.benchmark.Measurement of {self.title}>"]
        lines += [self.description] if self.description else []
        lines += [f"  {'Median: ' if len(self.raw_times) > 1 else ''}{value:.2f} {unit}"]
        lines += [f"  IQR:    {self.iqr / self.median * value:.2f} {unit}"] if len(self.raw_times) > 3 else []
        many = "s" if len(self.raw_times) > 1 else ""
        lines += [f"  {len(self.raw_times)} measurement{many}, {self.number_per_run} runs per measurement"]
        return "\n".join(lines)


def select_unit(t: float) -> tuple[float, str]:
    """The time in the unit that suits it, and the unit's name."""
    for scale, unit in ((1e-9, "ns"), (1e-6, "us"), (1e-3, "ms")):
        if t < 0.999999e3 * scale:  # a thousand, however it was rounded
            return t / scale, unit
    return t, "s"
