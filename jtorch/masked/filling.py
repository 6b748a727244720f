"""Replacing what a mask leaves out."""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes
from ..ops.registry import OPS
from ..ops.shapes import canonical_dims
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


def _input_mask(input, *args, mask=None, **kwargs):
    """What PyTorch's helper of this name gives: the mask of an operation's arguments as bools of the input's shape.

    Raises:
        ValueError: no mask is given, or as :func:`checked`.
    """
    if mask is None:
        raise ValueError("input mask must be provided")
    return function(OPS["broadcast_to"])(checked(input, mask), tuple(input.shape))


_SHAPE_KEPT = ("softmax", "log_softmax", "softmin", "normalize", "cumsum", "cumprod")
_REDUCED = ("sum", "prod", "amax", "amin", "argmax", "argmin", "mean", "median", "norm", "var", "std", "logsumexp")


def _output_mask(op, input, *args, **kwargs):
    """What PyTorch's helper of this name gives: which elements of a masked operation's result have a selected input.

    Raises:
        ValueError: ``op`` is none of this package, or as :func:`_input_mask`.
    """
    name = getattr(op, "__name__", "")
    if name not in _SHAPE_KEPT + _REDUCED:
        raise ValueError(f"_output_mask expected masked operation (got {op!r})")
    kept = _input_mask(input, mask=kwargs.get("mask"))
    if name in _SHAPE_KEPT:
        return kept
    args = args[1:] if name == "norm" else args  # its order stands before the dims
    dims = canonical_dims(args[0] if args else kwargs.get("dim"), input.dim())
    return function(OPS["any"])(kept, dims, bool(kwargs.get("keepdim"))) if input.dim() else kept


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
