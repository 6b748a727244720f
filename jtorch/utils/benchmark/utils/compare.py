"""Measurements side by side."""

from __future__ import annotations

import enum

from .common import Measurement, select_unit

_SCALES = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


class Colorize(enum.Enum):
    """What the colours of a table compare."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """A table of measurements: a row for each ``sub_label``, a column for each ``description``, by label and threads.

    Times are medians in one unit per table; those that spread by more than 10% get a star, or their digits cut with
    :meth:`trim_significant_figures`.
    """

    def __init__(self, results: list[Measurement]):
        self._results: list[Measurement] = []
        self._trim = self._warn = False
        self._colors = Colorize.NONE
        self.extend_results(results)

    def extend_results(self, results) -> None:
        """Add measurements.

        Raises:
            ValueError: one of them is none.
        """
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
        self._results.extend(results)

    def trim_significant_figures(self) -> None:
        """Show only the digits that the spread leaves meaningful."""
        self._trim = True

    def highlight_warnings(self) -> None:
        """Mark times that spread by more than 10%."""
        self._warn = True

    def colorize(self, rowwise: bool = False) -> None:
        """Colour the best times of each column (or row) green and the worst red."""
        self._colors = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def print(self) -> None:
        """Print the tables."""
        print(str(self))

    def __str__(self) -> str:
        merged = Measurement.merge(self._results)
        labels = list(dict.fromkeys(m.label for m in merged))
        return "\n".join(self._table(label, [m for m in merged if m.label == label]) for label in labels)

    def _table(self, label, measurements) -> str:
        columns = list(dict.fromkeys(m.description or "" for m in measurements))
        rows = list(dict.fromkeys((m.num_threads, m.env or "", m.as_row_name) for m in measurements))
        cells = {((m.num_threads, m.env or "", m.as_row_name), m.description or ""): m for m in measurements}
        unit = select_unit(min(m.median for m in measurements))[1]
        texts = {key: self._text(m, _SCALES[unit]) for key, m in cells.items()}
        first = max(len(f"{name}{f' ({env})' if env else ''}") for _, env, name in rows) + 2
        widths = {c: max([len(c), *(len(t) for (_, d), t in texts.items() if d == c)]) + 2 for c in columns}
        total = first + sum(w + 3 for w in widths.values())
        title = f" {label or 'Benchmark'} "
        lines = [f"[{title:-^{max(total - 2, len(title))}}]"]
        lines.append(" " * first + "".join(f"  |{c:^{widths[c]}}" for c in columns).rstrip())
        threads = None
        for row in rows:
            if row[0] != threads:
                threads = row[0]
                lines.append(f"{threads} threads: ".ljust(total, "-"))
            name = f"{row[2]}{f' ({row[1]})' if row[1] else ''}"
            line = f"{name:>{first}}"
            for c in columns:
                line += "  |" + self._colored(f"{texts.get((row, c), ''):^{widths[c]}}", row, c, cells)
            lines.append(line.rstrip())
        lines.append("")
        lines.append(f"Times are in {dict(ns='nanoseconds', us='microseconds', ms='milliseconds', s='seconds')[unit]} "
                     f"({unit}).")  # fmt: skip
        if self._warn and any(m.has_warnings for m in measurements):
            lines.append("(!) the middle half of the times spreads by more than 10%")
        return "\n".join(lines) + "\n"

    def _text(self, m: Measurement, scale: float) -> str:
        value = m.median / scale
        if self._trim:
            digits = m.significant_figures
            value = float(f"{value:.{digits}g}")
        text = f"{value:.1f}" if value < 1000 and not self._trim else f"{value:g}"
        return f"{text} (!)" if self._warn and m.has_warnings else text

    def _colored(self, text: str, row, column, cells) -> str:
        if self._colors is Colorize.NONE or (row, column) not in cells:
            return text
        axis = 0 if self._colors is Colorize.ROWWISE else 1
        same = [m.median for key, m in cells.items() if key[axis] == (row, column)[axis]]
        value = cells[row, column].median
        if len(same) < 2 or max(same) == min(same):
            return text
        color = "32" if value == min(same) else "31" if value == max(same) else None
        return text if color is None else f"\033[{color}m{text}\033[0m"
