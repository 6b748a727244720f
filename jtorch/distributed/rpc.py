"""``torch.distributed.rpc``: as in a PyTorch that was built without it, there is nothing but the question."""


def is_available() -> bool:
    """Whether functions can be called in other processes: no."""
    return False
