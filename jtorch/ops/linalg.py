"""Decompositions, solvers and determinants, over batches of matrices."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax import scipy as jscipy

from . import linalg_eig
from .elementwise import in_float32, is_complex, is_half, is_integral, type_name
from .loops import staged
from .matmul import matmul
from .norms import matrix_norm
from .registry import Array, Number, op
from .shapes import broadcast_shapes

BOTH = ("torch", "linalg")
ONLY = ("linalg",)

# --- checks ----------------------------------------------------------------------------------------------------------


def _matrix(name: str, A):
    if A.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if is_integral(A):
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {type_name(A)}")
    if is_half(A):
        raise RuntimeError(f"linalg.{name}: Low precision dtypes not supported. Got {type_name(A)}")


def _square(name: str, A):
    _matrix(name, A)
    if A.shape[-1] != A.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {A.shape[-2]} by {A.shape[-1]} matrices"
        )


def adjoint(A):
    """The conjugate transpose of the last two dims."""
    return jnp.conj(jnp.swapaxes(A, -2, -1))


# --- determinants and inverses ---------------------------------------------------------------------------------------


@op(namespaces=BOTH, grad_name="LinalgDetBackward0")
def det(A: Array):
    """The determinant."""
    _square("det", A)
    return jnp.linalg.det(A) if A.size else jnp.sum(A, (-2, -1)) + 1


@op(returns=("sign", "logabsdet"), grad_name="LinalgSlogdetBackward0")
def slogdet(A: Array):
    """The sign of the determinant and the logarithm of its absolute value."""
    _square("slogdet", A)
    sign, logabsdet = jnp.linalg.slogdet(A)
    return sign, logabsdet


@op
def logdet(input: Array):
    """The logarithm of the determinant; NaN where that is negative."""
    _square("logdet", input)
    sign, logabsdet = jnp.linalg.slogdet(input)
    if is_complex(input):
        return jnp.log(sign) + logabsdet.astype(sign.dtype)
    return jnp.where(sign < 0, jnp.nan, logabsdet)


@op(namespaces=ONLY)
def inv(A: Array):
    """The inverse of a square matrix."""
    _square("inv", A)
    return jnp.linalg.inv(A)


@op
def inverse(input: Array):
    """The inverse of a square matrix."""
    return inv(input)


def _negligible(values, shape, atol, rtol):
    """Up to where the singular values of matrices of a shape count as 0: ``max(atol, rtol * largest)``.

    ``rtol`` defaults to ``max(m, n) * eps``, or to 0 beside a positive ``atol``. Tolerances are numbers or arrays, one
    for each matrix.
    """
    if rtol is None:
        rtol = max(shape[-2:]) * float(jnp.finfo(values.dtype).eps)
        rtol = rtol if atol is None else jnp.where(jnp.asarray(atol) > 0, 0, rtol)
    atol, rtol = (jnp.asarray(0 if t is None else t).astype(values.dtype)[..., None] for t in (atol, rtol))
    return jnp.maximum(atol, rtol * jnp.max(values, -1, keepdims=True, initial=0))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _pseudo_inverse(A, atol, rtol, hermitian: bool):
    if hermitian:
        values, U = jnp.linalg.eigh(A)
        Vh = adjoint(U)
    else:
        U, values, Vh = jnp.linalg.svd(A, full_matrices=False)
    used = jnp.abs(values) > _negligible(jnp.abs(values), A.shape, atol, rtol)
    inverse = jnp.where(used, 1 / jnp.where(used, values, 1), 0).astype(A.dtype)
    return (adjoint(Vh) * inverse[..., None, :]) @ adjoint(U)


@_pseudo_inverse.defjvp
def _pseudo_inverse_jvp(hermitian, primals, tangents):
    # at equal rank: Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares" (1973)
    (A, *_), (dA, *_) = primals, tangents
    P = _pseudo_inverse(*primals, hermitian)
    left, right = P @ adjoint(P) @ adjoint(dA), adjoint(dA) @ adjoint(P) @ P
    return P, left - left @ A @ P + right - P @ (A @ right) - P @ dA @ P


@op(name="_pinv", namespaces=(), grad_name="LinalgPinvBackward0")
def pinv(
    input: Array, atol: Array | Number | None = None, rtol: Array | Number | None = None, *, hermitian: bool = False
):
    """The Moore-Penrose inverse; singular values up to ``max(atol, rtol * largest)`` count as 0."""
    _matrix("pinv", input)
    return _pseudo_inverse(_hermitian(input, "L") if hermitian else input, atol, rtol, hermitian)


@op
def pinverse(input: Array, rcond: float = 1e-15):
    """The Moore-Penrose inverse; singular values up to ``rcond`` times the largest count as 0."""
    return pinv(input, rtol=rcond)


@op(namespaces=BOTH)
def matrix_power(input: Array, n: int):
    """``input`` multiplied ``n`` times by itself; the power of the inverse for a negative ``n``."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        _square("matrix_power", input)
    return jnp.linalg.matrix_power(input, n)


@op(namespaces=BOTH)
@in_float32
def matrix_exp(input: Array):
    """The matrix exponential."""
    _square("matrix_exp", input)
    return staged(jscipy.linalg.expm)(input)


# --- linear systems --------------------------------------------------------------------------------------------------


def _is_vector(A, B) -> bool:
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and A.shape[:-1] == B.shape)


def _same_dtype(name: str, A, B):
    if A.dtype != B.dtype:
        raise RuntimeError(
            f"linalg.{name}: Expected A and B to have the same dtype, but found A of type {type_name(A)} "
            f"and B of type {type_name(B)} instead"
        )


@op(namespaces=ONLY)
def solve(A: Array, B: Array, *, left: bool = True):
    """The X with ``A X = B`` (``X A = B`` with ``left=False``); ``B`` may be a vector, and batch dims broadcast.

    Raises:
        RuntimeError: ``A`` is not square, or the sizes or dtypes do not fit.
    """
    _square("solve", A)
    _same_dtype("solve", A, B)
    vector = left and _is_vector(A, B)
    X = B[..., None] if vector else B
    size = X.shape[-2 if left else -1] if X.ndim >= 2 else 1
    if size != A.shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({A.shape[-2]}x{A.shape[-1]} and {X.shape[-2]}x{X.shape[-1]})"
        )
    batch = broadcast_shapes(A.shape[:-2], X.shape[:-2])
    A, X = jnp.broadcast_to(A, batch + A.shape[-2:]), jnp.broadcast_to(X, batch + X.shape[-2:])
    if not left:
        return jnp.swapaxes(jnp.linalg.solve(jnp.swapaxes(A, -1, -2), jnp.swapaxes(X, -1, -2)), -1, -2)
    out = jnp.linalg.solve(A, X)
    return out[..., 0] if vector else out


@op(namespaces=ONLY)
def solve_triangular(input: Array, B: Array, *, upper: bool, left: bool = True, unitriangular: bool = False):
    """The X with ``A X = B`` (``X A = B`` with ``left=False``) for a triangular ``A``, whose other half is not read."""
    _square("solve_triangular", input)
    _same_dtype("solve_triangular", input, B)
    batch = broadcast_shapes(input.shape[:-2], B.shape[:-2])
    input, B = jnp.broadcast_to(input, batch + input.shape[-2:]), jnp.broadcast_to(B, batch + B.shape[-2:])
    return lax.linalg.triangular_solve(input, B, left_side=left, lower=not upper, unit_diagonal=unitriangular)


@op
def cholesky_solve(input: Array, input2: Array, upper: bool = False):
    """The X with ``A X = input``, given the Cholesky factor ``L = input2``: ``A = L L^H``, or ``L^H L`` with ``upper``.

    As in PyTorch, values come from one triangle of ``L`` and gradients go to all of it: they are those of solving
    with ``A``.
    """
    _square("cholesky_solve", input2)
    shape = broadcast_shapes(input.shape[:-2], input2.shape[:-2])
    B, L = (jnp.broadcast_to(x, (*shape, *x.shape[-2:])) for x in (input, input2))
    first, second = (adjoint(L), L) if upper else (L, adjoint(L))
    lower, higher = lax.stop_gradient(first), lax.stop_gradient(second)

    def solve(_, b):
        return solve_triangular(higher, solve_triangular(lower, b, upper=False), upper=True)

    def transposed(_, b):
        return jnp.conj(solve(None, jnp.conj(b)))

    return lax.custom_linear_solve(lambda x: first @ (second @ x), B, solve, transposed)


@op(
    namespaces=ONLY,
    returns=("solution", "residuals", "rank", "singular_values"),
    differentiable=("solution", "residuals"),
)
def lstsq(input: Array, b: Array, rcond: float | None = None, *, driver: str | None = None):
    """The X of least norm that minimises ``|A X - B|``, for matrices ``A`` and ``B`` (or a vector for each ``A``).

    ``driver`` is ``"gelsy"`` (default), ``"gels"``, ``"gelsd"`` or ``"gelss"`` and decides, as in PyTorch, which of
    the other results are filled: ``residuals`` (the squared norms of the columns of ``A X - B``, for more rows than
    columns) by all but gelsy, ``rank`` by all but gels, ``singular_values`` by gelsd and gelss.

    Raises:
        RuntimeError: another driver, or sizes or dtypes that do not fit.
    """
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            "torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got " + driver
        )
    _matrix("lstsq", input)
    _same_dtype("lstsq", input, b)
    vector = _is_vector(input, b)
    target = b[..., None] if vector else b
    if target.shape[-2] != input.shape[-2]:
        raise RuntimeError(
            "torch.linalg.lstsq: input.size(-2) should match other.size(-2), got "
            f"{input.shape[-2]} and {target.shape[-2]}"
        )
    solution = matmul(pinv(input, rtol=rcond), target)
    nothing = jnp.zeros((0,), jnp.finfo(input.dtype).dtype)
    residuals, values = nothing, nothing
    if driver in ("gels", "gelss", "gelsd") and input.shape[-2] > input.shape[-1]:
        residuals = jnp.sum(jnp.square(jnp.abs(matmul(input, solution) - target)), -2)
    if driver in ("gelss", "gelsd"):
        values = svdvals(input)
    rank = jnp.zeros((0,), np.int64) if driver == "gels" else matrix_rank(input, rtol=rcond)
    return solution[..., 0] if vector else solution, residuals, rank, values


# --- decompositions --------------------------------------------------------------------------------------------------


@op(namespaces=BOTH)
def cholesky(input: Array, upper: bool = False):
    """The lower triangular L with ``L L^H = A`` for a positive-definite ``input`` (``upper``: its adjoint).

    The result is NaN where ``input`` is not positive-definite.
    """
    _square("cholesky", input)
    L = jnp.linalg.cholesky(_hermitian(input, "U" if upper else "L"), symmetrize_input=False)
    return adjoint(L) if upper else L


@op(namespaces=ONLY, returns=("Q", "R"), grad_name="LinalgQrBackward0")
def qr(A: Array, mode: str = "reduced"):
    """``A = Q R`` with orthonormal columns of Q and upper triangular R; ``mode`` is reduced, complete or r."""
    _matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    if mode == "r":
        return jnp.zeros((0,), A.dtype), jnp.linalg.qr(A, mode="r")
    Q, R = jnp.linalg.qr(A, mode=mode)
    return Q, R


@op(namespaces=ONLY, returns=("U", "S", "Vh"), grad_name="LinalgSvdBackward0")
def svd(A: Array, full_matrices: bool = True, *, driver: str | None = None):
    """``A = U diag(S) Vh``; with ``full_matrices``, U and Vh are square.

    The columns that ``full_matrices`` adds carry no gradient, as they are an arbitrary basis.
    """
    _matrix("svd", A)
    U, S, Vh = jnp.linalg.svd(A, full_matrices=False)
    if full_matrices:
        U, Vh = _completed(U), adjoint(_completed(adjoint(Vh)))
    return U, S, Vh


def _completed(Q):
    """``Q`` (n, k) with orthonormal columns, extended to a basis of all n dims."""
    n, k = Q.shape[-2:]
    if n == k:
        return Q
    full, _ = jnp.linalg.qr(lax.stop_gradient(Q), mode="complete")
    return jnp.concatenate([Q, full[..., k:]], -1)


@op(namespaces=ONLY)
def svdvals(A: Array, *, driver: str | None = None):
    """The singular values, largest first."""
    _matrix("svdvals", A)
    return jnp.linalg.svd(A, compute_uv=False)


def _uplo(name: str, UPLO: str) -> str:
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO} in linalg.{name}")
    return UPLO.upper()


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _hermitian(A, uplo: str):
    """The Hermitian matrix whose ``uplo`` triangle is ``A``'s. Both triangles of ``A`` share the gradient."""
    strict = jnp.tril(A, -1) if uplo == "L" else jnp.triu(A, 1)
    diagonal = jnp.where(jnp.eye(A.shape[-1], dtype=bool), A.real, 0).astype(A.dtype)
    return strict + adjoint(strict) + diagonal


@_hermitian.defjvp
def _hermitian_jvp(uplo, primals, tangents):
    return _hermitian(primals[0], uplo), (tangents[0] + adjoint(tangents[0])) / 2


@op(namespaces=ONLY, returns=("eigenvalues", "eigenvectors"), grad_name="LinalgEighBackward0")
def eigh(input: Array, UPLO: str = "L"):
    """The eigenvalues (ascending) and eigenvectors of a symmetric or Hermitian matrix, read from one triangle."""
    _square("eigh", input)
    values, vectors = jnp.linalg.eigh(_hermitian(input, _uplo("eigh", UPLO)), symmetrize_input=False)
    return values, vectors


@op(namespaces=ONLY, grad_name="LinalgEighBackward0")
def eigvalsh(input: Array, UPLO: str = "L"):
    """The eigenvalues of a symmetric or Hermitian matrix, ascending."""
    return eigh(input, UPLO)[0]


@op(namespaces=ONLY, returns=("eigenvalues", "eigenvectors"))
def eig(input: Array):
    """The (complex) eigenvalues and eigenvectors of a square matrix. Runs on the CPU only."""
    _square("eig", input)
    return linalg_eig.eig(input)


@op(namespaces=ONLY)
def eigvals(input: Array):
    """The (complex) eigenvalues of a square matrix. Runs on the CPU only."""
    _square("eigvals", input)
    return linalg_eig.eigvals(input)


@op(name="_matrix_rank", namespaces=(), differentiable=False)
def matrix_rank(
    input: Array, atol: Array | Number | None = None, rtol: Array | Number | None = None, *, hermitian: bool = False
):
    """How many singular values exceed ``max(atol, rtol * largest)``."""
    _matrix("matrix_rank", input)
    if not min(input.shape[-2:]):
        return jnp.zeros(input.shape[:-2], np.int64)
    values = jnp.abs(eigvalsh(input)) if hermitian else jnp.linalg.svd(input, compute_uv=False)
    return jnp.sum(values > _negligible(values, input.shape, atol, rtol), -1, dtype=np.int64)


@op(namespaces=ONLY)
def cond(input: Array, p: float | str | None = None):
    """The condition number: the largest singular value over the smallest, or ``norm(A, p) * norm(inv(A), p)``.

    Infinite where there is no inverse, 0 of an empty matrix.
    """
    _matrix("cond", input)
    if p not in (None, 2, -2):
        _square("cond", input)
    if input.size == 0:
        return jnp.zeros(input.shape[:-2], jnp.finfo(input.dtype).dtype)
    if p in (None, 2, -2):
        values = svdvals(input)
        return values[..., -1] / values[..., 0] if p == -2 else values[..., 0] / values[..., -1]
    if p == "nuc":
        values = svdvals(input)
        return jnp.sum(values, -1) * jnp.sum(1 / values, -1)
    inverse = inv(input)
    exists = jnp.all(jnp.isfinite(inverse), (-2, -1))
    return jnp.where(exists, matrix_norm(input, p) * matrix_norm(inverse, p), jnp.inf)
