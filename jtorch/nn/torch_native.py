"""``torch.native_*``: normalisations and dropout that also return what their backward would need."""

from __future__ import annotations

import jtorch

from ..tensor.export import composite
from . import functional as F
from .functional.dropout import keep_scale


def _statistics(x, dims, eps: float, *parameters):
    """The mean and the reciprocal standard deviation over ``dims`` (kept as size 1), outside autograd.

    They are of the parameters' dtype, or the input's where there are none.
    """
    dtype = next((p.dtype for p in parameters if p is not None), x.dtype)
    with jtorch.no_grad():
        wide = x.detach().float() if x.dtype.itemsize < 4 else x.detach()
        variance, mean = jtorch.var_mean(wide, dims, correction=0, keepdim=True)
        return mean.to(dtype), jtorch.rsqrt(variance + eps).to(dtype)


def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """``(layer_norm(...), mean, 1 / deviation)``; the statistics have size 1 where they were taken."""
    n = len(normalized_shape)
    mean, rstd = _statistics(input, tuple(range(input.dim() - n, input.dim())), eps, weight, bias)
    return F.layer_norm(input, normalized_shape, weight, bias, eps), mean, rstd


def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """``(group_norm(...), means, 1 / deviations)``, the statistics ``(N, group)``."""
    variance, mean = jtorch.var_mean(input.reshape(N, group, C // group * HxW), (2,), correction=0)
    return F.group_norm(input, group, weight, bias, eps), mean, jtorch.rsqrt(variance + eps)


@composite(out=True)
def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """``(batch_norm(...), means, 1 / deviations)``; the statistics are the batch's in training, else empty."""
    if training:
        dims = (0, *range(2, input.dim()))
        parameters = weight, bias, running_mean, running_var
        mean, rstd = (s.reshape(-1) for s in _statistics(input, dims, eps, *parameters))
    else:
        mean, rstd = input.new_empty((0,)), input.new_empty((0,))
    out = F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return out, mean, rstd


@composite(out=True)
def _native_batch_norm_legit(input, weight, bias, *rest):
    """:func:`native_batch_norm`, also without running statistics (``training, momentum, eps``)."""
    if len(rest) == 3:
        return native_batch_norm(input, weight, bias, None, None, *rest)
    return native_batch_norm(input, weight, bias, *rest)


@composite(out=True)
def _batch_norm_with_update(input, weight, bias, running_mean, running_var, momentum, eps):
    """:func:`native_batch_norm` in training, with an (empty) reserve."""
    found = native_batch_norm(input, weight, bias, running_mean, running_var, True, momentum, eps)
    return *found, jtorch.empty(0, dtype=jtorch.uint8)


def native_dropout(input, p, train):
    """``(dropout(input), mask)``; the mask is true where elements are kept."""
    if train is False or p == 0:
        return input.clone(), jtorch.ones_like(input, dtype=jtorch.bool)
    kept = F.dropout(jtorch.ones_like(input.detach()), p, True) != 0
    return native_dropout_backward(input, kept, 0.0 if p == 1 else keep_scale(p, input.dtype)), kept


def native_dropout_backward(grad_output, mask, scale):
    """``grad_output`` where the mask holds, times ``scale``."""
    return grad_output * mask.to(grad_output.dtype) * scale


def native_norm(input, p=2, dim=None, keepdim=False, dtype=None):
    """``norm``."""
    return jtorch.norm(input, 2 if p is None else p, dim, keepdim, dtype=dtype)


FUNCTIONS = {
    f.__name__: f
    for f in (
        native_layer_norm, native_group_norm, native_batch_norm, _native_batch_norm_legit, _batch_norm_with_update,
        native_dropout, native_dropout_backward, native_norm,
    )
}  # fmt: skip
