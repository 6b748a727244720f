"""Whether PyTorch's mkldnn backend is present: it is not, XLA brings its own kernels."""

import contextlib

enabled = False


def is_available() -> bool:
    return False


@contextlib.contextmanager
def flags(enabled: bool = False, deterministic: bool = False, allow_tf32: bool = True, fp32_precision: str = "none"):
    """Nothing to switch: the backend is not there. ``matmul`` precision is ``set_float32_matmul_precision``'s."""
    yield
