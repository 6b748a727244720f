"""Underscored functions of ``torch`` that programs call: shapes as tensors, assertions, checks of gradients."""

from __future__ import annotations

import numpy as np

from ..ops.registry import OPS
from ..tensor.creation import from_numpy
from ..tensor.export import composite, function


@composite("torch")
def _shape_as_tensor(input):
    """The sizes as a vector of int64."""
    return from_numpy(np.array(tuple(input.shape), np.int64))


@composite("torch")
def _assert_async(input, assert_msg=None):
    """Raise unless ``input``, one element, is true. It is read here and now.

    Raises:
        RuntimeError: it is not true, or not one element.
    """
    if input.numel() != 1:
        many = "more than one value" if input.numel() else "no values"
        raise RuntimeError(f"Boolean value of Tensor with {many} is ambiguous")
    if not bool(input.detach()):
        raise RuntimeError(assert_msg or "Expected Tensor with single nonzero value, but got zero")


@composite("torch")
def _amp_foreach_non_finite_check_and_unscale_(scaled_grads, found_inf, inv_scale):
    """Multiply each gradient by ``inv_scale`` in place, and set ``found_inf`` to 1 if one has an element not finite."""
    *new, found = function(OPS["_amp_unscaled"])(tuple(scaled_grads), inv_scale)
    for g, unscaled in zip(scaled_grads, new, strict=True):
        g._store(unscaled, "_amp_foreach_non_finite_check_and_unscale_")
    found_inf.copy_(found_inf.maximum(found))


@composite("torch")
def _amp_update_scale_(self, growth_tracker, found_inf, scale_growth_factor, scale_backoff_factor, growth_interval):
    """Write the next factor of a ``GradScaler`` into ``self``, and the finite steps in a row into the tracker."""
    factors = scale_growth_factor, scale_backoff_factor, growth_interval
    scale, tracker = function(OPS["_amp_scale"])(self, growth_tracker, found_inf, *factors)
    growth_tracker.copy_(tracker)
    return self.copy_(scale)


@composite("torch")
def _convert_indices_from_coo_to_csr(input, size, *, out_int32=False, out=None):
    """Where the entries of each row begin, of rows in ascending order: ``size + 1`` offsets."""
    rows = from_numpy(np.arange(size + 1)).to(input.device, input.dtype)
    return function(OPS["searchsorted"])(input, rows, out_int32=out_int32, out=out)


@composite("torch")
def _convert_indices_from_csr_to_coo(crow_indices, col_indices, *, out_int32=False, transpose=False, out=None):
    """Rows and columns of entries whose rows' offsets are ``crow_indices``; columns first with ``transpose``."""
    counts = crow_indices[1:] - crow_indices[:-1]
    rows = from_numpy(np.arange(counts.numel())).to(counts.device)
    pair = (rows.repeat_interleave(counts, output_size=col_indices.numel()), col_indices.long())
    pair = tuple(x.int() for x in pair) if out_int32 else pair
    return function(OPS["stack"])(pair[::-1] if transpose else pair, out=out)
