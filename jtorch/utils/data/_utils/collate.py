"""Joining samples: the functions of :mod:`jtorch.utils.data.collate` under PyTorch's path."""

from jtorch.utils.data.collate import *  # noqa: F403
from jtorch.utils.data.collate import default_collate, default_convert

__all__ = ["default_collate", "default_convert"]
