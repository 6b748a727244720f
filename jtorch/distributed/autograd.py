"""``torch.distributed.autograd``: as in a PyTorch that was built without it, there is nothing but the question."""


def is_available() -> bool:
    """Whether backward goes through calls of other processes: no."""
    return False


class context:
    """A context of distributed autograd.

    Raises:
        RuntimeError: it is entered; there is no distributed autograd.
    """

    def __enter__(self):
        raise RuntimeError("torch.distributed.autograd is not available: use torch.distributed's collectives")

    def __exit__(self, *error):
        return None


__all__ = ["context", "is_available"]
