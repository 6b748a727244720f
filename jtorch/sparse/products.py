"""Products with sparse matrices."""

from __future__ import annotations

import numpy as np

from ..tensor.dispatch import call
from ..tensor.layout import sparse_coo
from .conversion import linear, to_layout, unravel
from .tensor import SparseTensor, index_tensor, make


def _matrix(t: SparseTensor) -> SparseTensor:
    coo = t.to_sparse_coo()
    if coo.dim() != 2 or coo.sparse_dim() != 2:
        raise RuntimeError(
            f"matmul: expected a sparse matrix, but got {coo.sparse_dim()} sparse and {coo.dense_dim()} dense dims"
        )
    return coo


def _check(a, b) -> None:
    if a.shape[-1] != b.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {'x'.join(map(str, b.shape))})"
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"expected mat1 and mat2 to have the same dtype, but got: {a.dtype.legacy_name} != {b.dtype.legacy_name}"
        )


def matmul(a, b, reduce: str = "sum"):
    """``a @ b`` where one of them at least is sparse; sparse if both are."""
    if isinstance(a, SparseTensor) and isinstance(b, SparseTensor):
        return _sparse_sparse(a, b)
    if isinstance(a, SparseTensor):
        if a.dim() == 3:
            return _batched(a, b)
        a = _matrix(a)
        if b.dim() not in (1, 2):
            raise RuntimeError(f"matmul of a sparse matrix takes a matrix or a vector, got {b.dim()} dims")
        _check(a, b)
        rows = a._index[0]
        return call("_spmm", a._stored, rows[0], rows[1], b, count=a.shape[0], reduce=reduce)
    b = _matrix(b)
    if a.dim() == 1:
        return matmul(b.t(), a)
    if a.dim() > 2:
        return matmul(a.reshape((-1, a.shape[-1])), b).reshape((*a.shape[:-1], b.shape[1]))
    _check(a, b)
    return matmul(b.t(), a.t()).t()


def _batched(a: SparseTensor, b):
    """``(B, M, K)`` sparse and ``(B, K, N)`` dense: one product with the batches side by side."""
    coo = a.to_sparse_coo()
    if coo.sparse_dim() != 3 or b.dim() != 3 or b.shape[0] != a.shape[0] or b.shape[1] != a.shape[2]:
        raise RuntimeError(
            f"bmm: expected a sparse batch of matrices and a dense one that fits, got {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    n, m, k = a.shape
    batch, row, col = coo._index[0]
    flat = call("_spmm", coo._stored, batch * m + row, batch * k + col, b.reshape((n * k, b.shape[2])), count=n * m)
    return flat.reshape((n, m, b.shape[2]))


def _sparse_sparse(a: SparseTensor, b: SparseTensor):
    """Every stored element of ``a`` meets those of ``b``'s row with its column's number; what falls together is summed.

    The pairs are found on the host, the values are multiplied and added as recorded ops.
    """
    kind = a.layout
    x, y = _matrix(a).coalesce(), _matrix(b).coalesce()
    _check(x, y)
    (row, inner), (outer, col) = (t._index[0]._host("sparse mm") for t in (x, y))
    first, last = (np.searchsorted(outer, inner, side) for side in ("left", "right"))
    number = last - first
    left = np.repeat(np.arange(inner.size), number)
    right = np.repeat(first, number) + np.arange(left.size) - np.repeat(np.cumsum(number) - number, number)
    size = (x.shape[0], y.shape[1])
    at, where = np.unique(linear(np.stack([row[left], col[right]]), size), return_inverse=True)
    terms = x._stored[index_tensor(left, x.device)] * y._stored[index_tensor(right, x.device)]
    values = call("_sparse_sum", terms, index_tensor(where.reshape(-1), x.device), count=at.size)
    found = make(sparse_coo, (index_tensor(unravel(at, size), x.device),), values, size, True)
    return found if kind is sparse_coo else to_layout(found, kind, a._stored.shape[1:3])
