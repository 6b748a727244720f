"""Reading by index, and selecting by mask.

XLA clamps an index that is out of range. So every op here that takes an index tensor has a ``check`` that finds such an
index, and the bodies may promise the compiler that there is none.

On CPU XLA gathers and scatters single elements several times faster through one 32-bit index into the flattened tensor
than through coordinates, so the ops that index along a dimension work on flat positions.
"""

from __future__ import annotations

import math
import operator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import nodes
from .elementwise import added
from .outputs import picked, same_dtype
from .registry import Array, Arrays, Number, op
from .shapes import broadcast_shapes, canonical_dim, position_type
from .view import slice_bounds, type_name

#: How ``.at[...]`` is used once the check has promised that all indices are in range and none is negative.
IN_RANGE = {"mode": "promise_in_bounds", "wrap_negative_indices": False}


# --- basic indexing, as steps --------------------------------------------------------------------------------------


def parse_basic(index: tuple, shape: tuple[int, ...]) -> list[tuple[str, dict, tuple[int, ...]]]:
    """The view ops that ``x[index]`` stands for, where ``index`` holds ints, slices, ``None`` and ``...`` only.

    Returns:
        ``(op name, its static parameters, its run-time ints)`` in order, at most three steps: one block of all slices
        and ints (``select``, ``slice`` or ``slices``), a ``squeeze`` of the ints' dimensions, a ``reshape`` for
        ``None``. An index that selects everything gives none. The run-time ints are ``select``'s ``index``, ``slice``'s
        ``start`` or ``slices``' ``starts``.

    Raises:
        IndexError: too many indices, or an int out of range.
        ValueError: a slice's step is not positive.
        TypeError: an entry is of another kind.
    """
    ndim = len(shape)
    used = sum(1 for i in index if i is not None and i is not Ellipsis)
    if used and not ndim and all(not isinstance(i, slice) for i in index if i is not None and i is not Ellipsis):
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
            "0-dim tensor to a number"
        )
    if used > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    index = with_one_ellipsis(index, ndim - used)
    blocks, squeezed, result, d, nones = [], [], [], 0, 0
    for entry in index if any(i is Ellipsis for i in index) else (*index, Ellipsis):
        if entry is None:
            nones += 1
            result.append(1)
        elif entry is Ellipsis:
            rest = ndim - used
            result.extend(shape[d : d + rest])
            d += rest
        elif isinstance(entry, slice):
            start, length, step = slice_bounds(entry, shape[d])
            if (start, length, step) != (0, shape[d], 1):
                blocks.append((d, start, length, step))
            result.append(length)
            d += 1
        elif isinstance(entry, bool) or not hasattr(entry, "__index__"):
            raise TypeError(f"only integers, slices (`:`), ellipsis (`...`) and None are basic indices, got {entry!r}")
        else:
            i, n = operator.index(entry), shape[d]
            if not -n <= i < n:
                raise IndexError(f"index {i} is out of bounds for dimension {d + nones} with size {n}")
            blocks.append((d, i % n, 1, 1))
            squeezed.append(d)
            d += 1
    steps = []
    if len(blocks) == 1:
        (dim, start, length, step) = blocks[0]
        if squeezed:
            steps.append(("select", {"dim": dim}, (start,)))
            squeezed = []
        else:
            steps.append(("slice", {"dim": dim, "length": length, "step": step}, (start,)))
    elif blocks:
        dims, starts, lengths, strides = zip(*blocks, strict=True)
        steps.append(("slices", {"dims": dims, "lengths": lengths, "steps": strides}, starts))
    if nones:
        steps.append(("reshape", {"shape": tuple(result)}, ()))
    elif squeezed:
        steps.append(("squeeze", {"dim": tuple(squeezed)}, ()))
    return steps


def with_one_ellipsis(index, rest: int):
    """``index`` without a second ``...``: each goes on by the ``rest`` dimensions that no entry takes up.

    Past the last dimension nothing can follow, unless ``rest`` is 0.
    """
    at = [i for i, entry in enumerate(index) if entry is Ellipsis]
    if len(at) < 2:
        return index
    if rest and any(entry is not Ellipsis for entry in index[at[1] :]):
        raise IndexError("what follows a second ellipsis ('...') is past the last dimension")
    return tuple(entry for i, entry in enumerate(index) if i not in at[1:])


# --- shared by reading and writing ---------------------------------------------------------------------------------


def outside(index, size: int, low: int = 0):
    """Whether any index lies outside ``[low, size)``."""
    index = index.astype(np.int64)
    return jnp.any((index < low) | (index >= size))


def expect_index(name: str, index, what: str = "index") -> None:
    """Raise unless ``index`` is an int32 or int64 tensor."""
    if index.dtype not in (np.int32, np.int64) and index.size:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for {what} but got: {type_name(index.dtype)}")


def wrap(index, size: int):
    """Negative indices counted from the end, as positions."""
    index = index.astype(position_type(size))
    return jnp.where(index < 0, index + size, index)


def flat_positions(shape: tuple[int, ...], dim: int, index):
    """Where element ``x[i, ..., index[i, ..., k], ..., k]`` of a tensor of this shape lies when it is flattened."""
    kind = position_type(math.prod(shape))
    at, stride = jnp.zeros(index.shape, kind), 1
    for d in reversed(range(len(shape))):
        along = index.astype(kind) if d == dim else lax.broadcasted_iota(kind, index.shape, d)
        at, stride = at + along * stride, stride * shape[d]
    return at


# JAX's own derivative would save the positions it worked out. This one saves the index as it was given, and where each
# row takes a single element it compares instead of scattering, which fuses into whatever comes before.
@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _take_along(shape, dim, x, index):
    at = flat_positions(shape, dim, index)
    return x.reshape(-1).at[at.reshape(-1)].get(**IN_RANGE).reshape(index.shape)


def _take_along_bwd(shape, dim, index, g):
    if index.shape == shape[:dim] + (1,) + shape[dim + 1 :]:
        picked = lax.broadcasted_iota(index.dtype, shape, dim) == index
        return jnp.where(picked, g, jnp.zeros((), g.dtype)), None
    at = flat_positions(shape, dim, index).reshape(-1)
    flat = added(jnp.zeros((math.prod(shape),), g.dtype), at, g.reshape(-1), **IN_RANGE)
    return flat.reshape(shape), None


_take_along.defvjp(lambda shape, dim, x, index: (_take_along(shape, dim, x, index), index), _take_along_bwd)


def take_along(x, dim: int, index):
    """``gather`` without checks: ``x`` at ``index`` along ``dim``, the other coordinates as they are."""
    if not x.ndim:
        return jnp.broadcast_to(x, index.shape)
    if index.size == 0:
        return jnp.zeros(index.shape, x.dtype)
    return _take_along(x.shape, dim, x, index)


def out_of_bounds(dim: int, size: int, name: str = "") -> str:
    return f"{name}index is out of bounds for dimension {dim} with size {size}"


def _along_size(input, dim: int) -> tuple[int, int]:
    dim = canonical_dim(dim, input.ndim)
    return dim, input.shape[dim] if input.ndim else 1


# --- along one dimension -------------------------------------------------------------------------------------------


def _check_gather(input, dim, index, sparse_grad=False):
    dim, size = _along_size(input, dim)
    return outside(index, size), out_of_bounds(dim, size, "gather(): ")


@op(check=_check_gather, error=RuntimeError, out=picked)
def gather(input: Array, dim: int, index: Array, *, sparse_grad: bool = False):
    """``out[i, j, k] = input[i, index[i, j, k], k]`` for ``dim`` 1, and so on; of ``index``'s shape.

    Raises:
        RuntimeError: ``index`` is not int32 or int64, has other dimensions, or is larger than ``input`` elsewhere.
        IndexError: an index is negative or too large.
    """
    dim = canonical_dim(dim, input.ndim)
    expect_index("gather", index)
    if index.size == 0:
        return jnp.zeros(index.shape, input.dtype)
    if max(index.ndim, 1) != max(input.ndim, 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    if index.ndim == input.ndim and any(
        i > n for d, (i, n) in enumerate(zip(index.shape, input.shape, strict=True)) if d != dim
    ):
        d = next(d for d in range(input.ndim) if d != dim and index.shape[d] > input.shape[d])
        raise RuntimeError(
            f"Size does not match at dimension {d} expected index {list(index.shape)} to be no larger than self "
            f"{list(input.shape)} apart from dimension {dim}"
        )
    if index.ndim == 0:
        return take_along(input.reshape(-1), 0, index.reshape(1)).reshape(())
    return take_along(input, dim, index)


def _check_take_along_dim(input, indices, dim=None):
    size = input.size if dim is None else input.shape[canonical_dim(dim, input.ndim)]
    return outside(indices, size, -size), f"take_along_dim(): index is out of bounds for size {size}"


@op(check=_check_take_along_dim, out=picked)
def take_along_dim(input: Array, indices: Array, dim: int | None = None):
    """As ``gather``, with ``input`` and ``indices`` broadcast against each other and negative indices counted from the
    end; without ``dim``, of the flattened tensor.

    Raises:
        RuntimeError: the two have different numbers of dimensions, or do not broadcast.
    """
    if indices.dtype != np.int64:
        raise RuntimeError(f"take_along_dim(): dtype of indices should be Long but got {type_name(indices.dtype)}")
    if dim is None:
        return take_along(input.reshape(-1), 0, wrap(indices.reshape(-1), input.size))
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    dim = canonical_dim(dim, input.ndim)
    others = broadcast_shapes(
        input.shape[:dim] + (1,) + input.shape[dim + 1 :], indices.shape[:dim] + (1,) + indices.shape[dim + 1 :]
    )
    size, count = input.shape[dim], indices.shape[dim]
    input = jnp.broadcast_to(input, others[:dim] + (size,) + others[dim + 1 :])
    indices = jnp.broadcast_to(indices, others[:dim] + (count,) + others[dim + 1 :])
    return take_along(input, dim, wrap(indices, size))


def _check_take(input, index):
    return outside(index, input.size, -input.size), f"take(): index out of range on a tensor of {input.size} elements."


@op(check=_check_take, out=picked)
def take(input: Array, index: Array):
    """The elements at ``index`` of the flattened tensor, in ``index``'s shape; negative indices count from the end.

    Raises:
        RuntimeError: ``index`` is not int64.
        IndexError: an index is out of range.
    """
    if index.dtype != np.int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {type_name(index.dtype)}")
    return take_along(input.reshape(-1), 0, wrap(index.reshape(-1), input.size)).reshape(index.shape)


def _check_index_select(input, dim, index):
    return outside(index, _along_size(input, dim)[1]), "index_select(): index out of range in self"


@op(check=_check_index_select, out=picked)
def index_select(input: Array, dim: int, index: Array):
    """The sub-tensors at ``index`` along ``dim``, in that order.

    Raises:
        RuntimeError: ``index`` is not int32 or int64.
        IndexError: ``index`` is not a vector, or an index is negative or too large.
    """
    dim = canonical_dim(dim, input.ndim)
    expect_index("index_select", index)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if input.ndim == 0:
        if index.size != 1:
            raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {index.size} value(s)")
        return input
    return _read(input.shape, (":",) * dim + ("t",), input, (index.reshape(-1),))


# --- advanced indexing ---------------------------------------------------------------------------------------------


def locate(shape: tuple[int, ...], spec: tuple[str, ...], indices) -> tuple[tuple[int, ...], tuple]:
    """How to reach ``x[spec]``: a shape to give ``x`` first, and per dimension of it an index array or None for all.

    Neighbouring indexed dimensions are merged, so that most forms become one index along one dimension.

    Raises:
        IndexError: too many indices, or index shapes that do not broadcast.
    """
    if len(spec) > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    dims = [d for d, s in enumerate(spec) if s == "t"]
    try:
        common = broadcast_shapes(*(i.shape for i in indices))
    except RuntimeError:
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            + ", ".join(str(list(i.shape)) for i in indices)
        ) from None
    for d, index in zip(dims, indices, strict=True):
        if not jnp.issubdtype(index.dtype, jnp.integer):
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        if shape[d] == 0 and math.prod(common):
            raise IndexError("index is out of bounds for dimension with size 0")
    wrapped = [jnp.broadcast_to(wrap(i, shape[d]), common) for d, i in zip(dims, indices, strict=True)]
    if dims != list(range(dims[0], dims[-1] + 1)):
        where = dict(zip(dims, wrapped, strict=True))
        return shape, tuple(where.get(d) for d in range(dims[-1] + 1))
    first, after = dims[0], dims[-1] + 1
    merged = math.prod(shape[first:after])
    at = jnp.zeros(common, position_type(merged))
    for d, index in zip(dims, wrapped, strict=True):
        at = at * shape[d] + index.astype(at.dtype)
    return shape[:first] + (merged,) + shape[after:], (None,) * first + (at,)


def key(where: tuple):
    """``where`` of :func:`locate` as an index expression."""
    return tuple(slice(None) if w is None else w for w in where)


def check_index(input, indices, *, spec):
    dims = [d for d, s in enumerate(spec) if s == "t"]
    bad = jnp.zeros((), bool)
    for d, index in zip(dims, indices, strict=True):
        bad = bad | outside(index, input.shape[d], -input.shape[d])
    if len(dims) == 1:
        return bad, out_of_bounds(dims[0], input.shape[dims[0]])
    return bad, f"index is out of bounds for one of the dimensions {dims} of a tensor of size {list(input.shape)}"


# Saves the indices as they were given, where JAX's own derivative would save the positions worked out from them.
@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _read(shape, spec, input, indices):
    merged, where = locate(shape, spec, indices)
    return input.reshape(merged).at[key(where)].get(**IN_RANGE)


def _read_bwd(shape, spec, indices, g):
    merged, where = locate(shape, spec, indices)
    return added(jnp.zeros(merged, g.dtype), key(where), g, **IN_RANGE).reshape(shape), None


_read.defvjp(lambda shape, spec, input, indices: (_read(shape, spec, input, indices), indices), _read_bwd)


@op(name="index", namespaces=(), check=check_index)
def index(input: Array, indices: Arrays | Number, *, spec: tuple[str, ...]):
    """``input[spec]``, where each ``"t"`` of ``spec`` is the next of ``indices`` and each ``":"`` a whole dimension.

    The broadcast shape of the indices replaces the indexed dimensions where these are neighbours, and leads otherwise.
    Negative indices count from the end.

    Raises:
        IndexError: too many indices, index shapes that do not broadcast, or an index out of range.
    """
    return _read(input.shape, spec, input, indices)


# --- masks ---------------------------------------------------------------------------------------------------------


def _expect_mask(name: str, mask) -> None:
    if mask.dtype != np.bool_:
        raise RuntimeError(f"{name} only supports boolean masks, but got mask with dtype {type_name(mask.dtype)}")


@op(promote="default", promoted=("input", "other"), method=False, inplace=False, out=same_dtype)
def where(condition: Array, input: Array | Number, other: Array | Number):
    """``input`` where ``condition`` holds, ``other`` elsewhere; all three broadcast.

    Raises:
        RuntimeError: the condition is not bool, or the shapes do not broadcast.
    """
    if condition.dtype not in (np.bool_, np.uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {type_name(condition.dtype)}"
        )
    broadcast_shapes(condition.shape, input.shape, other.shape)
    return jnp.where(condition.astype(bool), input, other)


@op(promote="keep", inplace=True, out=False, grad_name=nodes.by_tensor("MaskedFill", "value"))
def masked_fill(input: Array, mask: Array, value: Array | Number):
    """``value`` (a number or a 0-d tensor, cast to ``input``'s type) where ``mask`` holds, ``input`` elsewhere.

    Raises:
        RuntimeError: the mask is not bool, ``value`` has dimensions, or is complex where ``input`` is not.
    """
    _expect_mask("masked_fill_", mask)
    broadcast_shapes(input.shape, mask.shape)
    return jnp.where(mask, fill_value("masked_fill_", input, value), input)


def fill_value(name: str, input, value):
    """A 0-d ``value`` cast to ``input``'s type.

    Raises:
        RuntimeError: it has dimensions, or is complex where ``input`` is not.
    """
    if value.ndim:
        raise RuntimeError(
            f"{name} only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    if jnp.iscomplexobj(value) and not jnp.iscomplexobj(input):
        raise RuntimeError(f"value cannot be converted to type {type_name(input.dtype)} without overflow")
    return value != 0 if input.dtype == np.bool_ else value.astype(input.dtype)


def _check_masked_scatter(input, mask, source):
    wanted = jnp.sum(jnp.broadcast_to(mask, broadcast_shapes(input.shape, mask.shape)), dtype=np.int64)
    return wanted > source.size, "masked_scatter(): Number of elements of source < number of ones in mask"


@op(inplace=True, out=False, check=_check_masked_scatter)
def masked_scatter(input: Array, mask: Array, source: Array):
    """The elements of ``source``, in order, where ``mask`` holds, ``input`` elsewhere.

    Raises:
        RuntimeError: the mask is not bool, or the types of ``input`` and ``source`` differ.
        IndexError: ``source`` has fewer elements than the mask selects.
    """
    _expect_mask("masked_scatter_", mask)
    if input.dtype != source.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got "
            f"{type_name(input.dtype)} and {type_name(source.dtype)}"
        )
    shape = broadcast_shapes(input.shape, mask.shape)
    if not source.size:
        return jnp.broadcast_to(input, shape)
    mask = jnp.broadcast_to(mask, shape)
    kind = position_type(mask.size)
    at = jnp.cumsum(mask.reshape(-1).astype(kind), dtype=kind) - 1
    found = source.reshape(-1).at[jnp.clip(at, 0, source.size - 1)].get(**IN_RANGE)
    return jnp.where(mask, found.reshape(shape), input)


@op(differentiable=False)
def nonzero_static(input: Array, *, size: int, fill_value: int = -1):
    """The coordinates of the first ``size`` elements that are not zero, one a row, the rest filled; int64."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    if input.ndim and not input.size:
        return jnp.full((size, input.ndim), fill_value, np.int64)
    found = jnp.nonzero(input, size=size, fill_value=fill_value) if input.ndim else ()
    return jnp.stack(found, 1).astype(np.int64) if found else jnp.zeros((size, 0), np.int64)


def _check_one_hot(input, num_classes=-1):
    return outside(input, num_classes), f"one_hot(): Class values must be in [0, {num_classes})"


@op(namespaces=("nn.functional",), differentiable=False, check=_check_one_hot, error=RuntimeError)
def one_hot(input: Array, num_classes: int = -1):
    """A new last dimension of ``num_classes`` that is 1 at the class and 0 elsewhere; int64.

    Raises:
        RuntimeError: ``input`` is not int64, ``num_classes`` is -1 (count the classes first), or a class is negative or
            not smaller than ``num_classes``.
    """
    if input.dtype != np.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if num_classes < 1:
        raise RuntimeError(f"one_hot: num_classes must be given as a positive number here, got {num_classes}")
    return (input[..., None] == jnp.arange(num_classes, dtype=np.int64)).astype(np.int64)
