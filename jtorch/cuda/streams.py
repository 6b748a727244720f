"""Streams and events, as programs written for GPUs use them.

XLA runs the programs of a device in the order they were started, so there is one stream: every ``Stream`` stands for
it, waiting for another stream is already the case, and an ``Event`` is a point in Python's own order.
"""

from __future__ import annotations

import contextlib
import time

from ..trace.recorder import sync


class Stream:
    """The device's one queue of programs. ``with stream:`` changes nothing."""

    def __init__(self, device=None, priority: int = 0, **_):
        self.device, self.priority = device, priority
        self.stream_id = self.cuda_stream = 0

    def synchronize(self) -> None:
        """Wait until everything recorded so far has run."""
        sync()

    def query(self) -> bool:
        """Whether everything started has finished; this waits for it, and so answers True."""
        sync()
        return True

    def wait_stream(self, stream) -> None:
        """Already so: programs run in the order they were started."""

    def wait_event(self, event) -> None:
        """Already so: programs run in the order they were started."""

    def record_event(self, event=None):
        """Record ``event`` (a new one by default) and return it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return False

    def __eq__(self, other):
        return isinstance(other, Stream)

    def __hash__(self):
        return hash(Stream)

    def __repr__(self) -> str:
        return f"<torch.Stream device={self.device}>"


class Event:
    """A point in the program. With ``enable_timing``, recording one waits for the device, so that the time is true."""

    def __init__(self, device=None, *, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False):
        self.device, self.enable_timing = device, enable_timing
        self._time: float | None = None

    def record(self, stream=None) -> None:
        """Mark this point; with timing, once everything before it has run."""
        if self.enable_timing:
            sync()
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        """Wait until everything before this point has run."""
        sync()

    def wait(self, stream=None) -> None:
        """Already so: programs run in the order they were started."""

    def query(self) -> bool:
        """Whether everything before this point has run; this waits for it, and so answers True."""
        sync()
        return True

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to ``end_event``.

        Raises:
            RuntimeError: one of them was not recorded, or made without ``enable_timing``.
        """
        if not (self.enable_timing and end_event.enable_timing):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if self._time is None or end_event._time is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        return (end_event._time - self._time) * 1e3


class DeviceEvent(Event):
    """``torch.cuda.Event``: an :class:`Event` of the present device."""

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, external: bool = False
    ):
        super().__init__(enable_timing=enable_timing, blocking=blocking, interprocess=interprocess)


class ExternalStream(Stream):
    """A stream that another library has made: refused, because XLA would not put its programs there."""

    def __init__(self, stream_ptr, device=None, **_):
        raise NotImplementedError(
            "ExternalStream: XLA runs its programs in streams of its own; call torch.cuda.synchronize() before the "
            "other library reads what jtorch computes"
        )


def current_stream(device=None) -> Stream:
    """The device's stream."""
    return Stream(device)


default_stream = current_stream


def set_stream(stream) -> None:
    """Accepted: there is one stream."""


@contextlib.contextmanager
def stream(stream):
    """``with stream(s):`` changes nothing: there is one stream."""
    yield stream


StreamContext = stream
