"""The kind of backend the program being traced will run on, for ops that lower differently on each."""

from __future__ import annotations

import threading
from contextlib import contextmanager


class _State(threading.local):
    platform = "cpu"


_state = _State()


def platform() -> str:
    """``"cpu"``, ``"cuda"`` or ``"tpu"``."""
    return _state.platform


@contextmanager
def using(name: str):
    """Trace ops for this platform inside the block."""
    before, _state.platform = _state.platform, name
    try:
        yield
    finally:
        _state.platform = before
