"""Data pipes, data sets in chained steps: ``pipe.map(f).shuffle().batch(4)``; by stream (``iter``) or key (``map``)."""

from . import iter, map  # noqa: A004 (PyTorch's names)

__all__ = ["iter", "map"]
