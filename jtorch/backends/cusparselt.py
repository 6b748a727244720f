"""Whether PyTorch's cusparselt backend is present: it is not, XLA brings its own kernels."""


def is_available() -> bool:
    return False


def version() -> int | None:
    """None: it is not there."""
    return None


def get_max_alg_id() -> int | None:
    """None: it is not there."""
    return None
