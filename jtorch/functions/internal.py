"""Underscored functions of ``torch`` that programs call: shapes as tensors, assertions, checks of gradients."""

from __future__ import annotations

import numpy as np

from ..tensor.creation import from_numpy
from ..tensor.export import composite


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
    for g in scaled_grads:
        bad = g.isfinite().logical_not().any()
        found_inf.copy_(found_inf.maximum(bad.to(found_inf.dtype)))
        g.mul_(inv_scale)
