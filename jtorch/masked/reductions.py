"""Reductions and cumulative sums over the elements of a mask."""

from __future__ import annotations

import math

from .. import dtypes
from ..ops.registry import OPS
from ..ops.shapes import canonical_dims
from ..tensor.creation import ones_like
from ..tensor.export import function
from .filling import filled_with, highest, lowest


def _dims(input, dim) -> tuple[int, ...]:
    return canonical_dims(dim, input.dim())


def _wide(input, dtype):
    """The dtype of a sum: that of the input, int64 for integers, unless one is given."""
    if dtype is not None:
        return dtype
    return dtypes.int64 if input.dtype.category < dtypes.FLOAT else input.dtype


def sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The sum of the elements of the mask; 0 where there are none."""
    x = filled_with(input, mask, 0)
    return x.sum(_dims(x, dim), keepdim=bool(keepdim), dtype=_wide(input, dtype)) if x.dim() else x.sum(
        dtype=_wide(input, dtype))  # fmt: skip


def prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The product of the elements of the mask; 1 where there are none."""
    x = filled_with(input, mask, 1).to(_wide(input, dtype))
    for d in sorted(_dims(x, dim), reverse=True):
        x = x.prod(d, keepdim=bool(keepdim))
    return x


def cumsum(input, dim, *, dtype=None, mask=None):
    """The running sum of the elements of the mask."""
    return filled_with(input, mask, 0).cumsum(dim, dtype=dtype or input.dtype)


def cumprod(input, dim, *, dtype=None, mask=None):
    """The running product of the elements of the mask."""
    return filled_with(input, mask, 1).cumprod(dim, dtype=dtype or input.dtype)


def amax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The largest element of the mask; minus infinity (the lowest integer) where there is none."""
    x = input if dtype is None else input.to(dtype)
    return filled_with(x, mask, lowest(x.dtype)).amax(_dims(x, dim), bool(keepdim))


def amin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The smallest element of the mask; infinity (the highest integer) where there is none."""
    x = input if dtype is None else input.to(dtype)
    return filled_with(x, mask, highest(x.dtype)).amin(_dims(x, dim), bool(keepdim))


def argmax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The index of the largest element of the mask (of the flattened tensor without ``dim``), in the input's dtype."""
    x = input if dtype is None else input.to(dtype)
    return filled_with(x, mask, lowest(x.dtype)).argmax(dim, bool(keepdim)).to(x.dtype)


def argmin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The index of the smallest element of the mask (of the flattened tensor without ``dim``), in the input's dtype."""
    x = input if dtype is None else input.to(dtype)
    return filled_with(x, mask, highest(x.dtype)).argmin(dim, bool(keepdim)).to(x.dtype)


def _floating(name: str, input, dtype):
    kind = input.dtype if dtype is None else dtype
    if kind.category < dtypes.FLOAT:
        source = "Input" if dtype is None else "Optional"
        raise ValueError(
            f"{name}(): Could not infer output dtype. {source} dtype must be either a floating point or complex dtype. "
            f"Got: {kind}"
        )
    return kind


def _count(input, dims, mask, kind, keepdim: bool):
    """How many elements of the mask there are along ``dims``."""
    ones = ones_like(input.detach(), dtype=kind)
    return sum(ones, dims, keepdim=keepdim, mask=mask) if dims else filled_with(ones, mask, 0)


def mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The mean of the elements of the mask; NaN where there are none.

    Raises:
        ValueError: the input is neither floating nor complex, and no such ``dtype`` is given.
    """
    kind = _floating("mean", input, dtype)
    dims = _dims(input, dim)
    total = sum(input, dim, keepdim=keepdim, dtype=kind, mask=mask)
    return total / _count(input, dims, mask, kind, bool(keepdim))


def median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The (lower) median of the elements of the mask along ``dim``; NaN where there are none.

    Raises:
        ValueError: the input is not floating.
    """
    x = input.to(_floating("median", input, dtype))
    return function(OPS["nanmedian.dim"])(filled_with(x, mask, math.nan), dim, bool(keepdim)).values


def norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The vector norm of the elements of the mask; 0 where there are none (infinity for ``ord=-inf``)."""
    x = filled_with(input, mask, math.inf if ord == -math.inf else 0)
    return function(OPS["vector_norm"])(x, 2.0 if ord is None else ord, _dims(x, dim), bool(keepdim), dtype=dtype)


def var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The variance of the elements of the mask, their number less ``correction`` (1) being the divisor.

    Raises:
        RuntimeError: both ``unbiased`` and ``correction`` are given.
    """
    if unbiased is not None and correction is not None:
        raise RuntimeError("Only one of unbiased and correction may be given")
    less = correction if correction is not None else 1 if unbiased is None else int(bool(unbiased))
    kind = input.dtype if dtype is None else dtype
    if kind.category < dtypes.FLOAT:
        kind = dtypes.float32
    x = input.to(kind)
    dims = _dims(x, dim)
    centre = sum(x, dims, keepdim=True, mask=mask) / _count(x, dims, mask, kind, True)
    away = x - centre
    square = away * away.conj() if away.is_complex() else away * away
    total = sum(square, dim, keepdim=keepdim, mask=mask)
    count = _count(total if not dims else x, dims, mask, total.dtype, bool(keepdim))
    return total / (count.real - less).clamp(min=0)


def std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The square root of :func:`var`."""
    return var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask).sqrt()


def logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The logarithm of the sum of exponentials of the elements of the mask; minus infinity where there are none."""
    x = input if dtype is None else input.to(dtype)
    kind = x.dtype  # integers are summed as floats, and what comes out is an integer again, as in PyTorch
    x = filled_with(x, mask, lowest(kind))
    if kind.category < dtypes.FLOAT:
        x = x.to(dtypes.get_default_dtype())
    return x.logsumexp(_dims(x, dim), keepdim=bool(keepdim)).to(kind)
