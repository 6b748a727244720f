"""``loss_parallel``: cross entropy of scores that lie in parts along the classes."""

from __future__ import annotations

from contextlib import contextmanager


@contextmanager
def loss_parallel():
    """Compute ``cross_entropy`` on scores sharded over the class dimension without gathering them.

    Here XLA partitions every loss by how its operands lie, inside this context and outside: it changes nothing.
    """
    yield
