"""From one layout to another: places are worked out on the host, values are gathered and added as recorded ops."""

from __future__ import annotations

import numpy as np

from ..tensor.dispatch import call
from ..tensor.layout import sparse_bsc, sparse_bsr, sparse_coo, sparse_csr, strided
from .tensor import SparseTensor, index_tensor, make


def linear(indices: np.ndarray, size) -> np.ndarray:
    """Places ``(k, n)`` as positions in a flattened array of the first k sizes."""
    at = np.zeros(indices.shape[1], np.int64)
    for row, n in zip(indices, size, strict=False):
        at = at * n + row
    return at


def unravel(at: np.ndarray, size) -> np.ndarray:
    """The inverse of :func:`linear`."""
    return np.stack(np.unravel_index(at, size)) if len(size) else np.zeros((0, at.size), np.int64)


def coalesced(t: SparseTensor) -> SparseTensor:
    """Each place once, in order."""
    places = t._index[0]._host("coalesce()")
    size = tuple(t.shape)[: places.shape[0]]
    at, inverse = np.unique(linear(places, size), return_inverse=True)
    if at.size == places.shape[1]:  # nothing is added up: only the order may change
        order = np.argsort(linear(places, size), kind="stable")
        values = t._stored if (order == np.arange(order.size)).all() else t._stored[index_tensor(order, t.device)]
    else:
        values = call("_sparse_sum", t._stored, index_tensor(inverse.reshape(-1), t.device), count=at.size)
    return make(sparse_coo, (index_tensor(unravel(at, size), t.device),), values, t.shape, True)


def from_dense(x, sparse_dim: int | None = None) -> SparseTensor:
    """The nonzero elements (or sub-tensors, with fewer sparse dims). Reads the data."""
    k = x.dim() if sparse_dim is None else sparse_dim
    if not 0 <= k <= x.dim() or (k == 0 and x.dim()):
        raise RuntimeError(f"sparse_dim argument for to_sparse must be in [1, {x.dim()}], but got {k}")
    data = x.detach()._host("to_sparse()")
    rest = tuple(range(k, x.dim()))
    places = np.stack(np.nonzero((data != 0).any(rest) if rest else data)) if k else np.zeros((0, int(data != 0)))
    indices = index_tensor(places, x.device)
    return make(sparse_coo, (indices,), call("_sparse_gather", x, indices), tuple(x.shape), True)


def _pointers(rows: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]).astype(np.int64)


def _expanded(pointers: np.ndarray) -> np.ndarray:
    """The row of every stored element, from where rows begin."""
    return np.repeat(np.arange(pointers.size - 1), np.diff(pointers))


def compressed(coo: SparseTensor, kind) -> SparseTensor:
    """A matrix (of numbers or of dense tensors) of the coordinate layout as CSR or CSC."""
    coo = coo.coalesce()
    row, col = coo._index[0]._host("to_sparse_csr()")
    if kind is sparse_csr:
        index = (index_tensor(_pointers(row, coo.shape[0]), coo.device), index_tensor(col, coo.device))
        return make(kind, index, coo._stored, coo.shape)
    order = np.argsort(col, kind="stable")
    index = (index_tensor(_pointers(col, coo.shape[1]), coo.device), index_tensor(row[order], coo.device))
    return make(kind, index, coo._stored[index_tensor(order, coo.device)], coo.shape)


def blocked(coo: SparseTensor, kind, blocksize) -> SparseTensor:
    """A matrix as blocks: those that hold a stored element."""
    if blocksize is None:
        raise RuntimeError(f"to_sparse: blocksize must be given for layout {kind}")
    (m, n), (p, q) = tuple(coo.shape), tuple(blocksize)
    if p <= 0 or q <= 0 or m % p or n % q:
        raise RuntimeError(
            f"tensor sparse size ({m}, {n}) must be divisible by given blocksize ({p}, {q}), which must be positive"
        )
    coo = coo.coalesce()
    row, col = coo._index[0]._host("to_sparse_bsr()")
    by_column = kind is sparse_bsc
    first, second = (col // q, row // p) if by_column else (row // p, col // q)
    breadth = (m // p) if by_column else (n // q)
    at, block = np.unique(first * breadth + second, return_inverse=True)
    inside = (block.reshape(-1) * p + row % p) * q + col % q
    flat = call("_sparse_to_dense", coo._stored, index_tensor(inside[None], coo.device), size=(at.size * p * q,))
    pointers = _pointers(at // breadth, (n // q) if by_column else (m // p))
    index = (index_tensor(pointers, coo.device), index_tensor(at % breadth, coo.device))
    return make(kind, index, flat.reshape((at.size, p, q)), coo.shape)


def from_compressed(t: SparseTensor) -> SparseTensor:
    """Any compressed layout as coordinates."""
    outer = _expanded(t._index[0]._host("to_sparse_coo()"))
    inner = t._index[1]._host("to_sparse_coo()")
    by_row = t.layout in (sparse_csr, sparse_bsr)
    row, col = (outer, inner) if by_row else (inner, outer)
    if t.layout in (sparse_bsr, sparse_bsc):
        p, q = t._stored.shape[1:3]
        i, j = np.meshgrid(np.arange(p), np.arange(q), indexing="ij")
        row = (row[:, None, None] * p + i).reshape(-1)
        col = (col[:, None, None] * q + j).reshape(-1)
        coo = make(sparse_coo, (index_tensor(np.stack([row, col]), t.device),), t._stored.reshape(-1), t.shape)
        return coo.coalesce()
    coo = make(sparse_coo, (index_tensor(np.stack([row, col]), t.device),), t._stored, t.shape, t.layout is sparse_csr)
    return coo.coalesce()


def to_layout(t, kind, blocksize=None, sparse_dim=None):
    """A dense or sparse tensor under the layout ``kind``."""
    if kind is strided:
        return t.to_dense()
    if kind is t.layout and kind not in (sparse_bsr, sparse_bsc):
        return t
    coo = t.to_sparse_coo() if isinstance(t, SparseTensor) else from_dense(t, sparse_dim)
    if kind is sparse_coo:
        return coo
    in_blocks = kind in (sparse_bsr, sparse_bsc)
    if coo.sparse_dim() != 2 or (in_blocks and coo.dense_dim()):
        raise NotImplementedError(
            f"{kind}: only matrices have a compressed layout here, got {coo.sparse_dim()} sparse and {coo.dense_dim()} "
            "dense dims"
        )
    return blocked(coo, kind, blocksize) if in_blocks else compressed(coo, kind)
