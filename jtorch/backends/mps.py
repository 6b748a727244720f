"""Apple's GPU backend of PyTorch: not present."""


def is_available() -> bool:
    return False


def is_built() -> bool:
    return False
