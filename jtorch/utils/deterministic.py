"""``torch.utils.deterministic``: what deterministic mode does besides choosing operations."""

from .. import config

#: In deterministic mode, tensors of unspecified content (``torch.empty``) are filled with NaN, and those of integers
#: with their largest number, so that a program that reads them shows it. At other times these hold zeros here.
fill_uninitialized_memory: bool = True

config.fills_unwritten = lambda: fill_uninitialized_memory
