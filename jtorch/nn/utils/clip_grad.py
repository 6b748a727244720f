"""Clipping of gradients, in place and recorded: nothing is read by the host unless asked to."""

from __future__ import annotations

import warnings

import jtorch

from ...tensor import Tensor


def _listed(tensors) -> list:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The ``norm_type``-norm of all tensors taken as one vector.

    Raises:
        RuntimeError: it is not finite, with ``error_if_nonfinite`` (which reads it).
    """
    tensors, norm_type = _listed(tensors), float(norm_type)
    if not tensors:
        return jtorch.tensor(0.0)
    device = tensors[0].device
    norms = [t.detach().norm(norm_type) for t in tensors]
    norms = [n if n.device is device else n.to(device) for n in norms]
    total = jtorch.stack(norms).norm(norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(parameters, max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Scale gradients in place by ``max_norm / (total_norm + 1e-6)`` where that is below 1."""
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    if not grads:
        return
    with jtorch.no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for g in grads:
            g.mul_(factor if factor.device is g.device else factor.to(g.device))


def clip_grad_norm_(
    parameters, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """Scale the gradients of ``parameters`` in place so that their total norm is at most ``max_norm``.

    Returns:
        The total norm before clipping, as a tensor.

    Raises:
        RuntimeError: it is not finite, with ``error_if_nonfinite``.
    """
    is_generator = not isinstance(parameters, (Tensor, list, tuple)) and hasattr(parameters, "__next__")
    parameters = _listed(parameters)
    if is_generator and not parameters:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    with jtorch.no_grad():
        grads = [p.grad for p in parameters if p.grad is not None]
        total = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
        clip_grads_with_norm_(parameters, max_norm, total, foreach)
    return total


def clip_grad_norm(parameters, max_norm: float, norm_type: float = 2.0, error_if_nonfinite=False, foreach=None):
    """Old name of :func:`clip_grad_norm_`."""
    warnings.warn(
        "torch.nn.utils.clip_grad_norm is now deprecated in favor of torch.nn.utils.clip_grad_norm_.", FutureWarning,
        stacklevel=2,
    )  # fmt: skip
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters, clip_value: float, foreach: bool | None = None) -> None:
    """Limit each element of the gradients to ``[-clip_value, clip_value]``, in place."""
    bound = float(clip_value)
    with jtorch.no_grad():
        for p in _listed(parameters):
            if p.grad is not None:
                p.grad.clamp_(min=-bound, max=bound)
