"""Factorizations that report failure: as ``info``, or with ``check_errors`` as an error (which reads the result)."""

from __future__ import annotations

from typing import NamedTuple

from ..ops.registry import OPS
from ..return_types import named
from ..tensor.export import composite, function
from ..trace.graph import GraphTrace


class _LinAlgError(RuntimeError):
    """A matrix is singular, or not positive-definite, where it must not be."""


LinAlgError = _LinAlgError  # as PyTorch prints it and as PyTorch offers it


class _Failure(NamedTuple):
    where: str  # which matrix of a batch
    k: int  # its ``info``


def _failure(info) -> _Failure | None:
    """The first nonzero ``info``; None when all went well, and where there is no data to ask: on meta, in an export."""
    if info.is_meta or isinstance(info._value().trace, GraphTrace):
        return None
    found = info.detach()._host("check_errors").reshape(-1)
    bad = found.nonzero()[0]
    if not bad.size:
        return None
    return _Failure(f"(Batch element {bad[0]}): " if info.dim() else "", int(found[bad[0]]))


_CholeskyEx = named("linalg_cholesky_ex", ("L", "info"))
_InvEx = named("linalg_inv_ex", ("inverse", "info"))
_SolveEx = named("linalg_solve_ex", ("result", "info"))
_LuFactor = named("linalg_lu_factor", ("LU", "pivots"))
_LuFactorEx = named("linalg_lu_factor_ex", ("LU", "pivots", "info"))
_LdlFactor = named("linalg_ldl_factor", ("LD", "pivots"))
_LdlFactorEx = named("linalg_ldl_factor_ex", ("LD", "pivots", "info"))


@composite("linalg", out=True)
def cholesky_ex(input, *, upper=False, check_errors=False):
    """``(L, info)``: the Cholesky factor, and 0 or the order of the first leading minor that is not positive-definite.

    Where ``info`` is not 0, ``L`` is NaN.

    Raises:
        LinAlgError: with ``check_errors``, a matrix is not positive-definite.
    """
    result = _CholeskyEx(*function(OPS["_cholesky_ex"])(input, upper=upper))
    if check_errors and (failed := _failure(result.info)):
        raise LinAlgError(
            f"linalg.cholesky_ex: {failed.where}The factorization could not be completed because the input is not "
            f"positive-definite (the leading minor of order {failed.k} is not positive-definite)."
        )
    return result


@composite("linalg", out=True)
def inv_ex(A, *, check_errors=False):
    """``(inverse, info)``; ``info`` is 0 or the position of a zero pivot.

    Raises:
        LinAlgError: with ``check_errors``, a matrix is singular.
    """
    result = _InvEx(*function(OPS["_inv_ex"])(A))
    if check_errors and (failed := _failure(result.info)):
        raise LinAlgError(
            f"linalg.inv_ex: {failed.where}The diagonal element {failed.k} is zero, the inversion could not be "
            "completed because the input matrix is singular."
        )
    return result


@composite("linalg", out=True)
def solve_ex(A, B, *, left=True, check_errors=False):
    """``(result, info)`` of ``A X = B``; ``info`` is 0 or the position of a zero pivot.

    Raises:
        LinAlgError: with ``check_errors``, a matrix is singular.
    """
    result = _SolveEx(*function(OPS["_solve_ex"])(A, B, left=left))
    if check_errors and (failed := _failure(result.info)):
        raise LinAlgError(
            f"torch.linalg.solve_ex: {failed.where}The solver failed because the input matrix is singular."
        )
    return result


def _zero_pivot(name: str, failed: _Failure):
    raise RuntimeError(
        f"torch.linalg.{name}: {failed.where}U[{failed.k},{failed.k}] is zero and using it on lu_solve would result in "
        "a division by zero. If you still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
        "linalg.lu_factor_ex(A, pivot)"
    )


@composite("linalg", out=True)
def lu_factor_ex(A, *, pivot=True, check_errors=False):
    """``(LU, pivots, info)``; ``info`` is 0 or the position of a zero on U's diagonal.

    Raises:
        RuntimeError: with ``check_errors``, there is one; or ``pivot=False``.
    """
    result = _LuFactorEx(*function(OPS["_lu_factor_ex"])(A, pivot=pivot))
    if check_errors and (failed := _failure(result.info)):
        _zero_pivot("lu_factor_ex", failed)
    return result


@composite("linalg", out=True)
def lu_factor(A, *, pivot=True):
    """L (without its unit diagonal) and U in one matrix, and the row exchanges: ``(LU, pivots)`` with ``A = P L U``.

    Whether U has a zero on its diagonal is read on the host; :func:`lu_factor_ex` does not read.

    Raises:
        RuntimeError: it has; or ``pivot=False``.
    """
    result = _LuFactorEx(*function(OPS["_lu_factor_ex"])(A, pivot=pivot))
    if failed := _failure(result.info):
        _zero_pivot("lu_factor", failed)
    return _LuFactor(result.LU, result.pivots)


@composite("linalg", out=True)
def ldl_factor_ex(input, *, hermitian=False, check_errors=False):
    """``(LD, pivots, info)`` of the Bunch-Kaufman factorization of a symmetric (or Hermitian) matrix.

    Computed by LAPACK on the host; carries no gradient.

    Raises:
        RuntimeError: with ``check_errors``, a block of D is singular.
    """
    result = _LdlFactorEx(*function(OPS["_ldl_factor"])(input, hermitian=hermitian))
    if check_errors and (failed := _failure(result.info)):
        raise RuntimeError(
            f"torch.linalg.ldl_factor_ex: {failed.where}D[{failed.k},{failed.k}] is zero: the factor is singular"
        )
    return result


@composite("linalg", out=True)
def ldl_factor(input, *, hermitian=False):
    """``(LD, pivots)`` of :func:`ldl_factor_ex`."""
    return _LdlFactor(*ldl_factor_ex(input, hermitian=hermitian)[:2])


@composite("linalg", name="cholesky", out=True)
def linalg_cholesky(input, *, upper=False):
    """The lower triangular L with ``L L^H = A`` for a positive-definite ``input`` (``upper``: its adjoint).

    Whether there is one is read on the host; :func:`cholesky_ex` does not read.

    Raises:
        LinAlgError: ``input``, or a matrix of the batch, is not positive-definite.
    """
    result = _CholeskyEx(*function(OPS["_cholesky_ex"])(input, upper=upper))
    if failed := _failure(result.info):
        raise LinAlgError(
            f"linalg.cholesky: {failed.where}The factorization could not be completed because the input is not "
            f"positive-definite (the leading minor of order {failed.k} is not positive-definite)."
        )
    return result.L


@composite("torch", method=True, out=True)
def cholesky(input, upper=False):
    """The same as ``linalg.cholesky``."""
    return linalg_cholesky(input, upper=upper)


@composite("linalg", out=True)
def inv(A):
    """The inverse of a square matrix. Whether there is one is read on the host; :func:`inv_ex` does not read.

    Raises:
        LinAlgError: ``A``, or a matrix of the batch, is singular.
    """
    result = _InvEx(*function(OPS["_inv_ex"])(A))
    if failed := _failure(result.info):
        raise LinAlgError(
            f"linalg.inv: {failed.where}The diagonal element {failed.k} is zero, the inversion could not be completed "
            "because the input matrix is singular."
        )
    return result.inverse


@composite("torch", method=True, out=True)
def inverse(input):
    """The same as :func:`inv`."""
    return inv(input)


@composite("linalg", out=True)
def solve(A, B, *, left=True):
    """The X with ``A X = B`` (``X A = B`` with ``left=False``); ``B`` may be a vector, and batch dims broadcast.

    Whether there is one is read on the host; :func:`solve_ex` does not read.

    Raises:
        LinAlgError: ``A``, or a matrix of the batch, is singular.
        RuntimeError: ``A`` is not square, or the sizes or dtypes do not fit.
    """
    result = _SolveEx(*function(OPS["_solve_ex"])(A, B, left=left))
    if failed := _failure(result.info):
        raise LinAlgError(f"torch.linalg.solve: {failed.where}The solver failed because the input matrix is singular.")
    return result.result
