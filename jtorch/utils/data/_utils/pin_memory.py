"""Host memory for samples: ``pin_memory`` of whatever a sample holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jtorch.tensor import Tensor


def pin_memory(data, device=None):
    """``data`` with ``pin_memory()`` called on its tensors, and on other parts that have such a method."""
    if isinstance(data, Tensor):
        return data.pin_memory()
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        pinned = {key: pin_memory(value, device) for key, value in data.items()}
    elif isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(pin_memory(value, device) for value in data))
    elif isinstance(data, Sequence):
        pinned = [pin_memory(value, device) for value in data]
    else:
        return data
    try:
        return type(data)(pinned)
    except TypeError:  # of a class that is made otherwise
        return pinned


__all__ = ["pin_memory"]
