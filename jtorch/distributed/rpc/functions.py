"""``torch.distributed.rpc.functions``."""

from __future__ import annotations

import functools


def async_execution(fn):
    """Mark a function that returns a :class:`jtorch.futures.Future`: its caller gets the future's value, and no thread
    of the worker waits for it meanwhile. Put it below ``@staticmethod`` and ``@classmethod``.
    """

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    wrapper._rpc_async_execution = True
    return wrapper


__all__ = ["async_execution"]
