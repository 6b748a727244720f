"""Utilities around training programs: data loading, checkpointing, benchmarking, logging."""

from importlib import import_module as _import_module

from jtorch.utils import data

_ON_USE = (
    "_contextlib", "_ordered_set", "_python_dispatch", "_pytree", "_triton", "benchmark", "checkpoint", "cpp_extension",
    "deterministic", "dlpack", "flop_counter", "hooks", "model_zoo", "module_tracker", "tensorboard", "weak",
)  # fmt: skip


def swap_tensors(t1, t2) -> None:
    """Exchange everything about two tensors, their classes too: who holds ``t1`` now holds what ``t2`` was.

    Raises:
        RuntimeError: one of them is a view, or weak references to it exist.
    """
    from weakref import getweakrefcount

    for t in (t1, t2):
        if t._root is not None:
            raise RuntimeError("Cannot swap tensors of which one is a view; clone() it first")
        t._accumulator = None  # made anew where gradients next arrive
        if getweakrefcount(t):
            raise RuntimeError("Cannot swap t1 and t2 because they have weakrefs associated with them")
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    first = dict(t1.__dict__)
    t1.__dict__.clear()
    t1.__dict__.update(t2.__dict__)
    t2.__dict__.clear()
    t2.__dict__.update(first)


def set_module(obj, mod) -> None:
    """Let ``obj`` say that it is defined in the module of that name.

    Raises:
        TypeError: ``mod`` is no name.
    """
    if not isinstance(mod, str):
        raise TypeError("The mod argument should be a string")
    obj.__module__ = mod


def __getattr__(name):
    if name in _ON_USE:
        return _import_module(f"jtorch.utils.{name}")
    raise AttributeError(f"module 'jtorch.utils' has no attribute {name!r}")
