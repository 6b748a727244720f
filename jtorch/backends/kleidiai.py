"""Whether PyTorch's kleidiai backend is present: it is not, XLA brings its own kernels."""


def is_available() -> bool:
    return False
