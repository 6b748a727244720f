"""``torch.distributed._composable``: where :func:`fully_shard` was before it was public."""

from .fsdp import fully_shard

__all__ = ["fully_shard"]
