"""The sparse names of ``torch`` and Tensor."""

from __future__ import annotations

from ..sparse import functions, products
from ..sparse.conversion import to_layout
from ..sparse.creation import FUNCTIONS, mask_of
from ..sparse.tensor import SparseTensor, layout_name
from ..tensor.export import composite
from ..tensor.layout import sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr
from ..tensor.tensor import Tensor
from .copies import copied

for _name, _f in FUNCTIONS.items():
    composite("torch", name=_name)(_f)


@composite(method=True)
def to_sparse(self, sparse_dim=None, *, layout=None, blocksize=None, dense_dim=None):
    """The nonzero elements as a sparse tensor; with fewer ``sparse_dim``s, sub-tensors that are not all zero.

    ``layout`` is ``torch.sparse_coo`` (default), csr, csc, bsr or bsc (which need a ``blocksize``). Reads the data.
    """
    if sparse_dim is not None and not isinstance(sparse_dim, int):
        layout, sparse_dim = sparse_dim, None
    return to_layout(self, layout or sparse_coo, blocksize, sparse_dim)


@composite(method=True)
def to_sparse_coo(self):
    """The nonzero elements as a sparse tensor of coordinates."""
    return to_layout(self, sparse_coo)


def _conversion(name: str, kind, blocks: bool):
    if blocks:

        def convert(self, blocksize, dense_dim=None):
            return to_layout(self, kind, blocksize, dense_dim and self.dim() - dense_dim)
    else:

        def convert(self, dense_dim=None):
            return to_layout(self, kind, None, dense_dim and self.dim() - dense_dim)

    composite(method=True, name=name, doc=f"This matrix under the layout ``{kind.name}``.")(convert)


for _kind in (sparse_csr, sparse_csc, sparse_bsr, sparse_bsc):
    _conversion(f"to_{_kind.name}", _kind, _kind in (sparse_bsr, sparse_bsc))


@composite(method=True)
def sparse_dim(self):
    """The number of sparse dims: 0 of a dense tensor."""
    return 0


@composite(method=True)
def dense_dim(self):
    """The number of dense dims."""
    return self.dim()


@composite(method=True)
def sparse_mask(self, mask):
    """The elements at the places of a sparse tensor, as a sparse tensor."""
    if not isinstance(mask, SparseTensor):
        raise RuntimeError(f"sparse_mask(): expected a sparse mask, but got layout {mask.layout}")
    return mask_of(self, mask)


SparseTensor.sparse_mask = sparse_mask


def _only_of(name: str, wanted: str):
    def refuse(self):
        own = getattr(type(self), name)
        if own is not getattr(Tensor, name):  # Tensor.indices(t), of a sparse t
            return own(self)
        raise RuntimeError(f"{name} expected {wanted} tensor layout but got {layout_name(self)}")

    doc = f"Of sparse tensors only.\n\nRaises:\n    RuntimeError: the tensor is not {wanted}."
    composite(method=True, name=name, doc=doc)(refuse)


for _name in ("coalesce", "is_coalesced", "indices", "values", "_indices", "_values", "_nnz"):
    _only_of(_name, "sparse coordinate")
for _name in ("crow_indices", "col_indices"):
    _only_of(_name, "sparse row compressed")
for _name in ("ccol_indices", "row_indices"):
    _only_of(_name, "sparse column compressed")
for _name in ("sparse_resize_", "sparse_resize_and_clear_"):
    _only_of(_name, "sparse coordinate")


def _part_copy(name: str) -> None:
    def part(input):
        return copied(getattr(input, name)())

    composite("torch", name=f"{name}_copy", doc=f"A copy of ``input.{name}()``.")(part)


for _name in ("indices", "values", "crow_indices", "col_indices", "ccol_indices", "row_indices"):
    _part_copy(_name)


@composite("torch", aliases=("hspmm",))
def spmm(input, mat2):
    """The product of a sparse and a dense matrix."""
    return products.matmul(input, mat2)


@composite("torch", name="dsmm")
def dsmm(input, mat2):
    """The product of a dense and a sparse matrix."""
    return products.matmul(input, mat2)


composite("torch", name="hsmm")(dsmm)


@composite("torch", method=True)
def smm(input, mat2):
    """The product of a sparse and a dense matrix, as a sparse tensor."""
    return to_layout(products.matmul(input, mat2), sparse_coo)


@composite("torch", method=True)
def sspaddmm(input, mat1, mat2, *, beta=1, alpha=1):
    """``beta input + alpha (mat1 @ mat2)`` of sparse ``input`` and ``mat1``, as a sparse tensor."""
    return input * beta + smm(mat1, mat2) * alpha


composite("torch", name="saddmm")(functions.addmm)


@composite("torch", method=True)
def resize_as_sparse_(input, the_template):
    """Change the shape of a sparse tensor to another's."""
    return input.sparse_resize_(tuple(the_template.shape), the_template.sparse_dim(), the_template.dense_dim())
