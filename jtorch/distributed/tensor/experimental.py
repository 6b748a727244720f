"""``torch.distributed.tensor.experimental``."""

from __future__ import annotations

import contextlib


@contextlib.contextmanager
def implicit_replication():
    """Inside, plain tensors among DTensors count as replicated. Here they always do, so there is nothing to set."""
    yield


__all__ = ["implicit_replication"]
