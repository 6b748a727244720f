"""``torch.multiprocessing``: the standard library's module, started so that XLA survives it.

The start methods are ``"forkserver"`` (the default: a child of a server that has imported jtorch and started nothing),
``"spawn"`` and ``"fork"``; the last is refused once XLA runs. Tensors travel between processes by value, large ones
through anonymous shared memory where a loader sends them. There is no memory that two processes write: JAX's arrays
are immutable, so ``share_memory_`` cannot share what is written later, and says so.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import *  # noqa: F403
from multiprocessing import context as _contexts
from multiprocessing import current_process, pool

from jtorch.multiprocessing.context import CONTEXTS, DEFAULT, Process, start_server
from jtorch.multiprocessing.spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

_method: str | None = None


def get_all_start_methods() -> list[str]:
    """The start methods, the default first."""
    return list(CONTEXTS)


def get_start_method(allow_none: bool = False) -> str | None:
    """How this module's processes start; None if nobody has chosen yet and ``allow_none``."""
    return None if allow_none and _method is None else _method or DEFAULT


def set_start_method(method: str | None, force: bool = False) -> None:
    """Choose how processes start, once; None with ``force`` goes back to the default.

    Raises:
        RuntimeError: it was chosen before, and ``force`` is False.
        ValueError: there is no such method.
    """
    global _method
    if _method is not None and not force:
        raise RuntimeError("context has already been set")
    if method is not None:
        _named(method)
    _method = method


def _named(method: str):
    if method not in CONTEXTS:
        raise ValueError(f"cannot find context for {method!r}; expected one of {list(CONTEXTS)}")
    return CONTEXTS[method]


def get_context(method: str | None = None):
    """The context of a start method (default: the one chosen), with the same names as this module."""
    return _named(method or get_start_method())


def context_of(given):
    """The context that ``multiprocessing_context=`` of a loader means: None, a start method, or a context.

    The standard library's module itself is no wish for a start method.

    Raises:
        ValueError: there is no such start method.
        TypeError: it is something else.
    """
    if given is None or given is multiprocessing:
        return get_context()
    if isinstance(given, str):
        if given not in CONTEXTS:
            raise ValueError(
                "multiprocessing_context option should specify a valid start method in "
                f"{list(CONTEXTS)!r}, but got multiprocessing_context={given!r}"
            )
        return CONTEXTS[given]
    if not isinstance(given, _contexts.BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string specifying the start "
            f"method, but got multiprocessing_context={given!r}"
        )
    # A plain fork would not notice that XLA runs.
    return CONTEXTS["fork"] if given.get_start_method() == "fork" else given


_strategy = "file_descriptor"


def get_all_sharing_strategies() -> set[str]:
    """The one there is: descriptors of files without a name."""
    return {"file_descriptor"}


def get_sharing_strategy() -> str:
    """``"file_descriptor"``."""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted for ``"file_descriptor"``, and for ``"file_system"``, which programs choose to evade a limit on open
    files that does not arise here: a descriptor is closed as soon as its content is mapped.

    Raises:
        ValueError: any other name.
    """
    if new_strategy not in ("file_descriptor", "file_system"):
        raise ValueError(
            f"unknown sharing strategy {new_strategy!r}; expected one of {{'file_descriptor', 'file_system'}}"
        )


# The functions of the module are those of the context chosen, as in the standard library.
_OF_CONTEXT = (
    "Array", "Barrier", "BoundedSemaphore", "Condition", "Event", "JoinableQueue", "Lock", "Manager", "Pipe", "Pool",
    "Queue", "RLock", "RawArray", "RawValue", "Semaphore", "SimpleQueue", "Value",
)  # fmt: skip


def _of_context(name: str):
    def method(*args, **kwargs):
        return getattr(get_context(), name)(*args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = getattr(multiprocessing, name).__doc__
    return method


for _name in _OF_CONTEXT:
    globals()[_name] = _of_context(_name)
