"""Segment reductions, histograms in several dimensions, hashes, and masked indexing without checks."""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes, return_types
from ..ops.registry import OPS
from ..ops.shapes import canonical_dim, canonical_dims
from ..tensor import Tensor
from ..tensor.dispatch import call, dispatch, wrap
from ..tensor.export import composite
from ..trace.value import put


@composite("torch", aliases=("_segment_reduce",))
def segment_reduce(
    data, reduce, *, lengths=None, indices=None, offsets=None, axis=0, unsafe=False, initial=None
):  # fmt: skip
    """``data`` reduced over consecutive segments of dimension ``axis``: sum, mean, max, min or prod.

    Args:
        lengths: of the segments, ``(..., segments)``; the dims before ``axis`` are ``data``'s.
        offsets: instead of lengths, where each segment begins and the last one ends, ``(..., segments + 1)``.
        unsafe: do not check the lengths (which are read).
        initial: the value of an empty segment, and the start of the others.

    Raises:
        RuntimeError: neither lengths nor offsets are given, or the lengths do not add up to ``data``'s size.
        NotImplementedError: ``indices``.
    """
    if indices is not None:
        raise NotImplementedError("segment_reduce(): indices based reduction is not supported; give lengths or offsets")
    if (lengths is None) == (offsets is None):
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    axis = canonical_dim(axis, data.dim())
    given = lengths if offsets is None else offsets
    if given.dim() != axis + 1:
        raise RuntimeError(
            f"segment_reduce(): Expected lengths to be {axis + 1}-dimensional for axis={axis}, got {given.dim()}"
        )
    if offsets is None:
        if not unsafe:
            sums = lengths.detach()._host("segment_reduce()").sum(-1)
            if (sums != data.shape[axis]).any():
                raise RuntimeError(
                    "segment_reduce(): Expected all rows of lengths along axis to sum to data.size(axis) when !unsafe."
                )
        start = lengths.new_zeros((*lengths.shape[:-1], 1))
        offsets = call("cat", (start, lengths.cumsum(-1)), dim=-1)
    return call("_segment_reduce", data, offsets, reduce=reduce, initial=None if initial is None else float(initial))


@composite("torch")
def histogramdd(input, bins, range=None, weight=None, density=False, *, out=None):
    """``(counts, edges)`` of points ``(..., N)``: an N-dimensional histogram and the N sequences of edges.

    The data is read. ``bins`` is a number (for every dimension), N numbers, or N tensors of edges; ``range`` is
    ``(low, high)`` for each dimension, one after another.

    Raises:
        RuntimeError: ``bins`` is a list of another length.
    """
    if input.dim() < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    if not isinstance(bins, int) and len(bins) != input.shape[-1]:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the input, "
            f"{input.shape[-1]}, but got {len(bins)}"
        )
    points = input.detach()._host("histogramdd()").reshape(-1, input.shape[-1])
    dims, kind = points.shape[1], input.dtype.np
    bins = [bins] * dims if isinstance(bins, int) else list(bins)
    limits = None
    if isinstance(bins[0], Tensor):
        bins = [b.detach()._host("histogramdd()") for b in bins]
    elif range is not None:
        limits = [tuple(range[2 * d : 2 * d + 2]) for d in np.arange(dims)]
    else:
        limits = [(x.min(), x.max()) if x.size else (0.0, 1.0) for x in points.T]
    if limits is not None:
        limits = [(a - 0.5, b + 0.5) if a == b else (a, b) for a, b in limits]
    weights = None if weight is None else weight.detach()._host("histogramdd()").reshape(-1)
    counts, edges = np.histogramdd(points, bins, limits, density=density, weights=weights)
    found = wrap(put(np.ascontiguousarray(counts.astype(kind)), input.device))
    edges = tuple(wrap(put(np.ascontiguousarray(e.astype(kind)), input.device)) for e in edges)
    if out is not None:
        out[0]._write_out(found)
        return out
    return return_types.named("histogramdd", ("hist", "bin_edges"))(found, edges)


@composite("torch", method=True, out=True)
def hash_tensor(input, dim=(), *, keepdim=False, mode=0):
    """The exclusive or of the elements' 64-bit patterns (floats as float64) over ``dim``, as uint64. The data is read.

    Raises:
        RuntimeError: ``mode`` is not 0.
    """
    if mode != 0:
        raise RuntimeError(f"hash_tensor: Unknown hash_mode: {mode}")
    data = input.detach()._host("hash_tensor()")
    bits = (
        data.astype(np.float64).view(np.uint64)
        if input.dtype.category >= dtypes.FLOAT
        else data.astype(np.int64).view(np.uint64)
    )
    axes = canonical_dims(dim, data.ndim)
    if not all(data.shape[d] for d in axes):
        raise IndexError(f"hash_tensor: Expected reduction dims {list(axes)} to have non-zero sizes.")
    found = np.bitwise_xor.reduce(bits, axis=axes, keepdims=keepdim) if axes else bits
    return wrap(put(np.ascontiguousarray(found).reshape(np.shape(found)), input.device))


def _masked_positions(input, mask, indices):
    """The indices with those outside the mask set to 0."""
    return [None if i is None else i.where(mask, i.new_zeros(())).clamp(0, n - 1) for i, n in
            zip(indices, input.shape, strict=False)]  # fmt: skip


@composite("torch")
def _unsafe_masked_index(input, mask, indices, fill):
    """``input[indices]`` where ``mask`` holds, ``fill`` elsewhere, whatever the indices are there."""
    at = _masked_positions(input, mask, indices)
    return input[tuple(slice(None) if i is None else i for i in at)].masked_fill(~mask, fill)


@composite("torch")
def _unsafe_masked_index_put_accumulate(input, mask, indices, values):
    """``input`` with ``values`` added at ``indices`` where ``mask`` holds."""
    at = _masked_positions(input, mask, indices)
    return input.index_put(at, values.masked_fill(~mask, 0), accumulate=True)


@composite(method=True)
def map2_(self, x, y, callable):
    """Apply a Python function to the elements of this tensor and two others (on the host)."""
    found = np.vectorize(callable, otypes=[self.dtype.np])(*(t.detach().numpy() for t in (self, x, y)))
    return self.copy_(wrap(put(found, self.device)))


@composite("torch")
def _softmax_backward_data(grad_output, output, dim, input_dtype):
    """The gradient of ``softmax`` at ``output``: ``(g - sum(g y)) y``."""
    g, y = (x.float() if x.dtype.itemsize < 4 else x for x in (grad_output, output))
    return ((g - (g * y).sum(dim, keepdim=True)) * y).to(input_dtype)


@composite("torch")
def _safe_softmax(input, dim, dtype=None):
    """``softmax``, with 0 rather than NaN where everything along ``dim`` is minus infinity."""
    x = input if dtype is None else input.to(dtype)
    nothing = x.eq(-math.inf).all(dim, keepdim=True)
    return dispatch(OPS["_softmax"], (x.masked_fill(nothing, 0),), (dim, None)).masked_fill(nothing, 0)
