"""``torch.futures``: results that arrive later, on ``concurrent.futures``."""

from __future__ import annotations

import concurrent.futures
import itertools
from typing import Generic, TypeVar

T = TypeVar("T")


class Future(Generic[T]):
    """A value set once by :meth:`set_result` or :meth:`set_exception`."""

    def __init__(self, *, devices=None):
        self._future: concurrent.futures.Future = concurrent.futures.Future()

    def done(self) -> bool:
        """Whether there is a value or an exception."""
        return self._future.done()

    def wait(self):
        """Block until there is one; returns the value or raises the exception."""
        try:
            return self._future.result()
        finally:
            del self  # else the exception's traceback holds this frame, and it the exception

    def value(self):
        """The value of a completed future.

        Raises:
            RuntimeError: it is not completed.
        """
        if not self.done():
            raise RuntimeError("value() called on a Future that is not completed; call wait()")
        return self._future.result()

    def set_result(self, result) -> None:
        """Complete with a value.

        Raises:
            RuntimeError: it is completed already.
        """
        try:
            self._future.set_result(result)
        except concurrent.futures.InvalidStateError:
            raise RuntimeError(
                "Attempting to mark a completed Future as complete again. Note that a Future can only be marked "
                "completed once."
            ) from None

    def set_exception(self, result: BaseException) -> None:
        """Complete with an exception."""
        self._future.set_exception(result)

    def add_done_callback(self, callback) -> None:
        """Call ``callback(self)`` on completion."""
        self._future.add_done_callback(lambda _: callback(self))

    def then(self, callback) -> Future:
        """A future of ``callback(self)``."""
        result = Future()

        def run(_):
            try:
                result.set_result(callback(self))
            except BaseException as error:  # noqa: BLE001 (handed on to whoever waits)
                result.set_exception(error)

        self._future.add_done_callback(run)
        return result


def collect_all(futures) -> Future:
    """A future of the list of futures, complete when all are."""
    futures = list(futures)
    result = Future()
    left = itertools.count(len(futures) - 1, -1)  # counting down is one step, whichever thread a future ends on
    if not futures:
        result.set_result(futures)

    def one_done(_):
        if next(left) == 0:
            result.set_result(futures)

    for f in futures:
        f.add_done_callback(one_done)
    return result


def wait_all(futures) -> list:
    """The values of all futures, waiting for each; the first exception is raised."""
    return [f.wait() for f in collect_all(futures).wait()]
