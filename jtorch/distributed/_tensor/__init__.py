"""``torch.distributed._tensor``: the name :mod:`jtorch.distributed.tensor` had before it was public."""

from ..tensor import *  # noqa: F403
from ..tensor import __all__  # noqa: F401
