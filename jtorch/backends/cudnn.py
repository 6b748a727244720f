"""cuDNN's switches. XLA autotunes and picks algorithms by itself, so ``benchmark`` is kept for reading back."""

import contextlib

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    from .. import cuda

    return cuda.is_available()


def version():
    """cuDNN's version: None, XLA does not tell."""
    return None


class flags(contextlib.ContextDecorator):
    """``with flags(enabled=..., benchmark=...):`` set the switches inside the block, or in a decorated function."""

    def __init__(self, **values):
        self.values = values

    def __enter__(self):
        self.before = {k: globals()[k] for k in self.values}
        globals().update(self.values)

    def __exit__(self, *exc):
        globals().update(self.before)
