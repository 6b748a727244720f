"""References to values that lie in another worker.

The owner keeps a value for as long as somebody refers to it: it counts the references that other workers hold. One
that travels in a call is counted before it leaves (so that the value cannot go while it is on its way), and counted
off when the object it became is collected.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable

from ...futures import Future
from . import calls
from .agent import WorkerInfo

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
        weakref.finalize(self, _forget, key, owner).atexit = False
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
        return _values[self._key].wait()

    def to_here(self, timeout: float = calls.UNSET):
        """The value, copied from its owner if that is another worker.

        Raises:
            Exception: what the function raised that was to make it; RuntimeError after ``timeout`` seconds.
        """
        if self.is_owner():
            return calls.wait(_values[self._key], timeout)
        return calls.rpc_sync(self._owner, _value_of, (self._key,), timeout=timeout)

    def rpc_sync(self, timeout: float = calls.UNSET):
        """``rref.rpc_sync().method(...)`` calls a method of the value in its owner."""
        return _Methods(self, lambda *a: calls.rpc_sync(*a, timeout=timeout))

    def rpc_async(self, timeout: float = calls.UNSET):
        """As :meth:`rpc_sync`, with a future for the result."""
        return _Methods(self, lambda *a: calls.rpc_async(*a, timeout=timeout))

    def remote(self, timeout: float = calls.UNSET):
        """As :meth:`rpc_sync`, with an RRef for the result."""
        return _Methods(self, lambda *a: calls.remote(*a, timeout=timeout))

    def __reduce__(self):
        if calls._agent is None:
            raise RuntimeError("RRefs can be pickled in the arguments and results of RPC only")
        _at_owner(self._owner, _add, self._key)
        return _arrived, (self._key, tuple(self._owner))

    def __repr__(self) -> str:
        kind = "OwnerRRef" if calls._agent is not None and self.is_owner() else "UserRRef"
        return f"{kind}({'.'.join(map(str, self._key))} of {self._owner.name})"


class _Methods:
    def __init__(self, rref: RRef, call: Callable):
        self._rref, self._call = rref, call

    def __getattr__(self, name: str):
        return lambda *args, **kwargs: self._call(self._rref._owner, _method, (self._rref, name, args, kwargs))


def made_at(owner: WorkerInfo, func: Callable, args: tuple, kwargs: dict) -> RRef:
    """A reference to what ``func(*args, **kwargs)`` returns in ``owner``."""
    rref = object.__new__(RRef)._become(_new_key(), owner)
    if rref.is_owner():
        _add(rref._key)
    calls.agent().call(owner, _make, (rref._key, not rref.is_owner(), func, args, kwargs), {})
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
    done = Future()
    calls.agent()._serve(func, args, kwargs, done)

    def finish(made: Future) -> None:
        try:
            future.set_result(made.wait())
        except BaseException as error:  # noqa: BLE001 (whoever asks for the value gets it)
            future.set_exception(error)
        if key not in _counts:  # nobody asks any more
            with _lock:
                _values.pop(key, None)

    done.add_done_callback(finish)


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
        if not count:
            del _counts[key]
            _values.pop(key, None)


# --- references that come and go


def _at_owner(owner: WorkerInfo, what: Callable, key: tuple) -> None:
    if owner.id == calls.agent().me.id:
        what(key)
    else:
        calls.rpc_sync(owner, what, (key,))


def _arrived(key: tuple, owner: tuple) -> RRef:
    return object.__new__(RRef)._become(key, WorkerInfo(*owner))


def _forget(key: tuple, owner: WorkerInfo) -> None:
    agent = calls._agent
    if agent is None:
        return
    if owner.id == agent.me.id:
        _drop(key)
    else:
        agent.call(owner, _drop, (key,), {})


__all__ = ["RRef"]
