"""Replacing what a mask leaves out."""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes
from ..ops.registry import OPS
from ..tensor import Tensor
from ..tensor.export import function

where = function(OPS["where"])


def checked(input, mask, what: str = "mask"):
    """The mask, after the checks, as PyTorch words them.

    Raises:
        TypeError: it is no boolean tensor.
        ValueError: it has more dims than the input.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor but got {type(input).__name__}")
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise TypeError(f"{what} must be Tensor but got {type(mask)}")
    if mask.dim() > input.dim():
        raise ValueError("mask dimensionality must be not greater than input dimensionality")
    return mask if mask.dtype is dtypes.bool_ else mask.to(dtypes.bool_)


def filled_with(input, mask, number):
    """``input`` where the mask holds, ``number`` elsewhere."""
    mask = checked(input, mask)
    if mask is None:
        return input
    kept = function(OPS["broadcast_to"])(mask, tuple(input.shape))
    return where(kept, input, input.new_full((), number))


def lowest(dtype):
    """What is below every number of a dtype."""
    return -math.inf if dtype.category >= dtypes.FLOAT else 0 if dtype is dtypes.bool_ else int(np.iinfo(dtype.np).min)


def highest(dtype):
    """What is above every number of a dtype."""
    return math.inf if dtype.category >= dtypes.FLOAT else 1 if dtype is dtypes.bool_ else int(np.iinfo(dtype.np).max)
