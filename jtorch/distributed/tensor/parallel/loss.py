"""``loss_parallel``: cross entropy of scores that lie in parts along the classes."""

from __future__ import annotations

from contextlib import contextmanager

from ...rank_mesh import several_processes


@contextmanager
def loss_parallel():
    """Compute ``cross_entropy`` on scores sharded over the class dimension without gathering them.

    In one process XLA partitions every loss by how its operands lie, inside this context and outside. In several, three
    numbers of each row go over the ranks within it; without, the scores.
    """
    if not several_processes():
        yield
        return
    from ..functions import loss

    before, loss.parallel = loss.parallel, True
    try:
        yield
    finally:
        loss.parallel = before
