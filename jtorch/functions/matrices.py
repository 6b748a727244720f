"""Names of old for linear algebra, and the functions that only ``torch`` has."""

from __future__ import annotations

from ..ops.registry import OPS
from ..return_types import named
from ..tensor import Tensor
from ..tensor.creation import on_device
from ..tensor.export import composite, function
from ..tensor.layout import strided
from .random import randn

_Svd = named("svd", ("U", "S", "V"))


@composite("torch", out=True)
def chain_matmul(*matrices):
    """The product of matrices in the cheapest order.

    Raises:
        RuntimeError: there are none.
    """
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    matrices = tuple(matrices[0]) if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)) else matrices
    return matrices[0] if len(matrices) == 1 else function(OPS["multi_dot"])(matrices)


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
    return named("qr", ("Q", "R"))(*function(OPS["qr"])(input, mode="reduced" if some else "complete"))


@composite("torch", method=True, out=True)
def cholesky_inverse(input, upper=False):
    """The inverse of the matrix whose Cholesky factor is ``input``."""
    n = input.shape[-1]
    identity = on_device("eye", input.device, n=n, m=n, dtype=input.dtype)
    return function(OPS["cholesky_solve"])(identity, input, upper=upper)


@composite("torch", method=True, out=True)
def triangular_solve(input, A, upper=True, transpose=False, unitriangular=False):
    """``(solution, cloned_coefficient)``, the latter ``A``, with ``A x = input`` for triangular ``A``."""
    a = A.mT if transpose else A
    x = function(OPS["solve_triangular"])(a, input, upper=upper != transpose, unitriangular=unitriangular)
    return named("triangular_solve", ("solution", "cloned_coefficient"))(x, A.clone())


@composite("torch")
def norm(input, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    """The ``p``-norm of ``input`` as a vector over ``dim`` (``"fro"``, the default, is 2); ``"nuc"`` for matrices."""
    return function(OPS["norm"])(input, p, dim, keepdim, dtype, out=out)


@composite("torch")
def tensordot(a, b, dims=2, out=None):
    """The products summed over several dims: the last ``dims`` of ``a`` with the first of ``b``, or two lists of dims.

    Raises:
        RuntimeError: sizes of contracted dims differ.
    """
    dims = dims.tolist() if isinstance(dims, Tensor) else dims
    return function(OPS["tensordot"])(a, b, dims, out=out)


@composite("torch")
def norm_except_dim(v, pow=2, dim=0):
    """The norm over all dimensions but one, kept as size 1 (``dim`` -1: over all)."""
    if dim == -1:
        return v.norm(pow)
    others = tuple(d for d in range(v.dim()) if d != dim)
    return function(OPS["vector_norm"])(v, pow, others, True)


@composite("torch")
def pca_lowrank(A, q=None, center=True, niter=2):
    """``(U, S, V)`` of the leading ``q`` principal components: :func:`svd_lowrank` of the centred rows.

    Raises:
        ValueError: ``q`` is negative or more than the smaller side, or ``niter`` is negative.
    """
    q = min(6, *A.shape[-2:]) if q is None else q
    if not 0 <= q <= min(A.shape[-2:]):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(A.shape[-2:])}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    A = _dense(A)
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


@composite("torch")
def svd_lowrank(A, q=6, niter=2, M=None):
    """``(U, S, V)`` of about the leading ``q`` singular triplets of ``A - M``, from a random subspace.

    The rows are projected on a basis of ``(X X^H)^niter X R`` for ``X = A - M`` and random ``R`` with ``q`` columns,
    orthogonalised after each product (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1).
    """
    x = _dense(A) if M is None else _dense(A) - _dense(M)
    wide = x.shape[-2] < x.shape[-1]
    x = x.mH if wide else x
    orthogonal = function(OPS["qr"])
    basis = orthogonal(x @ randn(x.shape[-1], 6 if q is None else q, dtype=x.dtype, device=x.device))[0]
    for _ in range(2 if niter is None else niter):
        basis = orthogonal(x.mH @ basis)[0]
        basis = orthogonal(x @ basis)[0]
    u, s, vh = function(OPS["svd"])(basis.mH @ x, full_matrices=False)
    u, v = basis @ u, vh.mH
    return (v, s, u) if wide else (u, s, v)


def _dense(x):
    return x if x.layout is strided else x.to_dense()
