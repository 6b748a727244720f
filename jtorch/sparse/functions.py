"""``torch.sparse.*``."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..ops.scatter import reduction
from ..ops.shapes import canonical_dim, canonical_dims
from ..tensor.dispatch import call
from ..tensor.layout import sparse_coo, sparse_csr
from . import handlers, products
from .conversion import linear
from .tensor import SparseTensor, index_tensor, make


def mm(mat1, mat2, reduce="sum"):
    """The product of a sparse and a dense (or sparse) matrix.

    ``reduce`` replaces the sum over a row's stored elements by ``"mean"``, ``"amax"`` or ``"amin"`` (for CSR).

    Raises:
        RuntimeError: an unknown ``reduce``, or a product.
    """
    reduce = reduction(reduce)
    if reduce == "prod":
        raise RuntimeError("sparse_mm_reduce: reduce type of prod has not been enabled; give sum, mean, amax or amin")
    return products.matmul(mat1, mat2, reduce) if reduce != "sum" else products.matmul(mat1, mat2)


def addmm(mat, mat1, mat2, *, beta=1, alpha=1):
    """``beta mat + alpha (mat1 @ mat2)`` for a sparse ``mat1``."""
    product = products.matmul(mat1, mat2)
    product = product if alpha == 1 else product * alpha
    return (mat if beta == 1 else mat * beta) + product


def sampled_addmm(input, mat1, mat2, *, beta=1.0, alpha=1.0, out=None):
    """``beta input + alpha (mat1 @ mat2)`` at the places of the sparse matrix ``input`` alone."""
    if not isinstance(input, SparseTensor) or input.layout is not sparse_csr:
        raise RuntimeError(f"sampled_addmm: Expected self to have sparse csr layout, but got {input.layout}")
    places = input.to_sparse_coo()._index[0]
    values = call("_sampled_product", mat1, mat2, places[0], places[1])
    found = input._like(values * alpha + input._stored * beta)
    if out is not None:
        out._write_out(found)
        return out
    return found


def sum(input, dim=None, dtype=None):
    """The sum of all stored elements (dense), or over some dims (sparse while a sparse dim is left)."""
    t = input if dtype is None else input.to(dtype)
    if dim is None:
        total = t._stored
        if total.dtype.category < dtypes.FLOAT and dtype is None:
            total = total.long()
        return total.sum()
    return handlers.sum_over(t.to_sparse_coo(), canonical_dims(dim, t.dim()))


def _softmax(input, dim, dtype, log: bool):
    t = (input if dtype is None else input.to(dtype)).to_sparse_coo().coalesce()
    d, k = canonical_dim(dim, t.dim()), t.sparse_dim()
    if d >= k:
        values = t._stored.log_softmax(d - k + 1) if log else t._stored.softmax(d - k + 1)
        return t._like(values)
    places = t._index[0]._host("sparse.softmax()")
    others = [n for n in np.arange(k) if n != d]
    _, segment = np.unique(linear(places[others], [t.shape[n] for n in others]), return_inverse=True)
    count = int(segment.max()) + 1 if segment.size else 0
    values = call("_sparse_softmax", t._stored, index_tensor(segment.reshape(-1), t.device), count=count, log=log)
    found = t._like(values)
    return found if input.layout is sparse_coo else found.to_sparse(layout=input.layout)


def softmax(input, dim, *, dtype=None):
    """Softmax over the stored elements along ``dim``: what is not stored counts as minus infinity."""
    return _softmax(input, dim, dtype, False)


def log_softmax(input, dim, *, dtype=None):
    """The logarithm of :func:`softmax`."""
    return _softmax(input, dim, dtype, True)


def spdiags(diagonals, offsets, shape, layout=None):
    """The sparse matrix with the rows of ``diagonals`` on its diagonals ``offsets``.

    Element ``j`` of a row stands in column ``j``.
    """
    rows = diagonals if diagonals.dim() == 2 else diagonals.unsqueeze(0)
    at = np.atleast_1d(offsets._host("spdiags()"))
    if len(set(at.tolist())) != at.size:
        raise ValueError("Offset tensor contains duplicate values")
    if rows.shape[0] != at.size:
        raise ValueError(f"Number of diagonals ({rows.shape[0]}) does not match the number of offsets ({at.size})")
    m, n = shape
    column = np.broadcast_to(np.arange(rows.shape[1]), (at.size, rows.shape[1]))
    row = column - at[:, None]
    inside = (row >= 0) & (row < m) & (column < n)
    places = index_tensor(np.stack([row[inside], column[inside]]), diagonals.device)
    which, j = np.nonzero(inside)
    values = rows.reshape(-1)[index_tensor(which * rows.shape[1] + j, diagonals.device)]
    found = make(sparse_coo, (places,), values, shape)
    return found if layout is None else found.to_sparse(layout=layout)


def as_sparse_gradcheck(gradcheck):
    """``gradcheck`` itself: jtorch's takes sparse inputs, and varies what they store."""
    return gradcheck
