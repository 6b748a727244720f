"""``torch._inductor``: PyTorch's code generator. XLA is the one here; programs that tune the other still run."""

from . import config, utils

__all__ = ["config", "utils"]
