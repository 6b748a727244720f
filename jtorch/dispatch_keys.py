"""Dispatch keys: which of an operation's implementations a call runs.

An operation that a program registers with :class:`jtorch.library.Library` has a body, and may have others for some
circumstances: ``AutocastCPU`` while autocast is on for tensors of the CPU, ``Autograd`` where gradients are recorded,
``CUDA`` for tensors there. A call runs the first of these that applies; inside it, ``_ExcludeDispatchKeyGuard`` leaves
keys out, so that calling the operation again comes to the next.
"""

from __future__ import annotations

import contextlib
import enum
import threading

_DEVICES = {"cpu": "CPU", "cuda": "CUDA", "xpu": "XPU", "mps": "MPS"}

DispatchKey = enum.Enum("DispatchKey", [
    "Undefined", "CompositeImplicitAutograd", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional",
    "CompositeImplicitAutogradNestedTensor", "Meta", "Autograd", "AutogradOther", "ADInplaceOrView", "Functionalize",
    "Python", "BackendSelect",
    *(prefix + name for prefix in ("", "Autograd", "Autocast") for name in _DEVICES.values()),
])  # fmt: skip

#: Implementations that jtorch has no use for: it finds shapes by tracing the body, and has no such layers.
UNUSED = frozenset({"Meta", "ADInplaceOrView", "Functionalize", "Python", "BackendSelect"})
#: Implementations that are an operation's body on a device.
BODIES = frozenset(_DEVICES.values())
_AUTOGRAD = frozenset(key.name for key in DispatchKey if key.name.startswith("Autograd"))


class DispatchKeySet:
    """A set of keys: ``DispatchKeySet(DispatchKey.CPU) | DispatchKeySet(DispatchKey.CUDA)``."""

    def __init__(self, key: DispatchKey | frozenset[str]):
        self._names = frozenset({key.name}) if isinstance(key, DispatchKey) else key

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._names | other._names)

    def __and__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._names & other._names)

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._names - other._names)

    def has(self, key: DispatchKey) -> bool:
        """Whether the key is in the set."""
        return key.name in self._names

    def __eq__(self, other) -> bool:
        return isinstance(other, DispatchKeySet) and self._names == other._names

    def __hash__(self) -> int:
        return hash(self._names)

    def __repr__(self) -> str:
        return f"DispatchKeySet({', '.join(sorted(self._names))})"


class _State(threading.local):
    excluded: frozenset[str] = frozenset()


_state = _State()


@contextlib.contextmanager
def excluding(keys: DispatchKeySet):
    """``with`` this, calls run no implementation for these keys."""
    before, _state.excluded = _state.excluded, _state.excluded | keys._names
    try:
        yield
    finally:
        _state.excluded = before


def below_autograd():
    """``with`` this, calls run what stands below the implementations for autograd."""
    return excluding(DispatchKeySet(_AUTOGRAD))


def order(device_type: str) -> list[str]:
    """The keys of implementations that a call with tensors on such a device may run now, the first first."""
    from .amp import is_autocast_enabled

    device = _DEVICES.get(device_type, "CPU")
    keys = [f"Autocast{device}"] if is_autocast_enabled(device_type) else []
    keys += [f"Autograd{device}", "Autograd", device]
    return [key for key in keys if key not in _state.excluded]
