"""``torch.nn.utils._named_member_accessor``: a module's tensors, exchanged by name."""

from __future__ import annotations

from ...tensor import Tensor

_MISSING = object()


def swap_tensor(module, name: str, tensor, allow_missing: bool = False):
    """Put ``tensor`` in the place of a module's parameter, buffer or tensor attribute; returns what was there.

    Raises:
        AttributeError: there is none, unless ``allow_missing``.
        TypeError: what stands there, or ``tensor``, is no tensor.
        KeyError: ``name`` is empty or dotted.
    """
    if not name or "." in name:
        raise KeyError(f"tensor name must be that of a member of the module itself, got {name!r}")
    table = next((t for t in (module._parameters, module._buffers) if name in t), module.__dict__)
    before = table.get(name, _MISSING)
    if before is _MISSING:
        if not allow_missing:
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
    elif before is not None and not isinstance(before, Tensor):
        raise TypeError(f"attribute `{name}` is a {type(before).__name__}, not a tensor")
    if tensor is None or tensor is _MISSING:
        table.pop(name, None)
    elif not isinstance(tensor, Tensor):
        raise TypeError(f"{tensor} is not an instance of torch.Tensor")
    else:
        table[name] = tensor
    return before


__all__ = ["swap_tensor"]
