"""Where the user's program is, for messages that name their line and not ours."""

from __future__ import annotations

import os
import sys
import warnings

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


def user_line() -> str:
    """``file:line`` of the innermost frame outside jtorch (``"<unknown>"`` when there is none)."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_OURS) and not name.startswith("<jtorch"):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "<unknown>"


class _Once:
    """What :func:`warn_once` has said; with ``always`` it says it every time."""

    always = False
    said: set[str] = set()


once = _Once()


def warn_once(message: str, stacklevel: int) -> None:
    """Warn of what a program does, the first time; ``stacklevel`` counts from the caller as in ``warnings.warn``."""
    if once.always or message not in once.said:
        once.said.add(message)
        warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)


class TorchDynamoException(RuntimeError):
    """A function cannot be compiled or exported as was asked."""


class NoDeviceError(RuntimeError, AssertionError):
    """There is no such device: PyTorch's builds without a platform raise the one, those without a device the other."""


class AcceleratorError(RuntimeError):
    """A device failed."""


class OutOfMemoryError(RuntimeError):
    """The device's memory is exhausted."""
