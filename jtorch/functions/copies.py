"""Views by copy: ``<view>_copy`` for every view, ``unsafe_*`` splits, and in-place names that ``torch`` exports too."""

from __future__ import annotations

from ..ops.registry import OPS
from ..tensor import Tensor
from ..tensor.dispatch import call, dispatch
from ..tensor.export import composite, function
from . import forms, split

_identity = OPS["_identity"]


def copied(result):
    """A view's elements in a tensor (or tensors) of their own."""
    if isinstance(result, tuple):
        return tuple(copied(r) for r in result)
    return dispatch(_identity, (result,), ())


def _copy_of(name: str, view, method: bool = False) -> None:
    def by_copy(*args, out=None, **kwargs):
        result = copied(view(*args, **kwargs))
        if out is None:
            return result
        targets, results = (out, result) if isinstance(result, tuple) else ((out,), (result,))
        for target, r in zip(targets, results, strict=True):
            if target.dtype is not r.dtype:
                raise RuntimeError(f"Expected out tensor to have dtype {r.dtype}, but got {target.dtype} instead")
            target._write_out(r)
        return out

    by_copy.__name__ = by_copy.__qualname__ = name
    by_copy.__doc__ = f"As ``{name.removesuffix('_copy')}``, but a copy and no view."
    composite("torch", method=method)(by_copy)


def _expand(input, size, *, implicit=False):
    return function(OPS["expand"])(input, size)


def _slice(input, dim=0, start=None, end=None, step=1):
    index = [slice(None)] * input.dim()
    index[dim] = slice(start, end, step)
    return input[tuple(index)]


_VIEWS = {
    "alias": function(OPS["alias"]), "as_strided": function(OPS["as_strided"]), "detach": Tensor.detach,
    "diagonal": function(OPS["diagonal"]), "expand": _expand, "permute": function(OPS["permute"]),
    "select": forms.select, "slice": _slice, "split": split.split, "split_with_sizes": split.split_with_sizes,
    "squeeze": function(OPS["squeeze"]), "t": function(OPS["t"]), "transpose": function(OPS["transpose"]),
    "unbind": split.unbind, "unfold": forms.unfold, "unsqueeze": function(OPS["unsqueeze"]), "view": forms.view,
    "view_as_complex": function(OPS["view_as_complex"]), "view_as_real": function(OPS["view_as_real"]),
}  # fmt: skip
for _name, _view in _VIEWS.items():
    _copy_of(f"{_name}_copy", _view)
_copy_of("narrow_copy", forms.narrow, method=True)

composite("torch", name="unsafe_chunk", method=True)(split.chunk)
composite("torch", name="unsafe_split", method=True)(split.split)
composite("torch", name="unsafe_split_with_sizes", method=True)(split.split_with_sizes)


@composite("torch")
def _chunk_cat(tensors, dim, num_chunks, *, out=None):
    """Each tensor padded along ``dim`` to ``num_chunks`` equal parts, the parts side by side: ``(..., chunks, n)``."""
    dim = dim % tensors[0].dim()
    rows = []
    for t in tensors:
        short = -t.shape[dim] % num_chunks
        if short:
            padding = t.new_zeros((*t.shape[:dim], short, *t.shape[dim + 1 :]))
            t = call("cat", (t, padding), dim=dim)
        rows.append(t.reshape((*t.shape[:dim], num_chunks, -1)))
    result = call("cat", tuple(rows), dim=dim + 1)
    if out is not None:
        out._write_out(result)
        return out
    return result


def _torch_inplace(name: str) -> None:
    """``torch.<name>_(x, ...)`` is ``x.<name>_(...)``."""

    def inplace(input, *args, **kwargs):
        return getattr(input, name)(*args, **kwargs)

    inplace.__name__ = inplace.__qualname__ = name
    inplace.__doc__ = f"``input.{name}(...)``."
    composite("torch")(inplace)


for _name in (
    "addmv_", "as_strided_", "clamp_", "clamp_max_", "clamp_min_", "clip_", "detach_", "gcd_", "lcm_", "ldexp_",
    "resize_as_", "xlogy_",
):  # fmt: skip
    _torch_inplace(_name)


@composite(method=True)
def as_strided_(self, size, stride, storage_offset=None):
    """Change this tensor's own shape and strides over its storage; elements are copied, as XLA has no strides."""
    return self.set_(copied(function(OPS["as_strided"])(self.detach(), size, stride, storage_offset)))


@composite("torch")
def empty_permuted(
    size, physical_layout, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """An uninitialised tensor whose dims lie in memory in the order ``physical_layout``.

    Raises:
        RuntimeError: the order is no permutation of the dims.
    """
    from ..tensor.creation import empty_strided

    order = tuple(d % max(len(size), 1) for d in physical_layout)
    if sorted(order) != list(range(len(size))):
        raise RuntimeError(f"empty_permuted: {list(physical_layout)} is not a permutation of {len(size)} dims")
    strides, step = [0] * len(size), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(size[d], 1)
    return empty_strided(
        size, strides, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad, pin_memory=pin_memory
    )
