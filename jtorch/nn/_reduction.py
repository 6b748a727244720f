"""``torch.nn._reduction``: reductions of losses as PyTorch's functions below ``nn.functional`` name them, by number.

Losses that programs copied from PyTorch's go through it.
"""

from __future__ import annotations

import warnings

NAMES = ("none", "mean", "sum")


def get_enum(reduction: str) -> int:
    """0 for ``"none"``, 1 for ``"mean"``, 2 for ``"sum"``.

    Raises:
        ValueError: another word.
    """
    if reduction == "elementwise_mean":
        warnings.warn("reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.", stacklevel=2)
        reduction = "mean"
    if reduction not in NAMES:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return NAMES.index(reduction)


def legacy_get_string(size_average: bool | None, reduce: bool | None, emit_warning: bool = True) -> str:
    """The reduction that the two older flags stand for; warns."""
    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    reduction = "none" if not reduce else "mean" if size_average else "sum"
    if emit_warning:
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=4,
        )
    return reduction


def legacy_get_enum(size_average: bool | None, reduce: bool | None, emit_warning: bool = True) -> int:
    """:func:`get_enum` of :func:`legacy_get_string`."""
    return get_enum(legacy_get_string(size_average, reduce, emit_warning))


__all__ = ["get_enum", "legacy_get_enum", "legacy_get_string"]
