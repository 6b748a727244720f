"""Names of old for linear algebra, and the functions that only ``torch`` has."""

from __future__ import annotations

from collections import namedtuple

from ..ops.registry import OPS
from ..tensor.creation import on_device
from ..tensor.export import composite, function

_Svd = namedtuple("svd", ("U", "S", "V"))
_Svd.__module__ = "torch.return_types"


@composite("torch")
def chain_matmul(*matrices, out=None):
    """The product of matrices in the cheapest order."""
    matrices = tuple(matrices[0]) if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)) else matrices
    result = matrices[0] if len(matrices) == 1 else function(OPS["multi_dot"])(matrices)
    if out is not None:
        out._write_out(result)
        return out
    return result


@composite("torch", method=True, out=True)
def svd(input, some=True, compute_uv=True):
    """``(U, S, V)`` with ``input = U diag(S) V^H``; see :func:`jtorch.linalg.svd`, which returns ``V^H``."""
    if not compute_uv:
        s = function(OPS["svdvals"])(input)
        batch, (m, n) = input.shape[:-2], input.shape[-2:]
        return _Svd(input.new_zeros((*batch, m, m)), s, input.new_zeros((*batch, n, n)))
    u, s, vh = function(OPS["svd"])(input, full_matrices=not some)
    return _Svd(u, s, vh.mH)


@composite("torch", method=True, out=True)
def qr(input, some=True):
    """``(Q, R)``; the reduced factors with ``some``."""
    return function(OPS["qr"])(input, mode="reduced" if some else "complete")


@composite("torch", method=True, out=True)
def cholesky_inverse(input, upper=False):
    """The inverse of the matrix whose Cholesky factor is ``input``."""
    n = input.shape[-1]
    identity = on_device("eye", input.device, n=n, m=n, dtype=input.dtype)
    return function(OPS["cholesky_solve"])(identity, input, upper=upper)


@composite("torch", method=True, out=True)
def triangular_solve(input, A, upper=True, transpose=False, unitriangular=False):
    """``(x, A)`` with ``A x = input`` for triangular ``A``."""
    a = A.mT if transpose else A
    x = function(OPS["solve_triangular"])(a, input, upper=upper != transpose, unitriangular=unitriangular)
    return x, A.clone()


@composite("torch")
def norm_except_dim(v, pow=2, dim=0):
    """The norm over all dimensions but one, kept as size 1 (``dim`` -1: over all)."""
    if dim == -1:
        return v.norm(pow)
    others = tuple(d for d in range(v.dim()) if d != dim)
    return function(OPS["vector_norm"])(v, pow, others, True)


@composite("torch")
def pca_lowrank(A, q=None, center=True, niter=2):
    """``(U, S, V)`` of the leading ``q`` principal components (computed from the full decomposition)."""
    q = min(6, *A.shape[-2:]) if q is None else q
    if not 0 <= q <= min(A.shape[-2:]):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(A.shape[-2:])}")
    x = A - A.mean(-2, keepdim=True) if center else A
    return svd_lowrank(x, q)


@composite("torch")
def svd_lowrank(A, q=6, niter=2, M=None):
    """``(U, S, V)`` of the leading ``q`` singular triplets of ``A - M`` (computed from the full decomposition)."""
    u, s, vh = function(OPS["svd"])(A if M is None else A - M, full_matrices=False)
    return u[..., :q], s[..., :q], vh.mH[..., :q]
