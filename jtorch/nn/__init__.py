"""Neural networks: parameters, modules, their functional forms, initial values and helpers."""

from . import _reduction, functional, grad, init, modules, torch_names, utils
from .modules import *  # noqa: F403
from .modules.utils import factory_kwargs
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

functional.grad = grad  # PyTorch has it there too


def __getattr__(name: str):
    if name in ("intrinsic", "qat", "quantized"):  # older names of packages above this one
        import importlib

        return importlib.import_module(f"jtorch.ao.nn.{name}")
    if name == "attention":
        import importlib

        return importlib.import_module(f"{__name__}.attention")
    if name in ("parallel", "DataParallel"):  # imported on first use: it needs the distributed package
        import importlib

        parallel = importlib.import_module(f"{__name__}.parallel")
        return parallel if name == "parallel" else parallel.DataParallel
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
