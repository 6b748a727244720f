"""``torch._dynamo.utils``: counts of what was captured and why not."""

from ..compiler.state import statistics


class _Counters:
    """``counters["stats"]`` and ``counters["graph_break"]``, as they are now."""

    def __getitem__(self, name: str) -> dict:
        if name == "graph_break":
            return dict(statistics.breaks)
        if name == "stats":
            return {"captures": statistics.captures, "replays": statistics.replays, "records": statistics.records}
        raise KeyError(name)

    def clear(self) -> None:
        statistics.captures = statistics.replays = statistics.records = 0
        statistics.breaks.clear()


counters = _Counters()


def is_compile_supported(device_type: str) -> bool:
    """Whether functions on such a device can be compiled: on every one."""
    return True
