"""``torch.xpu``: Intel's GPUs, which jtorch does not run on; programs ask and are told so."""


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing to seed; programs call it next to ``torch.manual_seed``."""


def empty_cache() -> None:
    """Nothing to empty."""


def synchronize(device=None) -> None:
    """Raises RuntimeError: there is no such device."""
    raise RuntimeError("torch.xpu.synchronize: jtorch has no xpu devices; torch.accelerator names the one there is")


__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "synchronize"]
