"""Utilities around training programs: data loading, checkpointing, benchmarking, logging."""

from importlib import import_module as _import_module

from jtorch.utils import data

_ON_USE = ("benchmark", "checkpoint", "cpp_extension", "dlpack", "hooks", "model_zoo", "tensorboard", "_pytree")


def __getattr__(name):
    if name in _ON_USE:
        return _import_module(f"jtorch.utils.{name}")
    raise AttributeError(f"module 'jtorch.utils' has no attribute {name!r}")
