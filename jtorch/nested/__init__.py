"""Nested tensors: sequences of different lengths in one tensor without padding. See ``docs/nested.md``."""

from __future__ import annotations

from . import files
from .creation import as_nested_tensor, masked_select, narrow, nested_tensor, nested_tensor_from_jagged
from .functions import to_padded_tensor
from .tensor import NestedTensor

__all__ = [
    "as_nested_tensor", "masked_select", "narrow", "nested_tensor", "nested_tensor_from_jagged", "to_padded_tensor",
]  # fmt: skip
