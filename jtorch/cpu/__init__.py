"""``torch.cpu``: the CPU, asked the questions one asks of an accelerator."""

from __future__ import annotations

import contextlib

from ..trace.recorder import sync
from . import amp


def is_available() -> bool:
    """True: there is always a CPU."""
    return True


def device_count() -> int:
    """1, however many cores it has."""
    return 1


def current_device() -> str:
    """``"cpu"``."""
    return "cpu"


def set_device(device) -> None:
    """Nothing: there is one CPU."""


def is_initialized() -> bool:
    """True: nothing has to be started."""
    return True


class Stream:
    """The CPU's one queue. It is there so that programs need not ask which device they run on."""

    def __init__(self, priority: int = -1):
        pass

    def wait_stream(self, stream) -> None:
        """Already so: there is one queue."""

    def wait_event(self, event) -> None:
        """Already so: there is one queue."""

    def record_event(self) -> None:
        """Nothing: an event of the CPU marks no point."""


class Event:
    """What :class:`Stream` is to streams: nothing is ever waited for."""

    def query(self) -> bool:
        """True."""
        return True

    def record(self, stream=None) -> None:
        """Nothing."""

    def synchronize(self) -> None:
        """Nothing."""

    def wait(self, stream=None) -> None:
        """Nothing."""


_present = Stream()


def current_stream(device=None) -> Stream:
    """The stream of the innermost ``with stream(...)``."""
    return _present


class StreamContext(contextlib.AbstractContextManager):
    """``with StreamContext(s):`` makes ``s`` the current stream."""

    def __init__(self, stream: Stream):
        self.stream = stream

    def __enter__(self) -> None:
        global _present
        self.before = _present
        if self.stream is not None:
            _present = self.stream

    def __exit__(self, *exc) -> None:
        global _present
        _present = self.before


def stream(stream: Stream) -> StreamContext:
    """A context in which ``stream`` is the current one."""
    return StreamContext(stream)


def synchronize(device=None) -> None:
    """Wait until everything recorded on this thread has run."""
    sync()
