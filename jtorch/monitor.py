"""``torch.monitor``: events that a program logs, and statistics that are logged window by window."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

STAT_EVENT = "torch.monitor.Stat"


@dataclass
class Event:
    """Something that happened: handlers are given these."""

    name: str
    timestamp: datetime
    data: dict[str, int | float | bool | str] = field(default_factory=dict)


class EventHandlerHandle:
    """What :func:`register_event_handler` returns, for :func:`unregister_event_handler`."""

    def __init__(self, callback: Callable[[Event], None]):
        self._callback = callback


_handlers: list[EventHandlerHandle] = []


def register_event_handler(callback: Callable[[Event], None]) -> EventHandlerHandle:
    """Call ``callback`` with each event that is logged from now on."""
    _handlers.append(EventHandlerHandle(callback))
    return _handlers[-1]


def unregister_event_handler(handler: EventHandlerHandle) -> None:
    """Call it no longer."""
    _handlers.remove(handler)


def log_event(event: Event) -> None:
    """Give an event to every handler."""
    for handler in list(_handlers):
        handler._callback(event)


class Aggregation(enum.Enum):
    """What a :class:`Stat` says of the numbers of a window."""

    VALUE = 0  # the last one
    MEAN = 2
    COUNT = 3
    SUM = 4
    MAX = 5
    MIN = 6

    def of(self, values: list[float]) -> float:
        """The statistic of at least one number."""
        return {
            Aggregation.VALUE: lambda: values[-1], Aggregation.MEAN: lambda: sum(values) / len(values),
            Aggregation.COUNT: lambda: len(values), Aggregation.SUM: lambda: sum(values),
            Aggregation.MAX: lambda: max(values), Aggregation.MIN: lambda: min(values),
        }[self]()  # fmt: skip


class Stat:
    """Statistics of the numbers :meth:`add` is given, logged as an event once per ``window_size``.

    Args:
        name: stands before each statistic's, as ``"loss.mean"``.
        aggregations: which statistics.
        window_size: how long a window is open. It closes at the first :meth:`add` or :meth:`get` after it is over.
        max_samples: further numbers of a window are left out.
    """

    def __init__(
        self, name: str, aggregations: list[Aggregation], window_size: timedelta, max_samples: int = 2**63 - 1
    ):
        self.name, self._aggregations = name, list(aggregations)
        self._seconds, self._most = window_size.total_seconds(), max_samples
        self._lock = threading.Lock()
        self._open([])

    def _open(self, last: list[float]) -> None:
        self._began, self._values, self._last = time.monotonic(), [], last

    def _roll(self) -> None:
        if time.monotonic() - self._began >= self._seconds:
            self._close()

    def _close(self) -> None:
        values = self._values
        self._open(values)
        if values:
            data = {f"{self.name}.{kind.name.lower()}": kind.of(values) for kind in self._aggregations}
            log_event(Event(STAT_EVENT, datetime.now(), data))

    def add(self, v: float) -> None:
        """Count a number in."""
        with self._lock:
            self._roll()
            if len(self._values) < self._most:
                self._values.append(float(v))

    def get(self) -> dict[Aggregation, float]:
        """The statistics of the last window that has closed; none before the first has."""
        with self._lock:
            self._roll()
            return {kind: kind.of(self._last) for kind in self._aggregations if self._last}

    @property
    def count(self) -> int:
        """How many numbers the open window has."""
        with self._lock:
            self._roll()
            return len(self._values)

    def __del__(self):
        if self.__dict__.get("_values"):
            self._close()


class TensorboardEventHandler:
    """A handler that writes the numbers of statistics' events to a ``SummaryWriter``."""

    def __init__(self, writer):
        self._writer = writer

    def __call__(self, event: Event) -> None:
        if event.name == STAT_EVENT:
            for name, value in event.data.items():
                self._writer.add_scalar(name, value, walltime=event.timestamp.timestamp())


__all__ = [
    "STAT_EVENT", "Aggregation", "Event", "EventHandlerHandle", "Stat", "TensorboardEventHandler", "log_event",
    "register_event_handler", "unregister_event_handler",
]  # fmt: skip
