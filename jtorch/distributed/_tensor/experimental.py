"""``torch.distributed._tensor.experimental``: the name :mod:`..tensor.experimental` had before."""

from ..tensor.experimental import *  # noqa: F403
from ..tensor.experimental import __all__  # noqa: F401
