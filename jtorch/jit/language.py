"""Names by which programs talk to TorchScript's compiler. Python is run as it is, so most of them change nothing."""

from __future__ import annotations

import builtins
from contextlib import contextmanager, nullcontext
from typing import Any, Final, get_args, get_origin

from ..compiler.state import state
from ..futures import Future


def is_scripting() -> bool:
    """Always false: code runs in Python, never in TorchScript's interpreter."""
    return False


def is_tracing() -> bool:
    """Whether the caller is inside :func:`jtorch.jit.trace`."""
    return state.tracing


def annotate(the_type, the_value):
    """``the_value``."""
    return the_value


def Attribute(value, type):  # noqa: N802 (PyTorch's name)
    """``value``."""
    return value


def _unwrap_optional(x):
    """``x``, which is not None."""
    assert x is not None, "Unwrapping null optional"
    return x


def ignore(drop=False, **kwargs):
    """The function as it is; ``@ignore`` and ``@ignore(drop=True)``."""
    return drop if callable(drop) else lambda fn: fn


def _itself(fn):
    return fn


unused = export = script_method = script_if_tracing = _script_if_tracing = _itself
_overload = _overload_method = _itself


def interface(obj):
    """The class as it is."""
    return obj


def isinstance(obj, target_type) -> bool:  # noqa: A001 (PyTorch's name)
    """``isinstance`` that looks into ``List[int]``, ``Dict[str, Tensor]``, ``Tuple[...]`` and ``Optional[...]``."""
    kinds = target_type if builtins.isinstance(target_type, tuple) else (target_type,)
    return any(_fits(obj, kind) for kind in kinds)


def _fits(obj, kind) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is None:
        return kind is Any or (obj is None if kind is None else builtins.isinstance(obj, kind))
    if not builtins.isinstance(origin, type):  # Optional, Union
        return any(_fits(obj, k) for k in inner)
    if not builtins.isinstance(obj, origin):
        return any(_fits(obj, k) for k in inner) if origin.__name__ == "UnionType" else False
    if origin is dict:
        return all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in obj.items())
    if origin is tuple:
        return len(obj) == len(inner) and all(_fits(x, k) for x, k in zip(obj, inner, strict=True))
    return all(_fits(x, inner[0]) for x in obj)


def fork(func, *args, **kwargs) -> Future:
    """Run ``func`` now: operations run asynchronously in any case."""
    future = Future()
    future.set_result(func(*args, **kwargs))
    return future


def wait(future: Future):
    """The result of a :func:`fork`."""
    return future.wait()


@contextmanager
def fuser(name: str):
    """Accepted: XLA fuses."""
    yield


@contextmanager
def optimized_execution(should_optimize: bool):
    """Accepted."""
    yield


_onednn_fusion = False


def enable_onednn_fusion(enabled: bool) -> None:
    """Accepted: XLA fuses, with or without oneDNN."""
    global _onednn_fusion
    _onednn_fusion = enabled


def onednn_fusion_enabled() -> bool:
    """What :func:`enable_onednn_fusion` was last given."""
    return _onednn_fusion


_fusion_strategy = [("STATIC", 2), ("DYNAMIC", 10)]  # PyTorch's


def set_fusion_strategy(strategy: list) -> list:
    """Accepted, XLA fuses; returns the strategy that was set before."""
    global _fusion_strategy
    before, _fusion_strategy = _fusion_strategy, list(strategy)
    return before


class strict_fusion(nullcontext):  # noqa: N801 (PyTorch's name)
    """Accepted: XLA fuses whatever it can."""


__all__ = [
    "Attribute", "Final", "Future", "annotate", "enable_onednn_fusion", "export", "fork", "fuser", "ignore",
    "interface", "is_scripting", "is_tracing", "isinstance", "onednn_fusion_enabled", "optimized_execution",
    "script_if_tracing", "script_method", "set_fusion_strategy", "strict_fusion", "unused", "wait",
]  # fmt: skip
