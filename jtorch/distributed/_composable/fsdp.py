"""``torch.distributed._composable.fsdp``: the name of :mod:`jtorch.distributed.fsdp` before it was public."""

from ..fsdp import *  # noqa: F403
from ..fsdp import __all__  # noqa: F401
