"""``torch.utils.data._utils``: where PyTorch keeps what joins samples."""

from . import collate, pin_memory, worker

#: How many seconds PyTorch's loaders wait before they look whether the other side is alive.
MP_STATUS_CHECK_INTERVAL = 5.0

__all__ = ["MP_STATUS_CHECK_INTERVAL", "collate", "pin_memory", "worker"]
