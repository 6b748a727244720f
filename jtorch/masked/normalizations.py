"""Softmax and its relatives, and norms of 1, over the elements of a mask."""

from __future__ import annotations

import math

from ..ops.registry import OPS
from ..tensor.export import function
from .filling import filled_with
from .reductions import norm


def softmax(input, dim, *, dtype=None, mask=None):
    """Softmax over the elements of the mask; 0 outside it, NaN where it selects nothing."""
    x = input if dtype is None else input.to(dtype)
    return filled_with(x, mask, -math.inf).softmax(dim)


def log_softmax(input, dim, *, dtype=None, mask=None):
    """The logarithm of :func:`softmax`."""
    x = input if dtype is None else input.to(dtype)
    return filled_with(x, mask, -math.inf).log_softmax(dim)


def softmin(input, dim, *, dtype=None, mask=None):
    """Softmax of the negated elements."""
    x = input if dtype is None else input.to(dtype)
    return (-filled_with(x, mask, math.inf)).softmax(dim)


def normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """The elements of the mask over their norm along ``dim`` (at least ``eps``); the others are 0."""
    x = input if dtype is None else input.to(dtype)
    length = norm(x, ord, dim, keepdim=True, mask=mask)
    return filled_with(x, mask, 0) / length.clamp_min(eps)


def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """``log(exp(input) + exp(other))``, what a mask leaves out counting as minus infinity."""
    a, b = (x if dtype is None else x.to(dtype) for x in (input, other))
    return function(OPS["logaddexp"])(filled_with(a, input_mask, -math.inf), filled_with(b, other_mask, -math.inf))
