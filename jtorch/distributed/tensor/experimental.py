"""``torch.distributed.tensor.experimental``."""

from __future__ import annotations

import contextlib

from ..rank_mesh import several_processes


@contextlib.contextmanager
def implicit_replication():
    """Inside, plain tensors among DTensors count as replicated. In one process they always do."""
    if not several_processes():
        yield
        return
    from .ranked import implicit_replication as on_every_rank

    with on_every_rank():
        yield


__all__ = ["implicit_replication"]
