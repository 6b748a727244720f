"""Loader processes: :mod:`jtorch.utils.data.worker` under PyTorch's path."""

from jtorch.utils.data.worker import *  # noqa: F403
from jtorch.utils.data.worker import _generate_state, get_worker_info

_worker_info = None  # programs that reset what their own process was told set it

__all__ = ["_generate_state", "get_worker_info"]
