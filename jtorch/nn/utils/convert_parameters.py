"""Parameters as one vector, and back."""

from __future__ import annotations

import jtorch

from ...tensor import Tensor


def _same_device(parameters: list) -> None:
    devices = {str(p.device) for p in parameters}
    if len(devices) > 1:
        raise TypeError(
            f"Found two parameters on different devices, {sorted(devices)}; this is currently not supported."
        )


def parameters_to_vector(parameters) -> Tensor:
    """All parameters, flattened, one after another.

    Raises:
        TypeError: they are on different devices.
    """
    parameters = list(parameters)
    _same_device(parameters)
    return jtorch.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters) -> None:
    """Make slices of ``vec`` the content of the parameters.

    Raises:
        TypeError: ``vec`` is no tensor, or the parameters are on different devices.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    _same_device(parameters)
    start = 0
    for p in parameters:
        n = p.numel()
        p.data = vec[start : start + n].view(p.shape).data
        start += n
