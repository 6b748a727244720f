"""An exception of a launched process, left in a file for the launcher's summary."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import time
import traceback
from typing import NamedTuple


class ProcessFailure(NamedTuple):
    """How one process of a job ended."""

    local_rank: int
    pid: int
    exitcode: int  #: minus the number of the signal, if one ended it
    error_file: str
    message: str  #: of the exception that :func:`record` wrote down
    timestamp: int

    def signal_name(self) -> str:
        """The name of the signal that ended it, or ``<N/A>``."""
        return signal.Signals(-self.exitcode).name if self.exitcode < 0 else "<N/A>"

    def line(self, rank: int) -> str:
        """This in a line for the summary, and one more for the message."""
        how = f"signal {-self.exitcode} ({self.signal_name()})" if self.exitcode < 0 else f"exit code {self.exitcode}"
        said = f"\n    {self.message}" if self.message else ""
        return f"  rank {rank} (local_rank {self.local_rank}, pid {self.pid}): {how}{said}"


class ChildFailedError(Exception):
    """A job failed: ``failures`` says by rank how."""

    def __init__(self, name: str, failures: dict[int, ProcessFailure]):
        self.name, self.failures = name, failures
        super().__init__("\n".join([f"{name} FAILED", *(f.line(rank) for rank, f in failures.items())]))

    def get_first_failure(self) -> tuple[int, ProcessFailure]:
        """The earliest, with its rank."""
        return min(self.failures.items(), key=lambda entry: entry[1].timestamp)


def record(fn, error_handler=None):
    """A decorator for a script's main function: its uncaught exception is also named in ``jtorchrun``'s summary.

    ``error_handler`` may be given for its name's sake only, as None.

    Raises:
        NotImplementedError: an ``error_handler`` is given.
    """
    if error_handler is not None:
        raise NotImplementedError("record() writes errors itself; error_handler must be None")

    @functools.wraps(fn)
    def recorded(*args, **kwargs):
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            write(error)
            raise

    return recorded


def write(error: BaseException) -> None:
    """Write an error to the file that the launcher named, if it did."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    content = {
        "message": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "timestamp": int(time.time()),
    }
    with contextlib.suppress(OSError):  # the exception itself matters more
        with open(f"{path}.new", "w") as file:
            json.dump(content, file)
        os.replace(f"{path}.new", path)


def read(path: str) -> dict | None:
    """What :func:`write` left at ``path``; None if there is nothing readable."""
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
