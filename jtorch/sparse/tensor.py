"""The sparse Tensor: index tensors and a tensor of values, under one of five layouts.

``sparse_coo``: ``indices (k, n)`` of the first k dims and ``values (n, *dense dims)``. The compressed layouts, of
matrices: ``csr`` and ``csc`` (compressed row, column indices), ``bsr`` and ``bsc`` (the same of blocks).

The values are an ordinary Tensor, to which autograd, devices and recording are left (``tensor/stored.py``). What
operations do on sparse tensors stands in ``handlers.py``.
"""

from __future__ import annotations

import numpy as np

from ..size import Size
from ..tape.sparse import SparseGrad
from ..tensor import Tensor, dispatch, printing
from ..tensor.dispatch import call, wrap
from ..tensor.layout import sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr
from ..tensor.stored import StoredMixin
from ..trace.aval import aval
from ..trace.value import put

#: layout -> what its two index tensors are called (compressed, plain)
COMPRESSED = {
    sparse_csr: ("crow_indices", "col_indices"), sparse_csc: ("ccol_indices", "row_indices"),
    sparse_bsr: ("crow_indices", "col_indices"), sparse_bsc: ("ccol_indices", "row_indices"),
}  # fmt: skip
#: Layouts as error messages spell them.
NAMES = {
    sparse_coo: "Sparse", sparse_csr: "SparseCsr", sparse_csc: "SparseCsc", sparse_bsr: "SparseBsr",
    sparse_bsc: "SparseBsc",
}  # fmt: skip
#: ``op name -> function(tensor, op, operands, statics)``, filled by handlers.py
HANDLERS: dict = {}


def layout_name(t) -> str:
    """A tensor's layout as error messages spell it."""
    return NAMES.get(t.layout, "Strided")


def index_tensor(array, device):
    """An int64 tensor of host data."""
    return wrap(put(np.ascontiguousarray(array, np.int64), device))


class SparseTensor(StoredMixin, Tensor):
    """A tensor of which only some elements are stored; see the module docstring. Made by ``sparse_coo_tensor`` etc."""

    _index: tuple
    _stored: Tensor
    _size: Size
    _kind: object
    _coalesced: bool

    @property
    def _storage(self):
        raise NotImplementedError(
            f"Cannot access the storage of a tensor of layout {self._kind}; use its values(), or to_dense()"
        )

    def _handler(self, op, operands, statics):
        handler = HANDLERS.get(op.name)
        if handler is None:
            raise NotImplementedError(
                f"Could not run 'aten::{op.name}' with arguments from the '{NAMES[self._kind]}CPU' backend: sparse "
                "tensors have no such operation. Use Tensor.to_dense() first."
            )
        return handler(self, op, operands, statics)

    def _value(self):
        raise NotImplementedError("this operation needs a dense tensor; use Tensor.to_dense() first")

    def _like(self, values, size=None, index=None, coalesced=None) -> SparseTensor:
        """The same places (or others) with other values."""
        return make(
            self._kind, self._index if index is None else index, values, self._size if size is None else size,
            self._coalesced if coalesced is None else coalesced,
        )  # fmt: skip

    # --- facts

    shape = property(lambda self: self._size)
    is_sparse = property(lambda self: self._kind is sparse_coo)
    is_sparse_csr = property(lambda self: self._kind is sparse_csr)

    def numel(self) -> int:
        """The number of elements, stored or not."""
        n = 1
        for s in self._size:
            n *= s
        return n

    nelement = numel

    def __bool__(self) -> bool:
        return bool(self.to_dense())

    def is_contiguous(self, memory_format=None) -> bool:
        return False

    def is_coalesced(self) -> bool:
        """Whether every place is stored once, in order."""
        _expect_coo("is_coalesced", self)
        return self._coalesced

    def _coalesced_(self, coalesced: bool) -> SparseTensor:
        self._coalesced = bool(coalesced)
        return self

    def sparse_dim(self) -> int:
        """How many of the dims are sparse."""
        return self._index[0].shape[0] if self._kind is sparse_coo else 2

    def dense_dim(self) -> int:
        """How many of the dims are dense: those of each stored element."""
        blocks = 2 if self._kind in (sparse_bsr, sparse_bsc) else 0
        return self._stored.dim() - 1 - blocks

    _dimI, _dimV = sparse_dim, dense_dim

    def _nnz(self) -> int:
        """The number of stored elements (blocks)."""
        return self._stored.shape[0]

    def _indices(self):
        _expect_coo("_indices", self)
        return self._index[0]

    def _values(self):
        _expect_coo("_values", self)
        return self._stored

    def indices(self):
        """The places, ``(sparse dims, n)``.

        Raises:
            RuntimeError: the tensor is not coalesced.
        """
        _expect_coo("indices", self)
        if not self._coalesced:
            raise RuntimeError("Cannot get indices on an uncoalesced tensor, please call .coalesce() first")
        return self._index[0]

    def values(self):
        """The stored elements, ``(n, *dense dims)``.

        Raises:
            RuntimeError: the tensor is not coalesced.
        """
        if self._kind is sparse_coo and not self._coalesced:
            raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")
        return self._stored

    def _compressed(self, which: str, position: int):
        if COMPRESSED.get(self._kind, ("", ""))[position] != which:
            kind = "row" if which in COMPRESSED[sparse_csr] else "column"
            raise RuntimeError(f"{which} expected sparse {kind} compressed tensor layout but got {layout_name(self)}")
        return self._index[position]

    def crow_indices(self):
        """Where each row begins among the stored elements."""
        return self._compressed("crow_indices", 0)

    def col_indices(self):
        """The column of each stored element."""
        return self._compressed("col_indices", 1)

    def ccol_indices(self):
        """Where each column begins among the stored elements."""
        return self._compressed("ccol_indices", 0)

    def row_indices(self):
        """The row of each stored element."""
        return self._compressed("row_indices", 1)

    # --- autograd

    def _at_places(self, x):
        """The elements of a tensor of this shape where this one has elements."""
        if self._same_places(x):
            return x._stored
        if self._kind is not sparse_coo:
            return creation.mask_of(x, self)._stored
        return self._gathered(x.to_dense() if isinstance(x, SparseTensor) else x)

    def _same_places(self, x) -> bool:
        if not isinstance(x, SparseTensor) or x._kind is not self._kind or x._nnz() != self._nnz():
            return False
        return all(
            i is j or np.array_equal(i._host("backward()"), j._host("backward()"))
            for i, j in zip(x._index, self._index, strict=True)
        )

    @StoredMixin.grad.setter
    def grad(self, value) -> None:
        StoredMixin.grad.fset(self, value.coalesce() if getattr(value, "is_sparse", False) else value)

    data = property(StoredMixin.detach, lambda self, other: self._take(other))

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None) -> None:
        """Backward through the values; of ``gradient``, sparse or dense, counts what is at this tensor's places."""
        if isinstance(gradient, Tensor):
            gradient = self._at_places(gradient)
        super().backward(gradient, retain_graph, create_graph, inputs)

    def _as_gradient(self) -> SparseGrad:
        """This tensor as the gradient of a dense one."""
        coo = self.to_sparse_coo()
        return SparseGrad(coo._index[0]._value(), coo._stored._value(), aval(tuple(self._size), self.dtype))

    # --- writing: in-place operations replace what is stored

    def _take(self, other: SparseTensor) -> SparseTensor:
        self._index, self._stored, self._size = other._index, other._stored, other._size
        self._kind, self._coalesced = other._kind, other._coalesced
        return self

    def _store(self, result, what: str) -> SparseTensor:
        if not isinstance(result, SparseTensor):
            raise RuntimeError(f"{what}: the result of layout torch.strided can't be written to {self._kind}")
        if result.shape != self.shape:
            raise RuntimeError(
                f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(result.shape)}"
            )
        return self._take(self._fitted(result, what))

    def _write_out(self, result) -> None:
        self._take(result)

    def copy_(self, src, non_blocking: bool = False) -> SparseTensor:
        """Overwrite this tensor with another sparse one."""
        if not isinstance(src, SparseTensor):
            raise RuntimeError("copy_() between dense and sparse Tensors is not implemented! Use to_sparse() first.")
        return self._take(src.to(device=self.device, dtype=self.dtype))

    def zero_(self) -> SparseTensor:
        """Drop all stored elements."""
        return self._take(self._emptied(self._size))

    def _emptied(self, size, sparse_dim: int | None = None) -> SparseTensor:
        k = self.sparse_dim() if sparse_dim is None else sparse_dim
        values = self._stored.detach().new_zeros((0, *size[k:]))
        return make(sparse_coo, (index_tensor(np.zeros((k, 0)), self.device),), values, size, True)

    def sparse_resize_(self, size, sparse_dim, dense_dim) -> SparseTensor:
        """Change the shape; stored elements stay at their places."""
        return self._take(self._like(self._stored, size=tuple(size))) if self._nnz() and sparse_dim == (
            self.sparse_dim()) else self._take(self._emptied(tuple(size), sparse_dim))  # fmt: skip

    def sparse_resize_and_clear_(self, size, sparse_dim, dense_dim) -> SparseTensor:
        """Change the shape and drop all stored elements."""
        return self._take(self._emptied(tuple(size), sparse_dim))

    # --- conversions

    def to_dense(self, dtype=None, *, masked_grad=True) -> Tensor:
        """The dense tensor; elements stored several times are added up."""
        coo = self.to_sparse_coo()
        dense = call("_sparse_to_dense", coo._stored, coo._index[0], size=tuple(self._size))
        return dense if dtype is None else dense.to(dtype)

    def _gathered(self, dense):
        """The elements of a dense tensor at this one's places."""
        return call("_sparse_gather", dense, self.to_sparse_coo()._index[0])

    def coalesce(self) -> SparseTensor:
        """Each place stored once and in order, several elements of one place added up. Reads the indices."""
        _expect_coo("coalesce", self)
        return self if self._coalesced else conversion.coalesced(self)

    def to_sparse_coo(self) -> SparseTensor:
        """This tensor under the coordinate layout."""
        return self if self._kind is sparse_coo else conversion.from_compressed(self)

    def to_sparse(self, sparse_dim=None, *, layout=None, blocksize=None, dense_dim=None) -> SparseTensor:
        """This tensor under another sparse layout (``sparse_coo``)."""
        return conversion.to_layout(self, layout or sparse_coo, blocksize)

    def to(self, *args, **kwargs) -> SparseTensor:
        """Another dtype or device, as ``Tensor.to``."""
        values = self._stored.to(*args, **kwargs)
        if values is self._stored:
            return self
        return self._like(values, index=tuple(i.to(values.device) for i in self._index))

    def type(self, dtype=None, non_blocking=False):
        """The name of this tensor's type, or the tensor as another dtype."""
        if dtype is None:
            return f"torch.sparse.{self.dtype.legacy_name}Tensor"
        return self.to(dtype)

    share_memory_ = StoredMixin.pin_memory

    def clone(self, *, memory_format=None) -> SparseTensor:
        """A copy."""
        return self._like(self._stored.clone(), index=tuple(i.clone() for i in self._index))

    def _host(self, cause: str):
        raise TypeError(
            f"can't convert {layout_name(self)} layout tensor to numpy. Use Tensor.to_dense() first. ({cause})"
        )

    _seen = _host

    def stride(self, dim=None):
        raise RuntimeError("Sparse tensors do not have strides; use to_dense()")

    def data_ptr(self) -> int:
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage: it is sparse")

    def __deepcopy__(self, memo) -> SparseTensor:
        t = self.detach().clone()
        t.requires_grad = self.requires_grad
        memo[id(self)] = t
        return t

    def parts(self) -> tuple:
        """``(layout, (indices, values, size, coalesced))``, from which :func:`rebuild` makes it again."""
        coalesced = (self._coalesced,) if self._kind is sparse_coo else ()
        data = (*(i.detach() for i in self._index), self._stored.detach(), self._size, *coalesced)
        return self._kind, data

    def __reduce_ex__(self, protocol):
        return rebuild, self.parts()

    # --- shape and parts

    def _transposed(self):
        return self.permute(tuple(range(self.dim() - 1, -1, -1)))

    T = property(_transposed)

    def __getitem__(self, item):
        return handlers.getitem(self, item)

    def __iter__(self):
        return iter([self[i] for i in range(self._size[0])])

    def expand(self, *sizes):
        """Itself; broadcasting a sparse tensor is not supported."""
        size = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
        if tuple(size) != tuple(self._size):
            raise NotImplementedError("expand of sparse tensors is not supported; use to_dense() first")
        return self

    def reshape(self, *shape):
        raise RuntimeError("reshape is not implemented for sparse tensors; use to_dense() first")

    # --- text

    def _text(self, prefix: str) -> str:
        names = ("indices",) if self._kind is sparse_coo else COMPRESSED[self._kind]
        parts = {n: t.detach()._host("print") for n, t in zip(names, self._index, strict=True)}
        parts["values"] = self._stored.detach()._host("print")
        return printing.format_sparse(
            parts, self.dtype, tuple(self._size), nnz=self._nnz(), layout=str(self._kind), device=str(self.device),
            requires_grad=self.requires_grad, grad_fn=None if self.grad_fn is None else self.grad_fn.name(),
            prefix=prefix,
        )  # fmt: skip


def _expect_coo(what: str, t) -> None:
    if t.layout is not sparse_coo:
        raise RuntimeError(f"{what} expected sparse coordinate tensor layout but got {layout_name(t)}")


def make(kind, index: tuple, values, size, coalesced: bool = False) -> SparseTensor:
    """A sparse tensor of these parts, unchecked."""
    t = object.__new__(SparseTensor)
    t._kind, t._index, t._stored, t._size = kind, tuple(index), values, Size(size)
    t._coalesced = coalesced
    return t


def rebuild(kind, data) -> SparseTensor:
    """A sparse tensor from what a pickle holds.

    Raises:
        ValueError: the parts do not fit together.
    """
    if kind not in NAMES:
        raise ValueError(f"a sparse tensor of layout {kind!r} cannot be loaded")
    count = 1 if kind is sparse_coo else 2
    index, values, size, rest = data[:count], data[count], data[count + 1], data[count + 2 :]
    if not all(isinstance(t, Tensor) for t in (*index, values)) or index[-1].shape[-1] != values.shape[0]:
        raise ValueError("the parts of a sparse tensor do not fit together: the file is damaged")
    places = index[0]._host("load") if kind is sparse_coo else index[1]._host("load")[None]
    limits = size if kind is sparse_coo else (max(size),)
    if any(row.size and (row.min() < 0 or row.max() >= n) for row, n in zip(places, limits, strict=False)):
        raise ValueError(f"a sparse tensor of size {tuple(size)} has elements outside of it: the file is damaged")
    return make(kind, index, values, size, bool(rest and rest[0]))


def _of_gradient(grad: SparseGrad) -> SparseTensor:
    return make(sparse_coo, (wrap(grad.indices),), wrap(grad.values), tuple(grad.aval.shape))


dispatch.sparse_tensor = _of_gradient

from . import conversion, creation, handlers  # noqa: E402  (they make sparse tensors)
