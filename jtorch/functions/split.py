"""One tensor into several views."""

from __future__ import annotations

import operator

import numpy as np

from .. import dtypes
from ..ops.registry import OPS
from ..ops.shapes import canonical_dim, existing_dim
from ..tape import modes
from ..tensor import Tensor
from ..tensor.dispatch import dispatch
from ..tensor.export import composite

#: What the overloads for a number and for a list call the same argument.
_SIZES = dict.fromkeys(("split_size", "split_sizes"), "split_size_or_sections") | {"axis": "dim"}
_CUTS = dict.fromkeys(("sections", "indices", "tensor_indices_or_sections"), "indices_or_sections") | {"axis": "dim"}


@composite("torch", method=True, names={"axis": "dim"})
def unbind(input, dim=0):
    """The slices along ``dim``, which disappears, as a tuple of views.

    Raises:
        IndexError: ``dim`` is out of range, or the tensor has none.
    """
    dim = existing_dim(dim, input.dim())
    return _several("Unbind", input, (dispatch(OPS["select"], (input, i), (dim,)) for i in range(input.shape[dim])))


def _several(name: str | None, input, pieces) -> tuple:
    """``pieces``, noted to be what one function made of ``input``: such views of what requires grad are not written.

    ``name=None``: they may be.
    """
    pieces = tuple(pieces)
    if name is not None and input.requires_grad and modes.state.grad:
        for i, piece in enumerate(pieces):
            piece._made_by = name, i, True
    return pieces


def _pieces(input, dim, bounds, name="Split"):
    return _several(name, input, (
        dispatch(OPS["slice"], (input, a), (dim, b - a, 1)) for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ))  # fmt: skip


@composite("torch", method=True, names=_SIZES)
def split(tensor, split_size_or_sections, dim=0):
    """Views of ``split_size`` elements each along ``dim`` (the last may be smaller), or of the sizes given.

    Raises:
        RuntimeError: ``tensor`` has no dimensions, a negative size, or sizes that do not add up.
    """
    if not tensor.dim():
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = canonical_dim(dim, tensor.dim())
    n = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        if size == 0:
            if n:
                raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
            return _pieces(tensor, dim, (0, 0))
        return _pieces(tensor, dim, (*range(0, n, size), n) if n else (0, 0))
    sizes = [int(s) for s in split_size_or_sections]
    if any(s < 0 for s in sizes) or sum(sizes) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {dim}), but "
            f"got split_sizes={sizes}"
        )
    bounds = [0]
    for s in sizes:
        bounds.append(bounds[-1] + s)
    return _pieces(tensor, dim, bounds, "SplitWithSizes")


@composite("torch", method=True, names={"axis": "dim"})
def split_with_sizes(input, split_sizes, dim=0):
    """Views of the given sizes along ``dim``."""
    return split(input, list(split_sizes), dim)


@composite("torch", method=True, names={"axis": "dim"})
def chunk(input, chunks, dim=0):
    """At most ``chunks`` views of equal size along ``dim`` (the last may be smaller).

    Raises:
        RuntimeError: ``chunks`` is not positive, or ``input`` has no dimensions.
    """
    if not input.dim():
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    chunks = operator.index(chunks)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = canonical_dim(dim, input.dim())
    n = input.shape[dim]
    if n == 0:
        return _pieces(input, dim, (0,) * (chunks + 1))
    return split(input, -(-n // chunks), dim)


@composite("torch", method=True, names=_CUTS)
def tensor_split(input, indices_or_sections, dim=0):
    """Views cut at the given indices, or ``sections`` nearly equal ones along ``dim``.

    Raises:
        RuntimeError: ``input`` has no dimensions, ``sections`` is not positive, or a tensor of them is not int64, 0-d
            or 1-d.
    """
    if not input.dim():
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    dim = canonical_dim(dim, input.dim())
    n = input.shape[dim]
    if isinstance(indices_or_sections, Tensor):
        if indices_or_sections.dtype is not dtypes.int64:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
                f"{indices_or_sections.dtype.legacy_name}"
            )
        if indices_or_sections.dim() > 1:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor, "
                f"but got a tensor with {indices_or_sections.dim()} dims"
            )
    if hasattr(indices_or_sections, "tolist"):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        k = indices_or_sections
        if k <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {k}")
        small, extra = divmod(n, k)
        bounds = [0]
        for i in range(k):
            bounds.append(bounds[-1] + small + (i < extra))
    else:
        cuts = [slice(i).indices(n)[1] for i in indices_or_sections]
        return tuple(  # as slices: where an index is less than the one before, there is nothing between them
            input.narrow(dim, start, max(end - start, 0)) for start, end in zip([0, *cuts], [*cuts, n], strict=True)
        )
    return _pieces(input, dim, bounds, None)


def _along(name, at, least: int):
    def f(input, indices_or_sections):
        if input.dim() < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {input.dim()} "
                "dimensions!"
            )
        dim, number = at(input.dim()), isinstance(indices_or_sections, (int, np.integer))
        if not number and not (isinstance(indices_or_sections, (tuple, list, Tensor))):
            raise TypeError(
                f"{name}() received an invalid combination of arguments - got ({type(input).__name__}, "
                f"{type(indices_or_sections).__name__}), but expected an int or a tuple of ints"
            )
        if number and (indices_or_sections <= 0 or input.shape[dim] % indices_or_sections):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
                f"{input.shape[dim]} is not divisible by the split_size {indices_or_sections}!"
            )
        return tensor_split(input, indices_or_sections, dim)

    doc = f"``tensor_split`` along dimension {at(3)} ({at(1)} for 1-d input)."
    composite("torch", method=True, names=_CUTS, name=name, doc=doc)(f)


_along("hsplit", lambda n: 0 if n == 1 else 1, 1)
_along("vsplit", lambda n: 0, 2)
_along("dsplit", lambda n: 2, 3)
