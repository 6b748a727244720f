"""``torch.cpu``: the CPU, asked the questions one asks of an accelerator."""

from __future__ import annotations

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


def synchronize(device=None) -> None:
    """Wait until everything recorded on this thread has run."""
    sync()
