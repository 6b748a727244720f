"""References to values that lie in another worker.

The owner keeps a value for as long as somebody refers to it: it counts the references that other workers hold. One
that travels in a call is counted before it leaves (so that the value cannot go while it is on its way), and counted
off when the object it became is collected.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import itertools
import queue
import threading
import weakref
from collections.abc import Callable

from ...futures import Future
from . import calls
from .agent import WorkerInfo
from .deadlines import expired

_numbers = itertools.count()
_lock = threading.Lock()
#: the values this worker owns, or is about to, by reference
_values: dict[tuple, Future] = {}
_counts: dict[tuple, int] = {}


class RRef:
    """A value of this worker (``RRef(value)``), or of another that :func:`.calls.remote` made there."""

    def __init__(self, value, type_hint=None):
        future = Future()
        future.set_result(value)
        self._become(_new_key(), calls.agent().me)
        with _lock:
            _values[self._key] = future
            _counts[self._key] = 1

    def _become(self, key: tuple, owner: WorkerInfo) -> RRef:
        self._key, self._owner = key, owner
        self._taken: Future | None = None  # of the call that makes the value: when its owner has taken it
        _drop_forgotten()
        weakref.finalize(self, _forgotten.put, (key, owner)).atexit = False
        return self

    def owner(self) -> WorkerInfo:
        """The worker that holds the value."""
        return self._owner

    def owner_name(self) -> str:
        return self._owner.name

    def is_owner(self) -> bool:
        """Whether that is this worker."""
        return self._owner.id == calls.agent().me.id

    def confirmed_by_owner(self) -> bool:
        """Whether the owner knows of this reference: always, it is told before others."""
        return True

    def local_value(self):
        """The value, in its owner.

        Raises:
            RuntimeError: this worker is not the owner.
        """
        if not self.is_owner():
            raise RuntimeError(
                f"For {self!r}, can't call localValue() on user {calls.agent().me!r}. Call it on owner {self._owner!r}"
            )
        return _future(self._key).wait()

    def to_here(self, timeout: float = calls.UNSET):
        """The value, copied from its owner if that is another worker.

        Raises:
            Exception: what the function raised that was to make it; RuntimeError after ``timeout`` seconds.
        """
        if self._taken is not None and self._taken.done():
            self._taken.wait()  # raises what kept the owner from taking the call
        if not self.is_owner():
            return calls.rpc_sync(self._owner, _value_of, (self._key,), timeout=timeout)
        value, seconds = _future(self._key), calls.seconds_of(timeout)
        try:
            return value._future.result(seconds)
        except concurrent.futures.TimeoutError:
            if value.done():
                raise  # it is what the function raised
            raise RuntimeError(expired(seconds)) from None
        finally:
            del value  # else the exception in it holds this frame, and so this reference

    def rpc_sync(self, timeout: float = calls.UNSET):
        """``rref.rpc_sync().method(...)`` calls a method of the value in its owner."""
        return _Methods(self, calls.rpc_sync, timeout)

    def rpc_async(self, timeout: float = calls.UNSET):
        """As :meth:`rpc_sync`, with a future for the result."""
        return _Methods(self, calls.rpc_async, timeout)

    def remote(self, timeout: float = calls.UNSET):
        """As :meth:`rpc_sync`, with an RRef for the result."""
        return _Methods(self, calls.remote, timeout)

    def __reduce__(self):
        if calls._agent is None:
            raise RuntimeError("RRefs can be pickled in the arguments and results of RPC only")
        _at_owner(self._owner, _add, self._key)
        return _arrived, (self._key, tuple(self._owner))

    def __repr__(self) -> str:
        kind = "OwnerRRef" if calls._agent is not None and self.is_owner() else "UserRRef"
        return f"{kind}({'.'.join(map(str, self._key))} of {self._owner.name})"


class _Methods:
    def __init__(self, rref: RRef, call: Callable, timeout: float):
        self._rref, self._call, self._timeout = rref, call, timeout

    def __getattr__(self, name: str):
        def method(*args, **kwargs):
            return self._call(self._rref._owner, _method, (self._rref, name, args, kwargs), timeout=self._timeout)

        return method


def made_at(owner: WorkerInfo, func: Callable, args: tuple, kwargs: dict, timeout: float = calls.UNSET) -> RRef:
    """A reference to what ``func(*args, **kwargs)`` returns in ``owner``."""
    rref = object.__new__(RRef)._become(_new_key(), owner)
    if rref.is_owner():
        _add(rref._key)
    request = rref._key, not rref.is_owner(), func, args, kwargs
    rref._taken = calls.agent().call(owner, _make, request, {}, calls.seconds_of(timeout))
    return rref


def _new_key() -> tuple:
    return calls.agent().me.id, next(_numbers)


def _future(key: tuple) -> Future:
    with _lock:
        return _values.setdefault(key, Future())


# --- what others call in the owner


def _make(key: tuple, counted: bool, func: Callable, args: tuple, kwargs: dict) -> None:
    if counted:
        _add(key)
    future = _future(key)

    def unless_forgotten(_) -> None:
        with _lock:  # nobody asks any more?
            value = None if key in _counts else _values.pop(key, None)
        del value

    future.add_done_callback(unless_forgotten)
    calls.agent().serve(func, args, kwargs, future)


def _value_of(key: tuple):
    return _future(key).wait()


def _method(rref: RRef, name: str, args: tuple, kwargs: dict):
    result = getattr(rref.local_value(), name)(*args, **kwargs)
    return result.wait() if isinstance(result, Future) else result


def _add(key: tuple) -> None:
    _count(key, 1)


def _drop(key: tuple) -> None:
    _count(key, -1)


def _count(key: tuple, more: int) -> None:
    with _lock:  # calls overtake each other: a reference may be gone before its value is to be made
        count = _counts[key] = _counts.get(key, 0) + more
        value = None if count else _values.pop(key, None)
        if not count:
            del _counts[key]
    del value  # not under the lock: there may be references in it


# --- references that come and go


def _at_owner(owner: WorkerInfo, what: Callable, key: tuple) -> None:
    if owner.id == calls.agent().me.id:
        what(key)
    else:
        calls.rpc_sync(owner, what, (key,))


def _arrived(key: tuple, owner: tuple) -> RRef:
    return object.__new__(RRef)._become(key, WorkerInfo(*owner))


#: What a finalizer leaves to a thread: it may run anywhere, also while this thread holds one of our locks.
_forgotten: queue.SimpleQueue[tuple[tuple, WorkerInfo]] = queue.SimpleQueue()


@functools.cache
def _drop_forgotten() -> None:
    """Start that thread."""

    def run():
        while True:
            key, owner = _forgotten.get()
            with contextlib.suppress(RuntimeError):  # RPC, or that worker, has ended
                agent = calls.agent()
                _drop(key) if owner.id == agent.me.id else agent.call(owner, _drop, (key,), {})

    threading.Thread(target=run, name="rpc references", daemon=True).start()


__all__ = ["RRef"]
