"""Placements, under the name they had in ``torch.distributed._tensor``."""

from ..tensor.placements import Partial, Placement, Replicate, Shard

__all__ = ["Partial", "Placement", "Replicate", "Shard"]
