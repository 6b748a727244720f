"""``torch.cpu.amp``: :mod:`jtorch.amp` for the CPU."""

from ..amp.legacy import of_device as _of_device

__all__ = ["GradScaler", "autocast"]

autocast, GradScaler = _of_device("cpu")
