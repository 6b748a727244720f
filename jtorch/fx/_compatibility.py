"""``torch.fx._compatibility``: a mark on functions, which says that they stay as they are."""

from __future__ import annotations

from collections.abc import Callable


def compatibility(is_backward_compatible: bool) -> Callable:
    """Decorates a function or class; it is returned as it is."""
    return lambda fn: fn
