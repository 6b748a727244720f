"""Neural networks: parameters, modules, their functional forms, initial values and helpers."""

from . import functional, init, modules, utils
from .modules import *  # noqa: F403
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
