"""LU and LDL factorizations, what is solved with them, and the forms that report failure as ``info``."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .linalg import ONLY, _hermitian, _matrix, _same_dtype, _square, adjoint, inv, solve
from .loops import cond, fori_loop
from .registry import Array, op
from .shapes import broadcast_shapes

# --- LU --------------------------------------------------------------------------------------------------------------


def _factor(name: str, A, pivot: bool):
    """``(LU, pivots)`` with PyTorch's pivots: int32, counted from 1."""
    _matrix(name, A)
    if not pivot:
        raise RuntimeError(f"linalg.{name}: LU without pivoting is not implemented on the CPU; leave out pivot=False")
    LU, pivots, _ = lax.linalg.lu(A)
    return LU, (pivots + 1).astype(np.int32)


def _first_zero(LU):
    """The position (from 1) of the first zero on the diagonal, 0 where there is none: LAPACK's ``info``."""
    zero = jnp.diagonal(LU, axis1=-2, axis2=-1) == 0
    if not zero.shape[-1]:
        return jnp.zeros(zero.shape[:-1], np.int32)
    return jnp.where(jnp.any(zero, -1), jnp.argmax(zero, -1) + 1, 0).astype(np.int32)


def _triangles(LU):
    """L (m, k) with a unit diagonal and U (k, n) from their common storage."""
    m, n = LU.shape[-2:]
    k = min(m, n)
    L = jnp.tril(LU[..., :k], -1) + jnp.eye(m, k, dtype=LU.dtype)
    return L, jnp.triu(LU[..., :k, :])


def _permutation(pivots, rows: int):
    return lax.linalg.lu_pivots_to_permutation(pivots.astype(np.int32) - 1, rows)


def _permutation_matrix(pivots, rows: int, dtype):
    """P with ``A = P L U``."""
    order = _permutation(pivots, rows)
    return (jnp.arange(rows)[:, None] == order[..., None, :]).astype(dtype)


@op(name="_lu_factor", namespaces=())
def lu_factor(A: Array, *, pivot: bool = True):
    """L (without its unit diagonal) and U in one matrix, and the row exchanges: ``A = P L U``."""
    return _factor("lu", A, pivot)


@op(name="_lu_factor_ex", namespaces=())
def lu_factor_ex(A: Array, *, pivot: bool = True):
    """``lu_factor``, and ``info``: the position of the first zero pivot, or 0."""
    LU, pivots = _factor("lu_factor_ex", A, pivot)
    return LU, pivots, _first_zero(LU)


@op(name="_lu_permutation", namespaces=(), differentiable=False)
def lu_permutation(LU: Array, pivots: Array):
    """The matrix P with ``A = P L U``."""
    return _permutation_matrix(pivots, LU.shape[-2], LU.dtype)


@op(name="_lu_triangles", namespaces=(), grad_name="LuUnpackBackward0")
def lu_triangles(LU: Array, wanted: bool = True):
    """``(L, U)`` from their common storage; empty ones where they are not wanted."""
    return _triangles(LU) if wanted else (LU.reshape(-1)[:0],) * 2


_h = adjoint  # where a parameter has that name


def _triangular(A, B, *, upper: bool, transposed: bool, unit: bool):
    return lax.linalg.triangular_solve(
        A, B, left_side=True, lower=not upper, transpose_a=transposed, conjugate_a=transposed, unit_diagonal=unit
    )


@op(name="linalg_lu_solve", namespaces=(), out=True)
def lu_solve(LU: Array, pivots: Array, B: Array, *, left: bool = True, adjoint: bool = False):
    """The X with ``A X = B`` given A's LU factorization (``left=False``: ``X A = B``; ``adjoint``: with ``A^H``)."""
    _square("lu_solve", LU)
    _same_dtype("lu_solve", LU, B)
    if pivots.dtype != np.int32:
        raise RuntimeError(f"linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32. Got {pivots.dtype}")
    if not left:  # X A = B is A^H X^H = B^H
        return _h(lu_solve(LU, pivots, _h(B), adjoint=not adjoint))
    n = LU.shape[-1]
    if B.ndim < 2 or B.shape[-2] != n:
        raise RuntimeError(
            f"linalg.lu_solve: Incompatible shapes of A and B for the equation AX = B ({n}x{n} and "
            f"{'x'.join(map(str, B.shape[-2:]))})"
        )
    batch = broadcast_shapes(LU.shape[:-2], B.shape[:-2])
    order = jnp.broadcast_to(_permutation(pivots, n), (*batch, n))[..., None]
    LU, B = jnp.broadcast_to(LU, batch + LU.shape[-2:]), jnp.broadcast_to(B, batch + B.shape[-2:])
    if adjoint:
        Y = _triangular(LU, B, upper=True, transposed=True, unit=False)
        Y = _triangular(LU, Y, upper=False, transposed=True, unit=True)
        return jnp.take_along_axis(Y, jnp.argsort(order, -2), -2)
    Y = _triangular(LU, jnp.take_along_axis(B, order, -2), upper=False, transposed=False, unit=True)
    return _triangular(LU, Y, upper=True, transposed=False, unit=False)


# --- info instead of errors ------------------------------------------------------------------------------------------


def _fails(L):
    return jnp.any(jnp.isnan(L), (-2, -1))


def _bad_minor(A):
    """The order of the first leading minor of ``A`` that Cholesky fails on, where it fails on ``A``.

    By bisection, each minor being extended with ones on the diagonal. The same routine decides as for ``A``: another
    one's rounding could find every minor of a nearly singular matrix good.
    """
    n = A.shape[-1]

    def halve(_, bounds):
        good, bad = bounds
        middle = (good + bad) // 2
        inside = jnp.arange(n) < middle[..., None]
        minor = jnp.where(inside[..., :, None] & inside[..., None, :], A, jnp.eye(n, dtype=A.dtype))
        failed = _fails(jnp.linalg.cholesky(minor, symmetrize_input=False))
        return jnp.where(failed, good, middle), jnp.where(failed, middle, bad)

    bounds = jnp.zeros(A.shape[:-2], np.int32), jnp.full(A.shape[:-2], n, np.int32)
    return fori_loop(0, n.bit_length(), halve, bounds)[1]


@op(name="_cholesky_ex", namespaces=(), grad_name="LinalgCholeskyExBackward0")
def cholesky_ex(A: Array, *, upper: bool = False):
    """The Cholesky factor, and ``info``: the order of the first leading minor that is not positive-definite, or 0."""
    _square("cholesky_ex", A)
    whole = _hermitian(A, "U" if upper else "L")
    L = jnp.linalg.cholesky(whole, symmetrize_input=False)
    if not A.size:
        return L, jnp.zeros(A.shape[:-2], np.int32)
    failed = _fails(lax.stop_gradient(L))
    fixed = lax.stop_gradient(whole)
    info = cond(jnp.any(failed), _bad_minor, lambda x: jnp.zeros(x.shape[:-2], np.int32), fixed)
    return adjoint(L) if upper else L, jnp.where(failed, info, 0)


@op(name="_inv_ex", namespaces=(), grad_name="LinalgInvExBackward0")
def inv_ex(A: Array):
    """The inverse, and ``info``: the position of the first zero pivot, or 0."""
    _square("inv_ex", A)
    return inv(A), _first_zero(lax.linalg.lu(lax.stop_gradient(A))[0])


@op(name="_solve_ex", namespaces=(), grad_name="LinalgSolveExBackward0")
def solve_ex(A: Array, B: Array, *, left: bool = True):
    """The solution, and ``info``: the position of the first zero pivot, or 0."""
    return solve(A, B, left=left), _first_zero(lax.linalg.lu(lax.stop_gradient(A))[0])


# --- LDL -------------------------------------------------------------------------------------------------------------
# XLA has no Bunch-Kaufman factorization: LAPACK is called on the host.


def _lapack(kind: str, dtype, hermitian: bool):
    from scipy.linalg import lapack

    letter = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}[np.dtype(dtype).name]
    return getattr(lapack, f"{letter}{'he' if hermitian and letter in 'cz' else 'sy'}{kind}")


def _each(A, run):
    """``run(matrix)`` for every matrix of a batch, the results stacked."""
    A = np.asarray(A)
    results = [run(m) for m in A.reshape(-1, *A.shape[-2:])]
    return [np.stack(r).reshape((*A.shape[:-2], *r[0].shape)) for r in zip(*results, strict=True)]


@op(name="_ldl_factor", namespaces=(), differentiable=False)
def ldl_factor(A: Array, *, hermitian: bool = False):
    """``(LD, pivots, info)`` of LAPACK's sytrf (hetrf) on the lower triangle, computed on the host."""
    _square("ldl_factor_ex", A)
    batch, n = A.shape[:-2], A.shape[-1]
    if not A.size:
        return A, jnp.zeros((*batch, n), np.int32), jnp.zeros(batch, np.int32)

    def host(A):
        trf = _lapack("trf", A.dtype, hermitian)

        def one(matrix):
            packed, pivots, info = trf(matrix, lower=1)
            return np.tril(packed), pivots.astype(np.int32), np.asarray(info, np.int32)

        return tuple(_each(A, one))

    shapes = (
        jax.ShapeDtypeStruct(A.shape, A.dtype), jax.ShapeDtypeStruct((*batch, n), np.int32),
        jax.ShapeDtypeStruct(batch, np.int32),
    )  # fmt: skip
    return jax.pure_callback(host, shapes, lax.stop_gradient(A), vmap_method="sequential")


@op(name="ldl_solve", namespaces=ONLY, differentiable=False)
def ldl_solve(LD: Array, pivots: Array, B: Array, *, hermitian: bool = False):
    """The X with ``A X = B`` given ``(LD, pivots)`` of :func:`ldl_factor`; LAPACK's sytrs (hetrs) on the host."""
    _square("ldl_solve", LD)
    _same_dtype("ldl_solve", LD, B)
    if B.ndim < 2 or B.shape[-2] != LD.shape[-1]:
        raise RuntimeError(
            f"linalg.ldl_solve: Expected B.size(-2) to be {LD.shape[-1]}, got a B of shape {list(B.shape)}"
        )
    batch = broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    shape = batch + B.shape[-2:]

    def host(LD, pivots, B):
        LD, pivots, B = map(np.asarray, (LD, pivots, B))
        trs = _lapack("trs", LD.dtype, hermitian)
        LD = np.broadcast_to(LD, batch + LD.shape[-2:]).reshape(-1, *LD.shape[-2:])
        pivots = np.broadcast_to(pivots, batch + pivots.shape[-1:]).reshape(-1, pivots.shape[-1])
        B = np.broadcast_to(B, shape).reshape(-1, *shape[-2:])
        found = [trs(a, p, b, lower=1)[0] for a, p, b in zip(LD, pivots, B, strict=True)]
        return np.stack(found).reshape(shape).astype(LD.dtype) if found else np.zeros(shape, LD.dtype)

    return jax.pure_callback(host, jax.ShapeDtypeStruct(shape, B.dtype), LD, pivots, B, vmap_method="sequential")
