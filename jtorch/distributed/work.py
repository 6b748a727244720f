"""What a collective called with ``async_op=True`` returns."""

from __future__ import annotations

import contextlib

import jax


class Work:
    """An operation under way. Its tensors may be used at once: whoever needs their content waits for it.

    Args:
        tokens: arrays that are there when the operation has finished.
        finish: called once by the first :meth:`wait`, for what remains to be done then.
    """

    def __init__(self, group=None, name: str = "", tokens=(), result=None, finish=None):
        self._group, self._name, self._tokens, self._result, self._finish = group, name, tokens, result, finish
        self._error: Exception | None = None
        self._waited = False

    def wait(self, timeout=None) -> bool:
        """Wait for the end of the operation; True.

        Raises:
            DistBackendError: it failed.
        """
        if self._waited:
            if self._error is not None:
                raise self._error
            return True
        self._waited = True
        job = None if self._group is None else self._group._job
        try:
            with contextlib.nullcontext() if job is None else job.during(self._name, self._group._ranks, started=True):
                if self._finish is not None:
                    self._finish()
                jax.block_until_ready(self._tokens)
        except Exception as error:
            self._error = error
            raise
        return True

    def is_completed(self) -> bool:
        """Whether the operation has finished."""
        return self._waited or self._finish is None and all(a.is_ready() for a in self._tokens)

    def is_success(self) -> bool:
        """Whether it has finished without an error."""
        return self.is_completed() and self._error is None

    def exception(self) -> Exception | None:
        """The error it ended with."""
        return self._error

    def result(self) -> list:
        """The tensors it wrote."""
        self.wait()
        return list(self._result or [])

    def synchronize(self) -> None:
        """As :meth:`wait`."""
        self.wait()

    def get_future(self) -> Future:
        """The operation as a future of its tensors."""
        return Future(self)


class Future:
    """The result of a :class:`Work`, and what :meth:`then` makes of it."""

    def __init__(self, work: Work, make=None):
        self._work, self._make, self._value = work, make, None

    def wait(self):
        """The value, once it is there."""
        if self._make is not None:
            self._value, self._make = self._make(), None
            return self._value
        if self._value is None:
            self._work.wait()
            self._value = list(self._work._result or [])
        return self._value

    value = wait

    def done(self) -> bool:
        """Whether :meth:`wait` would not wait."""
        return self._work.is_completed()

    def then(self, callback) -> Future:
        """The future of ``callback(this)``."""
        return Future(self._work, lambda: callback(self))
