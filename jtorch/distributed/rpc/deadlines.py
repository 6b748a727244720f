"""Futures that fail when they are not completed in time, watched by one thread."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref

from ...futures import Future


def settle(future: Future, value=None, error: BaseException | None = None) -> None:
    """Complete a future, unless that was done: an answer and its deadline may come together."""
    try:
        future.set_result(value) if error is None else future.set_exception(error)
    except Exception:
        if not future.done():
            raise


class Deadlines:
    """Fails futures when their time is over; the thread begins with the first."""

    def __init__(self):
        self._due: list[tuple[float, int, float, weakref.ref[Future]]] = []
        self._numbers = itertools.count()  # so that futures are never compared
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, future: Future, seconds: float) -> None:
        """Let ``future`` fail with RuntimeError after so many seconds."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), seconds, weakref.ref(future)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="rpc deadlines", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _watch(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._changed.wait()
                    continue
                left = self._due[0][0] - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                _, _, seconds, reference = heapq.heappop(self._due)
            future = reference()
            if future is not None and not future.done():
                settle(future, error=RuntimeError(expired(seconds)))
            del future


def expired(seconds: float) -> str:
    return f"RPC ran for more than set timeout ({seconds * 1000:.0f} ms) and will now be marked with an error"


__all__ = ["Deadlines", "expired", "settle"]
