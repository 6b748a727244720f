"""Distributed tensors: ordinary tensors that lie on a mesh of devices."""

from ..device_mesh import DeviceMesh, init_device_mesh
from . import parallel
from .dtensor import DTensor, distribute_tensor, empty, full, ones, rand, randn, zeros
from .modules import distribute_module
from .placements import Partial, Placement, Replicate, Shard

__all__ = [
    "DTensor", "DeviceMesh", "Partial", "Placement", "Replicate", "Shard", "distribute_module", "distribute_tensor",
    "empty", "full", "init_device_mesh", "ones", "parallel", "rand", "randn", "zeros",
]  # fmt: skip
