"""The old name of :mod:`jtorch.ao.quantization`."""

from .ao.quantization import *  # noqa: F403
