"""Where the user's program is, for messages that name their line and not ours."""

from __future__ import annotations

import os
import sys

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


class TorchDynamoException(RuntimeError):
    """A function cannot be compiled or exported as was asked."""


class NoDeviceError(RuntimeError, AssertionError):
    """There is no such device: PyTorch's builds without a platform raise the one, those without a device the other."""


class AcceleratorError(RuntimeError):
    """A device failed."""


class OutOfMemoryError(RuntimeError):
    """The device's memory is exhausted."""
