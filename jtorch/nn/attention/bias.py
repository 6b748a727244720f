"""Causal masks for queries and keys of different lengths."""

from __future__ import annotations

import enum

import jtorch

from ...tensor import Tensor

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


class CausalVariant(enum.IntEnum):
    """Which corner of the scores the diagonal runs into, when they are not square."""

    UPPER_LEFT = 1
    LOWER_RIGHT = 2


class CausalBias(Tensor):
    """A causal mask ``(seq_len_q, seq_len_kv)`` for ``attn_mask``: a boolean tensor that knows its variant."""

    def __new__(cls, variant: CausalVariant, seq_len_q: int, seq_len_kv: int):
        if not isinstance(variant, CausalVariant):
            raise AssertionError(f"variant must be CausalVariant, got {type(variant)}")
        offset = seq_len_kv - seq_len_q if variant is CausalVariant.LOWER_RIGHT else 0
        mask = jtorch.ones(seq_len_q, seq_len_kv, dtype=jtorch.bool).tril(offset).as_subclass(cls)
        mask.variant, mask.seq_len_q, mask.seq_len_kv = variant, seq_len_q, seq_len_kv
        return mask


def _two(sizes: tuple) -> tuple:
    if len(sizes) != 2:
        raise AssertionError(f"expected a 2D tensor size, got {len(sizes)} dimensions")
    return sizes


def causal_upper_left(*size: int) -> CausalBias:
    """The mask whose diagonal starts in the upper left corner: query ``i`` sees keys ``<= i``."""
    return CausalBias(CausalVariant.UPPER_LEFT, *_two(size))


def causal_lower_right(*size: int) -> CausalBias:
    """The mask whose diagonal ends in the lower right corner: the last query sees all keys."""
    return CausalBias(CausalVariant.LOWER_RIGHT, *_two(size))
