"""Meshes, under the name they had in ``torch.distributed._tensor``."""

from ..device_mesh import DeviceMesh, init_device_mesh

__all__ = ["DeviceMesh", "init_device_mesh"]
