"""What depends on which singular values count as 0, in PyTorch's present and older spellings of that."""

from __future__ import annotations

from ..ops.registry import OPS
from ..tensor.export import composite, function


@composite("linalg", out=True)
def matrix_rank(input, tol=None, hermitian=False, *, atol=None, rtol=None):
    """How many singular values of each matrix exceed ``max(atol, rtol * largest)``; int64.

    Args:
        tol: the older spelling of ``atol`` with ``rtol=0``.
        hermitian: the matrices are symmetric or Hermitian; their lower triangles are read.
        atol, rtol: numbers, or tensors with one for each matrix. ``rtol`` defaults to ``max(m, n) * eps``, or to 0
            beside a positive ``atol``.
    """
    if tol is not None:
        atol, rtol = tol, 0.0
    return function(OPS["_matrix_rank"])(input, atol, rtol, hermitian=hermitian)


@composite("linalg", out=True)
def pinv(input, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The Moore-Penrose inverse of each matrix; singular values up to ``max(atol, rtol * largest)`` count as 0.

    Args:
        rcond: the older spelling of ``rtol``.
        hermitian, atol, rtol: as for :func:`matrix_rank`.
    """
    rtol = rcond if rtol is None else rtol
    return function(OPS["_pinv"])(input, atol, rtol, hermitian=hermitian)
