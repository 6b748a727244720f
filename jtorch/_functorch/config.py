"""``torch._functorch.config``: settings of PyTorch's ahead-of-time autograd. They are kept, and govern nothing."""

from __future__ import annotations

import sys

from .._inductor.config import _Config

sys.modules[__name__].__class__ = _Config
