"""Ops that arrange elements in new shapes: joining, repeating, flipping, triangles and diagonals, copies and casts."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..dtypes import BOOL, COMPLEX, float8_e4m3fn, get_default_dtype
from .concatenation import concatenated
from .outputs import joined, same_dtype
from .registry import Array, Arrays, Number, Size, op
from .shapes import canonical_dim, canonical_dims, existing_dim
from .view import atleast, diagonal

# --- joining -------------------------------------------------------------------------------------------------------


def _concatenate(tensors, dim: int):
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(tensors):
        if x.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    # PyTorch lets tensors of shape (0,) join anything.
    kept = [(i, x) for i, x in enumerate(tensors) if x.shape != (0,)]
    if not kept:
        return tensors[0]
    first = kept[0][1]
    dim = canonical_dim(dim, first.ndim)
    for i, x in kept[1:]:
        if x.ndim != first.ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {first.ndim} and {x.ndim}")
        for d in range(first.ndim):
            if d != dim and x.shape[d] != first.shape[d]:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {first.shape[d]} but got "
                    f"size {x.shape[d]} for tensor number {i} in the list."
                )
    return concatenated([x for _, x in kept], dim)


def _turned_dim(statics: tuple, rank: int) -> tuple:
    dim = canonical_dim(statics[0], rank)
    return (dim if dim == 0 else rank - 1 if dim == 1 else dim - 1,)


def _cat_on_host(arrays: list, dim: int):
    return np.concatenate(arrays, dim) if len({a.ndim for a in arrays}) == 1 else None


@op(
    promote="default", aliases=("concat", "concatenate"), elementwise=False, out=joined, turned=_turned_dim,
    host=_cat_on_host,
)  # fmt: skip
def cat(tensors: Arrays, dim: int = 0):
    """The tensors one after the other along ``dim``; they agree in all other dimensions.

    Raises:
        ValueError: the list is empty.
        RuntimeError: the shapes do not fit, or a tensor is 0-d.
    """
    return _concatenate(tensors, dim)


@op(promote="default", elementwise=False, out=joined)
def stack(tensors: Arrays, dim: int = 0):
    """Tensors of one shape along a new dimension ``dim``.

    Raises:
        RuntimeError: the list is empty, or the shapes differ.
    """
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = tensors[0].shape
    dim = canonical_dim(dim, len(shape) + 1)
    for i, x in enumerate(tensors):
        if x.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(x.shape)} at "
                f"entry {i}"
            )
    return concatenated([jnp.expand_dims(x, dim) for x in tensors], dim)


def _nonempty(name: str, tensors):
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")


@op(promote="default", elementwise=False, out=joined, grad_name="CatBackward0")
def hstack(tensors: Arrays):
    """Joined along the second dimension, or the first for vectors."""
    _nonempty("hstack", tensors)
    tensors = [atleast(x, ndim=1) for x in tensors]
    return _concatenate(tensors, 0 if tensors[0].ndim == 1 else 1)


@op(promote="default", elementwise=False, aliases=("row_stack",), out=joined)
def vstack(tensors: Arrays):
    """Joined along the first dimension, vectors as rows."""
    _nonempty("vstack", tensors)
    return _concatenate([atleast(x, ndim=2) for x in tensors], 0)


@op(promote="default", elementwise=False, out=joined)
def dstack(tensors: Arrays):
    """Joined along the third dimension."""
    _nonempty("dstack", tensors)
    return _concatenate([atleast(x, ndim=3) for x in tensors], 2)


@op(promote="default", elementwise=False, out=joined)
def column_stack(tensors: Arrays):
    """Joined along the second dimension, vectors as columns."""
    _nonempty("column_stack", tensors)
    return _concatenate([x if x.ndim > 1 else x.reshape(-1, 1) for x in tensors], 1)


@op(name="_block_diag", namespaces=(), promote="default", elementwise=False)
def block_diag(tensors: Arrays):
    """A matrix with the given ones (vectors as rows) along its diagonal, zero elsewhere.

    Raises:
        RuntimeError: a tensor has more than two dimensions.
    """
    for i, x in enumerate(tensors):
        if x.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {x.ndim} dimensions"
            )
    blocks = [atleast(x, ndim=2) for x in tensors] or [jnp.zeros((1, 0), np.float32)]
    width, rows, left = sum(x.shape[1] for x in blocks), [], 0
    for x in blocks:
        rows.append(jnp.pad(x, ((0, 0), (left, width - left - x.shape[1]))))
        left += x.shape[1]
    return jnp.concatenate(rows, 0)


@op(name="_meshgrid", namespaces=())
def meshgrid(tensors: Arrays, indexing: str = "ij"):
    """Coordinate grids: result ``k`` varies along dimension ``k``; with ``"xy"`` the first two change places.

    Raises:
        RuntimeError: the types differ, a tensor has more than one dimension, or ``indexing`` is neither.
    """
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if any(x.dtype != tensors[0].dtype for x in tensors):
        raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    for x in tensors:
        if x.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(x.shape)}")
    return tuple(jnp.meshgrid(*(x.reshape(-1) for x in tensors), indexing=indexing))


@op(name="_cartesian_prod", namespaces=())
def cartesian_prod(tensors: Arrays):
    """All combinations of the vectors' elements, one a row, the last varying fastest; a single vector as it is.

    Raises:
        RuntimeError: a tensor is not a vector, or the types differ.
    """
    for x in tensors:
        if x.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(x.shape)}")
    if any(x.dtype != tensors[0].dtype for x in tensors):
        raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    if len(tensors) == 1:
        return tensors[0]
    return jnp.stack([g.reshape(-1) for g in jnp.meshgrid(*tensors, indexing="ij")], 1)


@op(out=False, method=False)
def combinations(input: Array, r: int = 2, with_replacement: bool = False):
    """All combinations of ``r`` elements of a vector, one a row, in the order of ``itertools.combinations``.

    Raises:
        RuntimeError: not a vector, or ``r`` is negative.
    """
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return jnp.zeros((0,), input.dtype)
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(pick(range(input.shape[0]), r)), np.int32).reshape(-1, r)
    return input[rows] if rows.size else jnp.zeros(rows.shape, input.dtype)


# --- repeating -----------------------------------------------------------------------------------------------------


def _tile(x, counts):
    """Every dimension repeated: broadcast against new leading dimensions, then merged; its gradient is a plain sum."""
    x = x.reshape((1,) * (len(counts) - x.ndim) + x.shape)
    paired = [n for pair in zip(counts, x.shape, strict=True) for n in pair]
    single = [n for size in x.shape for n in (1, size)]
    merged = [c * n for c, n in zip(counts, x.shape, strict=True)]
    return jnp.broadcast_to(x.reshape(single), paired).reshape(merged)


@op(namespaces=(), method=True)
def repeat(input: Array, repeats: Size):
    """The tensor laid out ``repeats[i]`` times along dimension ``i``; further counts lead.

    Raises:
        RuntimeError: fewer counts than dimensions, or a negative one.
    """
    if len(repeats) < input.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(r < 0 for r in repeats):
        raise RuntimeError(f"Trying to create tensor with negative dimension: repeats {list(repeats)}")
    return _tile(input, repeats)


@op(out=False, grad_name="RepeatBackward0")
def tile(input: Array, dims: Size):
    """As ``Tensor.repeat``, where missing leading counts are 1."""
    return _tile(input, (1,) * (input.ndim - len(dims)) + tuple(dims))


@op(out=False)
def repeat_interleave(input: Array, repeats: int, dim: int | None = None, *, output_size: int | None = None):
    """Each element ``repeats`` times in place, along ``dim`` (default: of the flattened tensor).

    Raises:
        RuntimeError: ``repeats`` is negative.
    """
    if repeats < 0:
        raise RuntimeError("Repeats must be non-negative")
    x = input.reshape(-1) if dim is None else atleast(input, ndim=1)
    dim = 0 if dim is None else canonical_dim(dim, x.ndim)
    shape = x.shape[: dim + 1] + (repeats,) + x.shape[dim + 1 :]
    out = jnp.broadcast_to(jnp.expand_dims(x, dim + 1), shape)
    return out.reshape(x.shape[:dim] + (x.shape[dim] * repeats,) + x.shape[dim + 1 :])


def _repeats_fill(input, repeats, dim=None, *, output_size):
    n = input.size if dim is None else atleast(input, ndim=1).shape[dim]
    total = jnp.sum(jnp.broadcast_to(repeats.astype(np.int64), (n,)))
    bad = (total != output_size) | jnp.any(repeats < 0)
    return bad, "repeat_interleave(): allocated size does not match required size"


@op(name="repeat_interleave.tensor", namespaces=(), check=_repeats_fill, error=RuntimeError)
def repeat_interleave_tensor(input: Array, repeats: Array, dim: int | None = None, *, output_size: int):
    """Element ``i`` repeated ``repeats[i]`` times in place; ``output_size`` is the sum of ``repeats``.

    Raises:
        RuntimeError: ``repeats`` does not have one count for each element along ``dim``.
    """
    x = input.reshape(-1) if dim is None else atleast(input, ndim=1)
    dim = 0 if dim is None else canonical_dim(dim, x.ndim)
    n = x.shape[dim]
    if repeats.ndim > 1 or (repeats.size != 1 and repeats.size != n):
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{repeats.size} and input.size({dim}) = {n}"
        )
    repeats = jnp.broadcast_to(repeats.reshape(-1), (n,))
    source = jnp.repeat(jnp.arange(n, dtype=np.int32), repeats, total_repeat_length=output_size)
    return x.at[(slice(None),) * dim + (source,)].get(mode="promise_in_bounds", wrap_negative_indices=False)


# --- flipping and turning ------------------------------------------------------------------------------------------


@op(out=False)
def flip(input: Array, dims: Size):
    """The order of the elements reversed along ``dims``.

    Raises:
        RuntimeError: a dimension is named twice.
    """
    return lax.rev(input, canonical_dims(tuple(dims), input.ndim) if dims else ())


@op(out=False)
def fliplr(input: Array):
    """The second dimension reversed."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return lax.rev(input, (1,))


@op(out=False)
def flipud(input: Array):
    """The first dimension reversed."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return lax.rev(input, (0,))


@op(out=False)
def roll(input: Array, shifts: int | tuple[int, ...], dims: int | tuple[int, ...] = ()):
    """Elements moved on by ``shifts`` along ``dims``, those pushed out coming in at the front; without ``dims``, of the
    flattened tensor.

    Raises:
        RuntimeError: no shifts, or not as many as dims.
        IndexError: a dim is out of range.
    """
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        return jnp.roll(input, shifts[0])
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    for shift, dim in zip(shifts, dims, strict=True):
        input = jnp.roll(input, shift, existing_dim(dim, input.ndim))
    return input


@op(out=False)
def rot90(input: Array, k: int = 1, dims: tuple[int, ...] = (0, 1)):
    """Turned by 90 degrees ``k`` times, from the first towards the second of ``dims``.

    Raises:
        RuntimeError: not two different dimensions.
    """
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    first, second = (canonical_dim(d, input.ndim) for d in dims)
    if first == second:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    return jnp.rot90(input, k, (first, second))


# --- triangles and diagonals ---------------------------------------------------------------------------------------


def _triangle(name: str, x, keep):
    if x.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
    row, column = (lax.broadcasted_iota(np.int32, x.shape[-2:], d) for d in (0, 1))
    return jnp.where(keep(column - row), x, jnp.zeros((), x.dtype))


@op(inplace=True, out=same_dtype)
def tril(input: Array, diagonal: int = 0):
    """The matrix (or batch) with zeros above the ``diagonal``-th diagonal."""
    return _triangle("tril", input, lambda above: above <= diagonal)


@op(inplace=True, out=same_dtype)
def triu(input: Array, diagonal: int = 0):
    """The matrix (or batch) with zeros below the ``diagonal``-th diagonal."""
    return _triangle("triu", input, lambda above: above >= diagonal)


@op
def diag_embed(input: Array, offset: int = 0, dim1: int = -2, dim2: int = -1):
    """The last dimension laid on the ``offset``-th diagonal of new dimensions ``dim1`` and ``dim2``, zero elsewhere.

    Raises:
        RuntimeError: ``dim1`` and ``dim2`` are the same.
    """
    x = atleast(input, ndim=1)
    first, second = canonical_dim(dim1, x.ndim + 1), canonical_dim(dim2, x.ndim + 1)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    length = x.shape[-1]
    n = length + abs(offset)
    if length == 0:
        out = jnp.zeros((*x.shape[:-1], n * n), x.dtype)
    else:
        # In the flattened n by n matrix the elements lie n + 1 apart.
        before = offset if offset >= 0 else -offset * n
        after = n * n - before - (length - 1) * (n + 1) - 1
        out = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * (x.ndim - 1) + [(before, after, n)])
    return jnp.moveaxis(out.reshape((*x.shape[:-1], n, n)), (-2, -1), (first, second))


@op(out=same_dtype)
def diag(input: Array, diagonal: int = 0):
    """A matrix with the vector on its ``diagonal``-th diagonal, or that diagonal of a matrix.

    Raises:
        RuntimeError: neither a vector nor a matrix.
    """
    if input.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return diag_embed(input, diagonal) if input.ndim == 1 else _diagonal(input, diagonal)


_diagonal = diagonal  # the parameter of diag has the op's name


@op(out=False)
def diagflat(input: Array, offset: int = 0):
    """A matrix with all elements on its ``offset``-th diagonal."""
    return diag_embed(input.reshape(-1), offset)


@op(promote="default", elementwise=False, method=False, inplace=False)
def vander(x: Array, N: int | None = None, increasing: bool = False):
    """The Vandermonde matrix: powers of ``x`` as columns, falling unless ``increasing``; ``N`` of them.

    Raises:
        RuntimeError: not a vector.
    """
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        x = x.astype(jnp.int64)
    columns = [jnp.ones_like(x)]
    for _ in range((x.shape[0] if N is None else N) - 1):
        columns.append(columns[-1] * x)
    columns = columns if N != 0 else []
    if not columns:
        return jnp.zeros((x.shape[0], 0), x.dtype)
    return jnp.stack(columns if increasing else columns[::-1], 1)


# --- the trapezoidal rule ------------------------------------------------------------------------------------------


def _trapezoids(y, x, dx, dim: int):
    """Twice the area of every trapezoid along ``dim``, in the samples' own dtype, and the dimension."""
    dim = canonical_dim(dim, y.ndim)
    left = lax.slice_in_dim(y, 0, max(y.shape[dim] - 1, 0), axis=dim)
    right = lax.slice_in_dim(y, min(1, y.shape[dim]), None, axis=dim)
    if x is None:
        return (left + right) * dx, dim
    if x.ndim == 1:
        x = x.reshape([-1 if d == dim else 1 for d in range(y.ndim)])
        along = dim
    else:
        along = canonical_dim(dim - y.ndim, x.ndim)
    if x.shape[along] != y.shape[dim]:
        raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
    return (left + right) * jnp.diff(x, axis=along), dim


def _half(total):
    return total / 2 if jnp.issubdtype(total.dtype, jnp.inexact) else total.astype(get_default_dtype().np) / 2


def _sum_dtype(x):
    return x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else np.int64


def _real_steps(name: str):
    def rule(target, y, x, dx) -> None:
        if dx is complex:
            raise RuntimeError(f"{name}: Currently, we only support dx as a real number.")

    return rule


@op(promote="default", elementwise=False, inplace=False, method=False, out=False, types=_real_steps("trapezoid"))
def trapezoid(y: Array, x: Array | None = None, *, dx: Array | Number = 1, dim: int = -1):
    """The integral along ``dim`` by the trapezoidal rule, of samples at ``x`` or ``dx`` apart."""
    areas, dim = _trapezoids(y, x, dx, dim)
    return _half(jnp.sum(areas, dim, dtype=_sum_dtype(areas)))


@op(
    promote="default", elementwise=False, inplace=False, method=False, out=False,
    types=_real_steps("cumulative_trapezoid"),
)  # fmt: skip
def cumulative_trapezoid(y: Array, x: Array | None = None, *, dx: Array | Number = 1, dim: int = -1):
    """The running integral along ``dim`` by the trapezoidal rule; one element shorter than ``y``."""
    areas, dim = _trapezoids(y, x, dx, dim)
    return _half(jnp.cumsum(areas, dim, dtype=_sum_dtype(areas)))


# --- copies and casts ----------------------------------------------------------------------------------------------


@op(out=False)
def clone(input: Array, *, memory_format=None):
    """A copy. ``memory_format`` changes how PyTorch lays out the elements and nothing that can be computed."""
    return jnp.copy(input)  # a value of its own, which jax.jit does not forward from the operand


@op(name="to_dtype", namespaces=(), grad_name="ToCopyBackward0")
def to_dtype(input: Array, *, dtype):
    """The elements as another type: to bool by comparison with zero, complex to real by dropping the imaginary part,
    floats to integers towards zero.

    Floats beyond a narrow integer's range wrap around, as PyTorch's conversion on x86 does; XLA's own would saturate.
    """
    target = dtype.np
    if input.dtype == target:
        return input
    if dtype.category == BOOL:
        return input != 0
    if dtype is float8_e4m3fn:  # which has no infinity: PyTorch's conversion ends at the largest number
        input = jnp.clip(input, -448, 448) if not jnp.iscomplexobj(input) else input
    if jnp.iscomplexobj(input) and dtype.category != COMPLEX:
        input = input.real
    if jnp.issubdtype(input.dtype, jnp.floating) and jnp.issubdtype(target, jnp.integer) and target.itemsize < 4:
        input = input.astype(np.int32)
    return input.astype(target)
