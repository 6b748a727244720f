"""``torch.distributed.autograd``: as in a PyTorch that was built without it, there is nothing but the question."""


def is_available() -> bool:
    """Whether backward goes through calls of other processes: no."""
    return False
