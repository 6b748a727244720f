"""Forward mode is not available tensor by tensor; :func:`jtorch.autograd.functional.jvp` computes J v."""

from __future__ import annotations

from typing import Any, NamedTuple


class UnpackedDualTensor(NamedTuple):
    """A tensor and its tangent."""

    primal: Any
    tangent: Any


def unpack_dual(tensor, *, level=None) -> UnpackedDualTensor:
    """``(tensor, None)``: no tensor carries a tangent."""
    return UnpackedDualTensor(tensor, None)


def dual_level():
    """Not supported.

    Raises:
        NotImplementedError: always; use ``jtorch.autograd.functional.jvp``.
    """
    raise NotImplementedError("forward-mode dual tensors are not supported; use jtorch.autograd.functional.jvp")
