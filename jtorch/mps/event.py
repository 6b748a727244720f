"""``torch.mps.event``: the event of :mod:`jtorch.mps`, under PyTorch's second name."""

from . import Event

__all__ = ["Event"]
