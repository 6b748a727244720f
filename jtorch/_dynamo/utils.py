"""``torch._dynamo.utils``: counts of what was captured and why not."""

from collections import Counter

from ..compiler.state import statistics


class _Counters:
    """``counters["stats"]`` and ``counters["graph_break"]``, as they are now; nothing else is counted."""

    def __getitem__(self, name: str) -> Counter:
        if name == "graph_break":
            return Counter(statistics.breaks)
        if name == "stats":
            return Counter(captures=statistics.captures, replays=statistics.replays, records=statistics.records)
        return Counter()

    def clear(self) -> None:
        statistics.captures = statistics.replays = statistics.records = 0
        statistics.breaks.clear()


counters = _Counters()


def is_compile_supported(device_type: str) -> bool:
    """Whether functions on such a device can be compiled: on every one."""
    return True
