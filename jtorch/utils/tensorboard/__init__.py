"""``torch.utils.tensorboard``: event files that TensorBoard reads, written without it."""

from . import summary
from .writer import SummaryWriter

__all__ = ["SummaryWriter"]
