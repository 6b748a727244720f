"""Quantized modules: integers in, integers out (``dynamic``: floats in, floats out)."""

from . import dynamic, functional
from .modules import *  # noqa: F403
