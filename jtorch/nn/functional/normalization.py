"""Batch and instance normalisation: the ops, and the running statistics written in place; ``normalize``."""

from __future__ import annotations

import jtorch

from ...ops.registry import OPS
from ...tensor.dispatch import dispatch, rebind, write_out

_TRAIN, _EVAL, _INSTANCE = OPS["_batch_norm_train"], OPS["_batch_norm_eval"], OPS["_instance_norm"]


def _write(running, new) -> None:
    """Make ``new`` the content of a running statistic, outside autograd."""
    if running._lens is None:
        rebind(running, new)
    else:
        with jtorch.no_grad():
            running.copy_(new)


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """``(x - mean) / √(var + eps) · weight + bias`` per channel (dimension 1).

    In training the statistics are the batch's, and the running ones move by ``momentum`` towards them, in place (the
    variance unbiased). Otherwise the running ones are used.

    Raises:
        ValueError: one value a channel only, in training.
        RuntimeError: an operand does not have one element a channel, or there are no statistics to use.
    """
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        return dispatch(_EVAL, (input, running_mean, running_var, weight, bias), (eps,))
    out, *new = dispatch(_TRAIN, (input, weight, bias, running_mean, running_var, momentum), (eps,))
    for running, value in zip([r for r in (running_mean, running_var) if r is not None], new, strict=True):
        _write(running, value)
    return out


def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """Each channel of each sample normalised over its own elements, then ``weight`` and ``bias`` per channel.

    Without ``use_input_stats`` the running statistics are used; with it they move by ``momentum`` towards the means
    over the batch, in place.

    Raises:
        ValueError: one element a channel only.
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return dispatch(_EVAL, (input, running_mean, running_var, weight, bias), (eps,))
    out = dispatch(_INSTANCE, (input, weight, bias), (eps,))
    if running_mean is not None or running_var is not None:
        with jtorch.no_grad():
            dims = tuple(range(2, input.dim()))
            x = input.detach()
            if running_mean is not None:
                running_mean.mul_(1 - momentum).add_(x.mean(dims).mean(0), alpha=momentum)
            if running_var is not None:
                running_var.mul_(1 - momentum).add_(x.var(dims).mean(0), alpha=momentum)
    return out


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """``x / max(‖x‖_p, eps)`` along ``dim``."""
    op, statics = OPS["normalize"], (float(p), dim, float(eps))
    result = dispatch(op, (input,), statics)
    return result if out is None else write_out(op.name, (input,), result, out)
