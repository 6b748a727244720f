"""``torch.utils.hooks``: the handle that takes a hook away again, and hooks that files leave out."""

from __future__ import annotations

import warnings

from jtorch.tape.node import RemovableHandle


def unserializable_hook(f):
    """Mark a hook that need not be saved with its tensor, so that saving does not warn of it."""
    f.__torch_unserializable__ = True
    return f


def warn_if_has_hooks(tensor) -> None:
    """Warn of each hook of a tensor that is not marked by :func:`unserializable_hook`: files leave hooks out."""
    for hook in (tensor._hooks or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized.  If this is expected, you can decorate the "
                "function with @torch.utils.hooks.unserializable_hook to suppress this warning",
                stacklevel=2,
            )


__all__ = ["RemovableHandle", "unserializable_hook", "warn_if_has_hooks"]
