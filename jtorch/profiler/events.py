"""Recorded events, and the table of them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Event:
    """What ran under a name: how often, and microseconds in total, on the host or on a device."""

    name: str
    device: str
    count: int
    time_total: float

    @property
    def key(self) -> str:
        return self.name

    @property
    def cpu_time_total(self) -> float:
        return self.time_total if self.device == "cpu" else 0.0

    @property
    def device_time_total(self) -> float:
        return 0.0 if self.device == "cpu" else self.time_total

    # A trace does not tell what of a region's time its inner ones took.
    self_cpu_time_total, self_device_time_total = cpu_time_total, device_time_total

    @property
    def cpu_time(self) -> float:
        return self.cpu_time_total / self.count

    @property
    def device_time(self) -> float:
        return self.device_time_total / self.count


_COLUMNS = ("cpu_time_total", "cpu_time", "device_time_total", "device_time")
_HEADERS = ("Name", "CPU total (us)", "CPU time avg (us)", "Device total (us)", "Device time avg (us)", "# of Calls")


class EventList(list):
    """A list of :class:`Event`; ``table()`` prints it."""

    @classmethod
    def read(cls, trace: dict) -> EventList:
        """The complete events of a trace in Chrome's format. Python's own calls are left out."""
        places = {
            e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e.get("name") == "process_name"
        }  # fmt: skip
        return cls(
            Event(e["name"], "cuda" if "/device:" in places.get(e["pid"], "") else "cpu", 1, float(e["dur"]))
            for e in trace["traceEvents"]
            if e.get("ph") == "X" and not e["name"].startswith("$")
        )

    def averages(self) -> EventList:
        """One event for each name and device, the longest first."""
        found: dict = {}
        for e in self:
            sum_ = found.setdefault((e.name, e.device), Event(e.name, e.device, 0, 0.0))
            sum_.count += e.count
            sum_.time_total += e.time_total
        return EventList(sorted(found.values(), key=lambda e: -e.time_total))

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds on the host, of all events together."""
        return sum(e.self_cpu_time_total for e in self)

    def total_average(self) -> Event:
        """All events as one."""
        cpu = [e for e in self if e.device == "cpu"]
        return Event("Total", "cpu", sum(e.count for e in cpu), sum(e.time_total for e in cpu))

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_name_column_width: int = 55) -> str:
        """The events as text.

        Raises:
            ValueError: ``sort_by`` is not a column of the table.
        """
        sort_by = sort_by.replace("cuda", "device").replace("self_", "") if sort_by else None
        if sort_by is not None and sort_by not in (*_COLUMNS, "count"):
            raise ValueError(f"cannot sort by {sort_by!r}; columns are {', '.join((*_COLUMNS, 'count'))}")
        rows = sorted(self, key=lambda e: -getattr(e, sort_by)) if sort_by else list(self)
        lines = [_HEADERS]
        for e in rows if row_limit < 0 else rows[:row_limit]:
            name = e.name if len(e.name) <= max_name_column_width else e.name[: max_name_column_width - 3] + "..."
            lines.append((name, *(f"{getattr(e, c):.3f}" for c in _COLUMNS), str(e.count)))
        widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADERS))]
        rule = "  ".join("-" * w for w in widths)
        text = ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([rule, text[0], rule, *text[1:], rule])
