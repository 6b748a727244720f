"""Switches of recording, under the module name that PyTorch gives them."""

from ..tape.modes import enable_grad, inference_mode, no_grad, set_grad_enabled


class set_multithreading_enabled:
    """Accepted, as a call and as a context manager: the walk back records programs, on one thread."""

    def __init__(self, mode: bool):
        self.mode = bool(mode)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled", "set_multithreading_enabled"]
