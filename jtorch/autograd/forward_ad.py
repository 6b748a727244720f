"""Forward mode is not available tensor by tensor; :func:`jtorch.autograd.functional.jvp` computes J v."""

from __future__ import annotations


def dual_level():
    """Not supported.

    Raises:
        NotImplementedError: always; use ``jtorch.autograd.functional.jvp``.
    """
    raise NotImplementedError("forward-mode dual tensors are not supported; use jtorch.autograd.functional.jvp")
