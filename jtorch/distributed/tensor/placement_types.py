"""``torch.distributed.tensor.placement_types``: :mod:`.placements` under PyTorch's name."""

from .placements import Partial, Placement, Replicate, Shard, _StridedShard

__all__ = ["Partial", "Placement", "Replicate", "Shard", "_StridedShard"]
