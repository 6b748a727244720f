"""Key-value stores, through which processes find each other. Values are bytes.

``get`` and ``wait`` wait for keys to be set. :class:`~jtorch.distributed.tcp_store.TCPStore` works between machines.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import threading
import time
from datetime import timedelta

from .constants import DistStoreError

_POLL = 0.01


def _bytes(x) -> bytes:
    return x.encode() if isinstance(x, str) else bytes(x)


def seconds(timeout) -> float:
    """A timeout as a number; it may be a ``timedelta``.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if isinstance(timeout, (int, float)):
        return float(timeout)
    raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout!r}")


class Store:
    """What all stores share. A subclass gives :meth:`_update`, which runs a function on the dictionary atomically."""

    def __init__(self, timeout=timedelta(seconds=300)):
        self._timeout = seconds(timeout)

    @property
    def timeout(self) -> timedelta:
        """How long ``get`` and ``wait`` wait by default."""
        return timedelta(seconds=self._timeout)

    def set_timeout(self, timeout) -> None:
        """Set :attr:`timeout`."""
        self._timeout = seconds(timeout)

    def _update(self, change):
        raise NotImplementedError

    def _pause(self, remaining: float) -> None:
        time.sleep(min(_POLL, remaining))

    def _await(self, attempt, keys, timeout):
        """``attempt(dictionary)`` as soon as it is not None.

        Raises:
            DistStoreError: it stayed None for too long.
        """
        limit = self._timeout if timeout is None else seconds(timeout)
        end = time.monotonic() + limit
        while True:
            found = self._update(attempt)
            if found is not None:
                return found
            remaining = end - time.monotonic()
            if remaining <= 0:
                raise DistStoreError(f"wait timeout after {limit * 1000:.0f}ms, keys: {', '.join(keys)}")
            self._pause(remaining)

    def set(self, key: str, value: str | bytes) -> None:
        """Set ``key``, which may exist."""
        value = _bytes(value)
        self._update(lambda d: d.__setitem__(key, value))

    def get(self, key: str, timeout=None) -> bytes:
        """The value of ``key``, once it is set.

        Raises:
            DistStoreError: it was not set in time.
        """
        return self._await(lambda d: d.get(key), [key], timeout)

    def add(self, key: str, amount: int) -> int:
        """Add to the integer at ``key`` (0 at first); the sum."""

        def change(d):
            total = int(d.get(key, b"0")) + amount
            d[key] = str(total).encode()
            return total

        return self._update(change)

    def append(self, key: str, value: str | bytes) -> None:
        """Add to the end of the value at ``key``."""
        value = _bytes(value)
        self._update(lambda d: d.__setitem__(key, d.get(key, b"") + value))

    def compare_set(self, key: str, expected_value: str | bytes, desired_value: str | bytes) -> bytes:
        """Set ``key`` if it holds ``expected_value`` (or is absent and that is empty); what it holds then."""
        expected, desired = _bytes(expected_value), _bytes(desired_value)

        def change(d):
            if d.get(key, b"") == expected:
                d[key] = desired
            return d.get(key, expected)

        return self._update(change)

    def wait(self, keys: list[str], timeout=None) -> None:
        """Wait until all ``keys`` are set.

        Raises:
            DistStoreError: they were not set in time.
        """
        self._await(lambda d: True if all(k in d for k in keys) else None, keys, timeout)

    def check(self, keys: list[str]) -> bool:
        """Whether all ``keys`` are set."""
        return self._update(lambda d: all(k in d for k in keys))

    def delete_key(self, key: str) -> bool:
        """Remove ``key``; whether it was there."""
        return self._update(lambda d: d.pop(key, None) is not None)

    def num_keys(self) -> int:
        """How many keys are set."""
        return self._update(len)

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """The values of ``keys``, once all are set."""
        return [self.get(k) for k in keys]

    def multi_set(self, keys: list[str], values: list) -> None:
        """Set several keys."""
        for k, v in zip(keys, values, strict=True):
            self.set(k, v)

    def close(self) -> None:
        """Free what the store holds in this process."""

    def has_extended_api(self) -> bool:
        """Whether ``append``, ``multi_get`` and ``multi_set`` exist: always."""
        return True


class HashStore(Store):
    """A store for the threads of one process."""

    def __init__(self, timeout=timedelta(seconds=300)):
        super().__init__(timeout)
        self._data: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def _update(self, change):
        with self._changed:
            result = change(self._data)
            self._changed.notify_all()
            return result

    def _pause(self, remaining):
        with self._changed:
            self._changed.wait(min(0.1, remaining))


class FileStore(Store):
    """A store in a file that all processes can write to. The file must not be left over from another job.

    Args:
        file_name: the file; made if it is absent.
        world_size: how many processes use it (the last one to go removes the file); any number, if negative.
    """

    def __init__(self, file_name: str, world_size: int = -1, timeout=timedelta(seconds=300)):
        super().__init__(timeout)
        self.path = file_name
        self._world_size = world_size
        self._lock = threading.Lock()  # fcntl's locks do not hold between threads
        self.add("\0users", 1)
        self._closed = False

    def _update(self, change):
        with self._lock, open(self.path, "a+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            before = json.loads(text) if text else {}
            data = {k: base64.b64decode(v) for k, v in before.items()}
            result = change(data)
            after = {k: base64.b64encode(v).decode() for k, v in data.items()}
            if after != before:
                file.truncate(0)
                file.write(json.dumps(after).encode())
            return result

    def num_keys(self) -> int:
        return super().num_keys() - 1

    def close(self) -> None:
        """This process needs the file no more."""
        if not self._closed:
            self._closed = True
            if self.add("\0users", -1) == 0 and self._world_size > 0:
                os.unlink(self.path)

    def __del__(self):
        try:
            self.close()
        except (OSError, ValueError, AttributeError, TypeError):
            pass  # the interpreter is going, or the file is gone


class PrefixStore(Store):
    """``store`` with ``prefix/`` before every key."""

    def __init__(self, prefix: str, store: Store):
        self.prefix, self.underlying_store = prefix, store
        self._timeout = store._timeout

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def set(self, key, value):
        self.underlying_store.set(self._name(key), value)

    def get(self, key, timeout=None):
        return self.underlying_store.get(self._name(key), self._timeout if timeout is None else timeout)

    def add(self, key, amount):
        return self.underlying_store.add(self._name(key), amount)

    def append(self, key, value):
        self.underlying_store.append(self._name(key), value)

    def compare_set(self, key, expected_value, desired_value):
        return self.underlying_store.compare_set(self._name(key), expected_value, desired_value)

    def wait(self, keys, timeout=None):
        self.underlying_store.wait([self._name(k) for k in keys], self._timeout if timeout is None else timeout)

    def check(self, keys):
        return self.underlying_store.check([self._name(k) for k in keys])

    def delete_key(self, key):
        return self.underlying_store.delete_key(self._name(key))

    def num_keys(self):
        return self.underlying_store.num_keys()
