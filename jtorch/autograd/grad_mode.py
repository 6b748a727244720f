"""Switches of recording, under the module name that PyTorch gives them."""

from ..tape.modes import enable_grad, inference_mode, no_grad, set_grad_enabled


class set_multithreading_enabled:
    """Accepted, as a call and as a context manager: the walk back records programs, on one thread."""

    _enabled = True

    def __init__(self, mode: bool):
        self._before = set_multithreading_enabled._enabled
        self.mode = set_multithreading_enabled._enabled = bool(mode)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        set_multithreading_enabled._enabled = self._before
        return False

    def clone(self):
        return self.__class__(self.mode)


def is_multithreading_enabled() -> bool:
    """What :class:`set_multithreading_enabled` was last told."""
    return set_multithreading_enabled._enabled


__all__ = [
    "enable_grad", "inference_mode", "is_multithreading_enabled", "no_grad", "set_grad_enabled",
    "set_multithreading_enabled",
]  # fmt: skip
