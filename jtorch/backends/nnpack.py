"""Whether PyTorch's nnpack backend is present: it is not, XLA brings its own kernels."""

import contextlib


def is_available() -> bool:
    return False


def set_flags(_enabled: bool) -> tuple[bool]:
    """Nothing to switch: the backend is not there. Returns what was set before: it was off."""
    return (False,)


@contextlib.contextmanager
def flags(enabled: bool = False):
    """Nothing to switch: the backend is not there."""
    yield
