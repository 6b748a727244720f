"""Views by copy: ``<view>_copy`` for every view, ``unsafe_*`` splits, and in-place names that ``torch`` exports too."""

from __future__ import annotations

from ..ops.registry import OPS
from ..ops.shapes import canonical_dim
from ..tensor import Tensor
from ..tensor.dispatch import call, dispatch
from ..tensor.export import composite, function
from . import forms, split, strided

_identity = OPS["_identity"]


def copied(result):
    """A view's elements in a tensor (or tensors) of their own."""
    if isinstance(result, tuple):
        return tuple(copied(r) for r in result)
    return dispatch(_identity, (result,), ())


def _unconverted(result, out, inputs) -> None:
    """The rule of ``out=``: no conversion."""
    if out.dtype is not result.dtype:
        raise RuntimeError(f"Expected out tensor to have dtype {result.dtype}, but got {out.dtype} instead")


def _copy_of(name: str, view, method: bool = False) -> None:
    def by_copy(*args, **kwargs):
        return copied(view(*args, **kwargs))

    doc = f"As ``{name.removesuffix('_copy')}``, but a copy and no view."
    composite("torch", method=method, out=_unconverted, name=name, doc=doc)(by_copy)


def _expand(input, size, *, implicit=False):
    return function(OPS["expand"])(input, size)


def _slice(input, dim=0, start=None, end=None, step=1):
    index = [slice(None)] * input.dim()
    index[dim] = slice(start, end, step)
    return input[tuple(index)]


_VIEWS = {
    "alias": function(OPS["alias"]), "as_strided": strided.as_strided, "detach": Tensor.detach,
    "diagonal": function(OPS["diagonal"]), "expand": _expand, "permute": function(OPS["permute"]),
    "select": forms.select, "slice": _slice, "split": split.split, "split_with_sizes": split.split_with_sizes,
    "squeeze": function(OPS["squeeze"]), "t": function(OPS["t"]), "transpose": function(OPS["transpose"]),
    "unbind": split.unbind, "unfold": forms.unfold, "unsqueeze": function(OPS["unsqueeze"]), "view": forms.view,
    "view_as_complex": function(OPS["view_as_complex"]), "view_as_real": function(OPS["view_as_real"]),
}  # fmt: skip
for _name, _view in _VIEWS.items():
    _copy_of(f"{_name}_copy", _view)


def _narrowed(input, dim, start, length):
    if dim >= input.dim() > 0:
        raise RuntimeError(
            f"narrow_copy(): Expected dim < static_cast<int64_t>(self_sizes.size()) to be true, but got false: "
            f"dim={dim} of a tensor with {input.dim()} dimensions"
        )
    if length < 0:
        size = input.shape[dim]
        raise RuntimeError(f"narrow_copy(): start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return forms.narrow(input, dim, start, length)


_narrowed.__doc__ = forms.narrow.__doc__
_copy_of("narrow_copy", _narrowed, method=True)


def _unsafe(view) -> None:
    """``unsafe_<view>``: parts that may each be written in place, as autograd knows of no view."""

    def parts(*args, **kwargs):
        return copied(view(*args, **kwargs))

    name = view.__name__
    doc = f"As ``{name}``, but copies and no views: each part may be written in place."
    composite("torch", name=f"unsafe_{name}", method=True, doc=doc)(parts)


for _view in (split.chunk, split.split, split.split_with_sizes):
    _unsafe(_view)


@composite("torch")
def _chunk_cat(tensors, dim, num_chunks, *, out=None):
    """Each tensor padded along ``dim`` to ``num_chunks`` equal parts, the parts side by side: ``(..., chunks, n)``.

    Raises:
        RuntimeError: no tensors, an empty one, no chunks, or shapes that differ before ``dim``.
    """
    if num_chunks < 1:
        raise RuntimeError(f"_chunk_cat expects positive num_chunks, got {num_chunks}")
    if not tensors:
        raise RuntimeError("_chunk_cat expects a non-empty input tensor list")
    if any(not t.numel() for t in tensors):
        raise RuntimeError("_chunk_cat expects non-empty tensor")
    if dim < 0:
        if len({t.dim() for t in tensors}) > 1:
            raise RuntimeError("_chunk_cat expects non-negative dim when input tensors have different ndims")
        dim = canonical_dim(dim, tensors[0].dim())
    if any(dim >= t.dim() for t in tensors):
        raise RuntimeError(f"_chunk_cat expects dim < ndim for all input tensors, got dim={dim}")
    if len({tuple(t.shape[:dim]) for t in tensors}) > 1:
        raise RuntimeError("_chunk_cat expects same sizes of 0,...,dim-1 dimensions for all tensors")
    rows = []
    for t in tensors:
        short = -t.shape[dim] % num_chunks
        if short:
            padding = t.new_zeros((*t.shape[:dim], short, *t.shape[dim + 1 :]))
            t = call("cat", (t, padding), dim=dim)
        rows.append(t.reshape((*t.shape[:dim], num_chunks, -1)))
    return function(OPS["cat"])(tuple(rows), dim + 1, out=out)


def _torch_inplace(name: str) -> None:
    """``torch.<name>_(x, ...)`` is ``x.<name>_(...)``."""

    def inplace(input, *args, **kwargs):
        return getattr(input, name)(*args, **kwargs)

    composite("torch", name=name, doc=f"``input.{name}(...)``.")(inplace)


for _name in (
    "addmv_", "as_strided_", "clamp_", "clamp_max_", "clamp_min_", "clip_", "detach_", "gcd_", "lcm_", "ldexp_",
    "resize_as_", "xlogy_",
):  # fmt: skip
    _torch_inplace(_name)


@composite("torch")
def empty_permuted(
    size, physical_layout, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """An uninitialised tensor whose dims lie in memory in the order ``physical_layout``.

    Raises:
        RuntimeError: the order is no permutation of the dims.
    """
    from ..tensor.creation import empty_strided

    order = tuple(physical_layout)
    if len(order) != len(size):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
            f"{len(size)} is not equal to len(physical_layout) = {len(order)}"
        )
    for i, d in enumerate(order):
        if not 0 <= d < len(size):
            raise RuntimeError(
                f"Dimension out of range (expected to be between 0 and {len(size) - 1}, but got {d} at index {i})"
            )
    if len(set(order)) != len(order):
        raise RuntimeError(f"Duplicate dim not allowed in physical_layout={list(order)}")
    strides, step = [0] * len(size), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(size[d], 1)
    return empty_strided(
        size, strides, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad, pin_memory=pin_memory
    )
