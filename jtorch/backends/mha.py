"""The switch of PyTorch's fused inference path of attention layers. Kept for reading: XLA fuses both paths alike."""

_enabled = True


def get_fastpath_enabled() -> bool:
    """What :func:`set_fastpath_enabled` was last given; True at first."""
    return _enabled


def set_fastpath_enabled(value: bool) -> None:
    """Keep the switch."""
    global _enabled
    _enabled = value
