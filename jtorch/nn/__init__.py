"""Neural networks: parameters, modules, their functional forms, initial values and helpers."""

from . import functional, init, modules, torch_names, utils
from .modules import *  # noqa: F403
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
