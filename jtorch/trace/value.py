"""A value: an array that exists, or the promise of one at a position of a pending trace."""

from __future__ import annotations

import weakref

import jax

from .. import devices
from . import capture, checks, jaxapi
from .aval import Aval, aval_of
from .jaxapi import x64

#: Arrays somebody outside holds by reference (DLPack, JAX interop): never donated. Keyed by identity.
_pinned: dict[int, weakref.ref] = {}


class Value:
    """Immutable once resolved. ``array`` is the ``jax.Array``, or None while ``trace`` has not run.

    ``(trace, slot)`` says where the value stands in the trace that uses it now: a slot >= 0 is an output of a call, a
    negative one a leaf. ``error`` is set when the trace that should have made it failed, and is a
    :class:`~.checks.Check` while its indices are still in doubt. ``sharding`` is the
    ``jax.sharding`` of an array that lies on several devices, None on one.
    """

    __slots__ = ("aval", "device", "array", "trace", "slot", "error", "sharding", "__weakref__")

    def __init__(self, aval: Aval, device: devices.device, array=None):
        self.aval, self.device, self.array = aval, device, array
        self.trace = self.error = self.sharding = None
        self.slot = 0

    def concrete(self, cause: str):
        """The array, running the pending trace first if there is one. ``cause`` is what the log prints.

        Raises:
            Exception: whatever made the trace fail; again on each read.
            NotImplementedError: the value is on the meta device.
        """
        if capture.state.log is not None:
            capture.needs(cause)
        if self.array is None and self.error is None:
            if self.trace is None:
                raise NotImplementedError(f"Cannot copy out of meta tensor; no data! ({cause})")
            self.trace.flush(cause)
        if isinstance(self.error, checks.Check):
            self.error.settle()
        checks.settle()
        if self.error is not None:
            raise self.error
        return self.array

    def pin(self) -> None:
        """Never donate this value's buffer: somebody outside holds it by reference."""
        array, key = self.array, id(self.array)
        _pinned[key] = weakref.ref(array, lambda _, key=key: _pinned.pop(key, None))

    def __repr__(self) -> str:
        state = "concrete" if self.array is not None else "failed" if self.error is not None else "pending"
        return f"<Value {self.aval} on {self.device}, {state}>"


def shard(value: Value, sharding) -> Value:
    """``value`` laid out over several devices (runs its pending trace)."""
    with x64(True):
        array = jax.device_put(value.concrete("sharding a tensor"), sharding)
    out = Value(value.aval, value.device, array)
    out.sharding = sharding
    return out


def any_pinned() -> bool:
    """Whether :meth:`Value.pin` was called for an array that is still there."""
    return bool(_pinned)


def pinned(array) -> bool:
    """Whether :meth:`Value.pin` was called for this array."""
    return id(array) in _pinned


def of_array(array, device: devices.device) -> Value:
    """A value for an array that lives on ``device`` already."""
    return Value(aval_of(array), device, array)


def put(array, device: devices.device) -> Value:
    """A value for a NumPy array, moved to ``device``. The caller must not write to ``array`` afterwards."""
    if device is devices.META:
        return Value(aval_of(array), device)
    made = Value(aval_of(array), device, jaxapi.put(array, devices.jax_device(device)))
    log = capture.state.log
    if log is not None and log.hold and log.refusal is None:
        log.made.append(made)
    return made


def move(value: Value, device: devices.device) -> Value:
    """``value`` on another device (runs its pending trace: devices have traces of their own)."""
    if value.device is device:
        return value
    if device is devices.META:
        return Value(value.aval, device)
    array = value.concrete(f"copy from {value.device} to {device}")
    with x64(True):
        return Value(value.aval, device, jax.device_put(array, devices.jax_device(device)))
