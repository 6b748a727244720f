"""An exception of a launched process, left in a file for the launcher's summary."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import traceback


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
