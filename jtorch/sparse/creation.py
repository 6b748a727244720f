"""``torch.sparse_*_tensor``, and the sparse names of ``torch`` and Tensor."""

from __future__ import annotations

import numpy as np

from .. import devices
from ..ops.registry import OPS
from ..tensor import Tensor
from ..tensor.creation import dtype_of, tensor
from ..tensor.dispatch import call, dispatch
from ..tensor.layout import sparse_bsc, sparse_bsr, sparse_coo, sparse_csr
from .tensor import COMPRESSED, SparseTensor, make


def _indices(x, device):
    t = x if isinstance(x, Tensor) else tensor(x)
    if t.dtype.is_floating_point or t.dtype.is_complex:
        if t.numel():
            raise RuntimeError(f"indices must be an int64 tensor, but got {t.dtype}")
    t = t.detach().long()
    return t if device is None else t.to(device)


def _values(x, dtype, device, requires_grad: bool):
    """The values under their dtype and device, with the history they have, or as a leaf."""
    if not isinstance(x, Tensor):
        x = tensor(x, dtype=dtype, device=device)
    x = x.to(device=x.device if device is None else device, dtype=x.dtype if dtype is None else dtype_of(dtype))
    if not requires_grad and x.requires_grad:
        return dispatch(OPS["alias"], (x,), ())
    x = x.detach()
    x.requires_grad = requires_grad
    return x


def _out_of_range(places: np.ndarray, size) -> None:
    """Raise if a place lies outside ``size``."""
    for d, (row, n) in enumerate(zip(places, size, strict=False)):
        if row.size and row.min() < 0:
            raise RuntimeError(f"found negative index {row.min()} for dim {d}")
        if row.size and row.max() >= n:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {d}, size is {n} but found index {row.max()}"
            )


def sparse_coo_tensor(
    indices=None, values=None, size=None, *, dtype=None, layout=None, pin_memory=False, device=None,
    requires_grad=False, check_invariants=None, is_coalesced=None,
):  # fmt: skip
    """A sparse tensor with ``values (n, *dense)`` at ``indices (k, n)``; several at one place count as their sum.

    ``size`` defaults to the least that holds all places. ``sparse_coo_tensor(size)`` alone stores nothing. Indices are
    compared with the size where that takes no waiting, and always with ``check_invariants=True``.

    Raises:
        RuntimeError: a place outside the size, or numbers of places and values that differ.
    """
    if values is None:
        size = indices if size is None else size
        indices, values = np.zeros((len(size), 0), np.int64), tensor([], dtype=dtype, device=device)
    stored = _values(values, dtype, device, requires_grad)
    rows = _indices(indices, stored.device)
    if rows.dim() == 1 and not rows.numel():
        rows = rows.reshape((0 if stored.dim() == 0 else 1, 0))
    if rows.dim() != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(rows.shape)}")
    if stored.dim() == 0:
        stored = stored.expand(rows.shape[1]) if rows.shape[1] != 1 else stored.reshape(1)
    if stored.shape[0] != rows.shape[1]:
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {rows.shape[1]}, nnz from values: "
            f"{stored.shape[0]}"
        )
    if size is None:
        places = rows._host("sparse_coo_tensor() without a size")
        if places.size and places.min() < 0:
            raise RuntimeError("found negative index")
        size = (*(int(r.max()) + 1 if r.size else 0 for r in places), *stored.shape[1:])
    size = tuple(int(s) for s in size)
    if len(size) != rows.shape[0] + stored.dim() - 1:
        raise RuntimeError(
            f"number of dimensions must be sparse_dim ({rows.shape[0]}) + dense_dim ({stored.dim() - 1}), but got "
            f"{len(size)}"
        )
    seen = rows._host("check_invariants") if check_invariants else (
        rows._seen("sparse_coo_tensor()") if rows.device is devices.CPU else None)  # fmt: skip
    if seen is not None:
        _out_of_range(seen, size)
    return make(sparse_coo, (rows,), stored, size, stored.shape[0] < 2 if is_coalesced is None else bool(is_coalesced))


def sparse_compressed_tensor(
    compressed_indices, plain_indices, values, size=None, *, dtype=None, layout=None, device=None, pin_memory=False,
    requires_grad=False, check_invariants=None,
):  # fmt: skip
    """A sparse matrix of layout csr, csc, bsr or bsc from its parts.

    Raises:
        RuntimeError: no such layout, or index tensors that do not fit.
        NotImplementedError: batches of matrices.
    """
    if layout not in COMPRESSED:
        raise RuntimeError(f"sparse_compressed_tensor expected a compressed sparse layout but got {layout}")
    stored = _values(values, dtype, device, requires_grad)
    pointers, plain = _indices(compressed_indices, stored.device), _indices(plain_indices, stored.device)
    if pointers.dim() != 1 or plain.dim() != 1:
        raise NotImplementedError("batches of compressed sparse matrices are not supported; make them one by one")
    blocks = tuple(stored.shape[1:3]) if layout in (sparse_bsr, sparse_bsc) else (1, 1)
    by_row = layout in (sparse_csr, sparse_bsr)
    if size is None:
        other = int(plain._host("size").max()) + 1 if plain.numel() else 0
        outer = pointers.shape[0] - 1
        size = (outer * blocks[0], other * blocks[1]) if by_row else (other * blocks[0], outer * blocks[1])
    size = tuple(int(s) for s in size)
    along = size[0] // max(blocks[0], 1) if by_row else size[1] // max(blocks[1], 1)
    names = COMPRESSED[layout]
    if pointers.shape[0] != along + 1:
        raise RuntimeError(
            f"{names[0]}.shape[-1] must be equal to the number of {'rows' if by_row else 'columns'} + 1 ({along + 1}), "
            f"but got {pointers.shape[0]}"
        )
    if plain.shape[0] != stored.shape[0]:
        raise RuntimeError(
            f"number of elements in {names[1]} ({plain.shape[0]}) must be that of values ({stored.shape[0]})"
        )
    if check_invariants:
        p, q = pointers._host("check_invariants"), plain._host("check_invariants")
        if p[0] != 0 or p[-1] != q.size or (np.diff(p) < 0).any():
            raise RuntimeError(
                f"`{names[0]}` must begin with 0, not decrease and end with nnz={q.size}, got {p.tolist()}"
            )
        limit = size[1] // max(blocks[1], 1) if by_row else size[0] // max(blocks[0], 1)
        _out_of_range(q[None], (limit,))
    return make(layout, (pointers, plain), stored, size)


def _of_layout(kind):
    compressed, plain = COMPRESSED[kind]

    def make_one(*parts, size=None, dtype=None, device=None, pin_memory=False, requires_grad=False,
                 check_invariants=None, **named):  # fmt: skip
        given = dict(zip((compressed, plain, "values", "size"), parts, strict=False)) | named
        if size is not None:
            given["size"] = size
        unknown = given.keys() - {compressed, plain, "values", "size", "layout"}
        if unknown:
            raise TypeError(f"{kind.name}_tensor() got an unexpected keyword argument '{sorted(unknown)[0]}'")
        return sparse_compressed_tensor(
            given[compressed], given[plain], given["values"], given.get("size"), dtype=dtype, layout=kind,
            device=device, requires_grad=requires_grad, check_invariants=check_invariants,
        )  # fmt: skip

    make_one.__name__ = make_one.__qualname__ = f"{kind.name}_tensor"
    make_one.__doc__ = (
        f"A matrix of layout ``{kind.name}``: ``{make_one.__name__}({compressed}, {plain}, values, size=None)``."
    )
    return make_one


#: ``torch.*`` functions that make sparse tensors.
FUNCTIONS = {f.__name__: f for f in (sparse_coo_tensor, sparse_compressed_tensor)} | {
    f"{kind.name}_tensor": _of_layout(kind) for kind in COMPRESSED
}


def mask_of(dense, mask: SparseTensor) -> SparseTensor:
    """The elements of a dense tensor at the places of a sparse one."""
    if tuple(dense.shape) != tuple(mask.shape):
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size {list(dense.shape)} but mask has size "
            f"{list(mask.shape)}"
        )
    coo = mask.to_sparse_coo()
    if coo is mask:
        coo = coo.coalesce()
    if isinstance(dense, SparseTensor):
        dense = dense.to_dense()
    found = coo._like(call("_sparse_gather", dense, coo._index[0]))
    if mask.layout is sparse_coo:
        return found
    return found.to_sparse(layout=mask.layout, blocksize=mask._stored.shape[1:3])
