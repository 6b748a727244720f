"""Products of matrices whose rows, columns or inner dimension are cut into groups: mixtures of experts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .matmul import matmul
from .registry import Array, op


def _ragged(a, b, sizes, contract: tuple[int, int], ragged: int, group: tuple[int, ...]):
    dims = lax.RaggedDotDimensionNumbers(
        dot_dimension_numbers=(((contract[0],), (contract[1],)), ((), ())),
        lhs_ragged_dimensions=[ragged],
        rhs_group_dimensions=list(group),
    )
    return lax.ragged_dot_general(a, b, sizes, dims)


@jax.custom_vjp
def _rows(a, b, sizes):
    """``(M, K), (G, K, N) -> (M, N)``. Own gradient: JAX's derived one cannot be derived again."""
    return _ragged(a, b, sizes, (1, 1), 0, (0,))


@jax.custom_vjp
def _inner(a, b, sizes):
    """``(M, K), (K, N) -> (G, M, N)``, the gradient of :func:`_rows`, and the other way round."""
    return _ragged(a, b, sizes, (1, 0), 1, ())


def _rows_bwd(saved, g):
    a, b, sizes = saved
    return _rows(g, b.mT, sizes), _inner(a.T, g, sizes), None


def _inner_bwd(saved, g):
    a, b, sizes = saved
    return _rows(b, g.mT, sizes).T, _rows(a.T, g, sizes), None


_rows.defvjp(lambda *operands: (_rows(*operands), operands), _rows_bwd)
_inner.defvjp(lambda *operands: (_inner(*operands), operands), _inner_bwd)


def _check(mat_a, mat_b, offs) -> None:
    if mat_a.ndim not in (2, 3) or mat_b.ndim not in (2, 3):
        raise RuntimeError(f"mat_a and mat_b have to be 2 or 3 dimensional, got {mat_a.ndim} and {mat_b.ndim}")
    if mat_a.dtype != mat_b.dtype or mat_a.dtype not in (jnp.bfloat16, np.float16, np.float32):
        raise RuntimeError(
            "Expected inputs of BF16, FP16 or FP32 type, both the same, but got mat_a with dtype "
            f"{mat_a.dtype} and mat_b with dtype {mat_b.dtype}"
        )
    if mat_a.shape[-1] != mat_b.shape[-2]:
        raise RuntimeError(
            f"contraction dimension of mat_a and mat_b must match, got {mat_a.shape[-1]} and {mat_b.shape[-2]}"
        )
    if (offs is None) != (mat_a.ndim == mat_b.ndim == 3):
        raise RuntimeError("Have to provide offsets if there is a 2d matrix, or no offset if both matrices are 3d")
    if offs is None:
        if mat_a.shape[0] != mat_b.shape[0]:
            raise RuntimeError("batched dimension has to match")
        return
    if offs.ndim != 1:
        raise RuntimeError("offs has to be 1D")
    if offs.dtype != np.int32:
        raise RuntimeError("Offsets have to be int32")
    for matrix in (mat_a, mat_b):
        if matrix.ndim == 3 and matrix.shape[0] != offs.shape[0]:
            raise RuntimeError("matrix batch sizes have to match")


@op(namespaces=(), grad_name="GroupedMmBackward0")
def _grouped_mm(mat_a: Array, mat_b: Array, offs: Array | None):
    """``A_g B_g`` for each group ``g``; ``offs`` ``(G,)`` says where each ends along the dimension that is cut.

    ``(M, K), (G, K, N)`` cuts the rows: ``(M, N)``. ``(G, M, K), (K, N)`` cuts the columns: ``(M, N)``.
    ``(M, K), (K, N)`` cuts the inner dimension: ``(G, M, N)``. ``(G, M, K), (G, K, N)``: ``(G, M, N)``. What lies
    beyond the last end is 0.

    Raises:
        RuntimeError: shapes, dtypes or offsets that do not fit.
    """
    _check(mat_a, mat_b, offs)
    if offs is None:
        return matmul(mat_a, mat_b)
    sizes = jnp.diff(offs, prepend=np.zeros(1, np.int32))
    if mat_a.ndim == 2:
        return (_rows if mat_b.ndim == 3 else _inner)(mat_a, mat_b, sizes)
    return _rows(mat_b.T, mat_a.mT, sizes).T
