"""Views: ops whose result shares its elements with the first operand.

Each is the ``get`` of a lens and carries ``put(base, new, **parameters)``, the base with the view's elements replaced.
The two obey the lens laws, which ``tests/test_lenses.py`` checks::

    get(put(base, new)) == new        put(base, get(base)) == base        put(put(base, a), b) == put(base, b)

Starts and indices are run-time scalars, so that walking over a tensor compiles once; lengths and steps are static.
"""

from __future__ import annotations

import math
import operator

import jax.numpy as jnp
import numpy as np
from jax import lax

from . import nodes
from .registry import Array, Arrays, Number, Scalar, Size, op
from .shapes import canonical_dim, canonical_dims, infer_size

SELF_OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
    "Please clone() the tensor before performing the operation."
)

_TYPE_NAMES = {
    "float64": "Double", "float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
    "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
    "complex64": "ComplexFloat", "complex128": "ComplexDouble",
}  # fmt: skip


def type_name(np_type) -> str:
    """The name PyTorch's messages give an element type: ``Float`` for float32, ``Long`` for int64."""
    name = np.dtype(np_type).name
    return _TYPE_NAMES.get(name, name)


def _put_reshape(base, new, **_):
    """The put of every view that only regroups the elements."""
    return new.reshape(base.shape)


def _put_whole(base, new, **_):
    return new


# --- regrouping: the elements stay in order ------------------------------------------------------------------------


@op(namespaces=(), method=True, put=_put_reshape)
def view(input: Array, size: Size):
    """The same elements under another shape; one size may be -1.

    Raises:
        RuntimeError: the sizes do not multiply to the number of elements.
    """
    return input.reshape(infer_size(size, input.size))


@op(put=_put_reshape, grad_name="ViewBackward0")
def reshape(input: Array, shape: Size):
    """The same elements under another shape; one size may be -1.

    Raises:
        RuntimeError: the sizes do not multiply to the number of elements.
    """
    return input.reshape(infer_size(shape, input.size))


@op(put=_put_reshape, grad_name="ViewBackward0")
def flatten(input: Array, start_dim: int = 0, end_dim: int = -1):
    """Dimensions ``start_dim`` to ``end_dim`` (inclusive) merged into one; a 0-d tensor becomes 1-d.

    Raises:
        RuntimeError: ``start_dim`` comes after ``end_dim``.
    """
    first, last = canonical_dim(start_dim, input.ndim), canonical_dim(end_dim, input.ndim)
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    shape = input.shape or (1,)
    return input.reshape(shape[:first] + (math.prod(shape[first : last + 1]),) + shape[last + 1 :])


@op(put=_put_reshape, grad_name="ViewBackward0")
def ravel(input: Array):
    """All elements in one dimension."""
    return input.reshape(-1)


@op(put=_put_reshape, grad_name="ViewBackward0")
def unflatten(input: Array, dim: int, sizes: tuple[int, ...]):
    """Dimension ``dim`` split into ``sizes``, of which one may be -1.

    Raises:
        RuntimeError: the sizes do not multiply to that of ``dim``, or there are none.
    """
    dim = canonical_dim(dim, input.ndim)
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    n = input.shape[dim]
    try:
        inner = infer_size(sizes, n)
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({n}) in the input "
            "tensor"
        ) from None
    return input.reshape(input.shape[:dim] + inner + input.shape[dim + 1 :])


@op(put=_put_reshape, grad_name=nodes.squeeze)
def squeeze(input: Array, dim: int | tuple[int, ...] | None = None):
    """Without the dimensions of size 1, or without those of ``dim`` that have size 1."""
    dims = range(input.ndim) if dim is None else () if dim == () else canonical_dims(dim, input.ndim)
    for d in () if dim is None or input.ndim else (dim,) if isinstance(dim, int) else dim:
        canonical_dim(d, 0)
    return input.reshape(tuple(n for d, n in enumerate(input.shape) if n != 1 or d not in dims))


@op(put=_put_reshape)
def unsqueeze(input: Array, dim: int):
    """With a dimension of size 1 put in at ``dim``, counted in the result."""
    dim = canonical_dim(dim, input.ndim + 1)
    return input.reshape(input.shape[:dim] + (1,) + input.shape[dim:])


@op(name="_atleast", namespaces=(), put=_put_reshape)
def atleast(input: Array, *, ndim: int):
    """With dimensions of size 1 added until there are ``ndim`` of 1, 2 or 3, placed as ``atleast_nd`` places them."""
    shape = input.shape
    if len(shape) < ndim:
        shape = {0: (1,) * ndim, 1: (1, *shape) + (1,) * (ndim - 2), 2: (*shape, 1)}[len(shape)]
    return input.reshape(shape)


@op(differentiable=False, put=_put_whole)
def detach(input: Array):
    """The same elements, cut off from the gradient's history."""
    return input


@op(namespaces=(), put=_put_whole)
def alias(input: Array):
    """The same elements, as another tensor."""
    return input


# --- permuting -----------------------------------------------------------------------------------------------------


def _permutation(dims: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    if len(dims) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(dims)}"
        )
    order = tuple(canonical_dim(d, ndim) for d in dims)
    if len(set(order)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return order


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(np.array(order, np.int64)))


def _put_permute(base, new, dims):
    return jnp.transpose(new, _inverse(_permutation(dims, base.ndim)))


@op(put=_put_permute)
def permute(input: Array, dims: Size):
    """The dimensions in the order ``dims``.

    Raises:
        RuntimeError: ``dims`` is not a permutation.
    """
    return jnp.transpose(input, _permutation(dims, input.ndim))


def _swap(x, dim0: int, dim1: int):
    dim0, dim1 = canonical_dim(dim0, x.ndim), canonical_dim(dim1, x.ndim)
    return jnp.swapaxes(x, dim0, dim1) if x.ndim else x


@op(aliases=("swapaxes", "swapdims"), put=lambda base, new, dim0, dim1: _swap(new, dim0, dim1))
def transpose(input: Array, dim0: int, dim1: int):
    """Dimensions ``dim0`` and ``dim1`` exchanged."""
    return _swap(input, dim0, dim1)


@op(put=lambda base, new: new.T)
def t(input: Array):
    """The transpose of a matrix; vectors and numbers as they are.

    Raises:
        RuntimeError: more than two dimensions.
    """
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return input.T


def _movement(source, destination, ndim: int) -> tuple[int, ...]:
    """The permutation that moves ``source`` dimensions to ``destination`` ones and keeps the others in order."""
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(source)} dims) should contain the same number "
            f"of dims as destination ({list(destination)} dims)"
        )
    src = [canonical_dim(d, ndim) for d in source]
    dst = [canonical_dim(d, ndim) for d in destination]
    for what, given, dims in (("source", source, src), ("destination", destination, dst)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{what}` ({list(given)})")
    order = [d for d in range(ndim) if d not in src]
    for place, d in sorted(zip(dst, src, strict=True)):
        order.insert(place, d)
    return tuple(order) if ndim else ()


def _put_movedim(base, new, source, destination):
    return jnp.transpose(new, _inverse(_movement(source, destination, base.ndim)))


@op(aliases=("moveaxis",), put=_put_movedim, grad_name="PermuteBackward0")
def movedim(input: Array, source: int | tuple[int, ...], destination: int | tuple[int, ...]):
    """The dimensions ``source`` moved to the places ``destination``; the others keep their order.

    Raises:
        RuntimeError: a dimension is named twice, or the two differ in length.
    """
    return jnp.transpose(input, _movement(source, destination, input.ndim))


# --- expanding -----------------------------------------------------------------------------------------------------


def _expanded_shape(shape: tuple[int, ...], size: tuple[int, ...], dtype) -> tuple[int, ...]:
    missing = len(size) - len(shape)
    if missing < 0:
        raise RuntimeError(
            f"expand(torch.{type_name(dtype)}Tensor{{{list(shape)}}}, size={list(size)}): the number of sizes provided "
            f"({len(size)}) must be greater or equal to the number of dimensions in the tensor ({len(shape)})"
        )
    result = []
    for d, target in enumerate(size):
        if d < missing:
            if target < 0:
                raise RuntimeError(
                    f"The expanded size of the tensor ({target}) isn't allowed in a leading, non-existing dimension {d}"
                )
            result.append(target)
            continue
        n = shape[d - missing]
        if target == -1 or target == n:
            result.append(n)
        elif n == 1 and target >= 0:
            result.append(target)
        else:
            raise RuntimeError(
                f"The expanded size of the tensor ({target}) must match the existing size ({n}) at non-singleton "
                f"dimension {d}.  Target sizes: {list(size)}.  Tensor sizes: {list(shape)}"
            )
    return tuple(result)


def _put_expand(base, new, size):
    """Of the copies that an element has, the first that was changed counts; a Tensor refuses what changes them all."""
    if new.size <= base.size:
        return new.reshape(base.shape) if new.size == base.size else base
    shape = (1,) * (new.ndim - base.ndim) + base.shape
    repeated = [d for d, (n, m) in enumerate(zip(shape, new.shape, strict=True)) if n != m]
    kept = [d for d in range(new.ndim) if d not in repeated]
    copies = jnp.transpose(new, kept + repeated).reshape(*(shape[d] for d in kept), -1)
    old = base.reshape([*(shape[d] for d in kept), 1])
    changed = (copies != old) & ~((copies != copies) & (old != old))
    first = jnp.argmax(changed, axis=-1, keepdims=True)
    return jnp.take_along_axis(copies, first, axis=-1).reshape(base.shape)


@op(namespaces=(), method=True, put=_put_expand)
def expand(input: Array, size: Size):
    """Dimensions of size 1 repeated to ``size``, without copying; -1 keeps a size, and new ones may lead.

    Raises:
        RuntimeError: a size other than 1 would change; or the result is written to while it repeats elements.
    """
    return jnp.broadcast_to(input, _expanded_shape(input.shape, size, input.dtype))


@op(put=_put_expand, grad_name="ExpandBackward0")
def broadcast_to(input: Array, size: Size):
    """The same as ``expand``."""
    return jnp.broadcast_to(input, _expanded_shape(input.shape, size, input.dtype))


# --- slicing -------------------------------------------------------------------------------------------------------


def check_select(shape: tuple[int, ...], dim: int, index: int) -> int:
    """``index`` counted from the front, for callers that know it as a Python number.

    Raises:
        IndexError: it is outside ``[-size, size - 1]``.
    """
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = canonical_dim(dim, len(shape))
    n = shape[dim]
    if not -n <= index < n:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {dim}")
    return index % n


def check_narrow(shape: tuple[int, ...], dim: int, start: int, length: int) -> int:
    """``start`` counted from the front, for callers that know it as a Python number.

    Raises:
        IndexError: ``start`` is outside ``[-size, size]``.
        RuntimeError: ``length`` is negative, or reaches beyond the end.
    """
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    n = shape[canonical_dim(dim, len(shape))]
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return start


def slice_bounds(s: slice, size: int) -> tuple[int, int, int]:
    """``(start, length, step)`` of a slice, its bounds clamped to ``size`` as Python does.

    Raises:
        ValueError: the step is not positive.
    """
    step = 1 if s.step is None else operator.index(s.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step < 0:
        raise ValueError("step must be greater than zero")
    span = range(*slice(s.start, s.stop, step).indices(size))
    return min(span.start, size), len(span), step


def _spans(lengths, steps) -> tuple[int, ...]:
    """How many elements ``lengths`` results ``steps`` apart reach over."""
    return tuple((n - 1) * s + 1 if n else 0 for n, s in zip(lengths, steps, strict=True))


def _starts(ndim: int, dims, starts):
    """Start indices for every dimension, and which of them may count from the end."""
    given = dict(zip(dims, starts, strict=True))
    return (
        [jnp.asarray(given.get(d, 0), jnp.int64) for d in range(ndim)],
        tuple(d in given for d in range(ndim)),
    )


def get_slices(x, dims, starts, lengths, steps):
    """The block of ``lengths`` elements, ``steps`` apart, from ``starts`` on, along ``dims``."""
    dims = tuple(canonical_dim(d, x.ndim) for d in dims)
    spans, strides = list(x.shape), [1] * x.ndim
    for d, span, step in zip(dims, _spans(lengths, steps), steps, strict=True):
        spans[d], strides[d] = span, step
    at, wraps = _starts(x.ndim, dims, starts)
    block = lax.dynamic_slice(x, at, spans, allow_negative_indices=wraps)
    return block if all(s == 1 for s in strides) else lax.slice(block, (0,) * x.ndim, spans, strides)


def put_slices(base, new, dims, starts, lengths, steps):
    """``base`` with the block that ``get_slices`` reads replaced by ``new``."""
    if 0 in new.shape:
        return base
    dims = tuple(canonical_dim(d, base.ndim) for d in dims)
    at, wraps = _starts(base.ndim, dims, starts)
    strides = [1] * base.ndim
    for d, step in zip(dims, steps, strict=True):
        strides[d] = step
    if any(s != 1 for s in strides):
        # Spread the new elements out and keep the old ones between them: two fused passes where a scatter would loop.
        spans = _spans(new.shape, strides)
        old = lax.dynamic_slice(base, at, spans, allow_negative_indices=wraps)
        new = lax.pad(new, jnp.zeros((), new.dtype), [(0, 0, s - 1) for s in strides])
        hit = True
        for d, s in enumerate(strides):
            if s != 1:
                hit = hit & (lax.broadcasted_iota(np.int32, spans, d) % s == 0)
        new = jnp.where(hit, new, old)
    return lax.dynamic_update_slice(base, new, at, allow_negative_indices=wraps)


def _put_slices(base, new, starts, dims, lengths, steps):
    return put_slices(base, new, dims, starts, lengths, steps)


@op(name="slices", namespaces=(), put=_put_slices, grad_name="SliceBackward0")
def slices(
    input: Array, starts: Arrays | Number, dims: tuple[int, ...], lengths: tuple[int, ...], steps: tuple[int, ...]
):
    """Several slices at once: ``lengths[i]`` elements, ``steps[i]`` apart, from ``starts[i]`` on, along ``dims[i]``."""
    return get_slices(input, dims, starts, lengths, steps)


def _put_slice(base, new, dim, start, length, step):
    return put_slices(base, new, (dim,), (start,), (length,), (step,))


@op(name="slice", namespaces=(), put=_put_slice)
def slice_(input: Array, dim: int, start: Scalar, length: int, step: int):
    """``length`` elements, ``step`` apart, from ``start`` on, along ``dim``."""
    return get_slices(input, (dim,), (start,), (length,), (step,))


def _put_narrow(base, new, dim, start, length):
    return put_slices(base, new, (dim,), (start,), (length,), (1,))


@op(put=_put_narrow)
def narrow(input: Array, dim: int, start: Scalar, length: int):
    """``length`` elements from ``start`` on along ``dim``.

    Raises:
        RuntimeError: ``length`` is negative, or reaches beyond the end.
        IndexError: ``start`` is out of range.
    """
    check_narrow(input.shape, dim, 0, length)
    return get_slices(input, (dim,), (start,), (length,), (1,))


def _put_select(base, new, dim, index):
    dim = canonical_dim(dim, base.ndim)
    return put_slices(base, jnp.expand_dims(new, dim), (dim,), (index,), (1,), (1,))


@op(put=_put_select)
def select(input: Array, dim: int, index: Scalar):
    """The sub-tensor at ``index`` of dimension ``dim``, which disappears.

    Raises:
        IndexError: ``dim`` or ``index`` is out of range.
    """
    check_select(input.shape, dim, 0)
    dim = canonical_dim(dim, input.ndim)
    return jnp.squeeze(get_slices(input, (dim,), (index,), (1,), (1,)), dim)


def _check_select_tensor(input, index, dim):
    dim = canonical_dim(dim, input.ndim)
    n = input.shape[dim]
    return (index < -n) | (index >= n), f"index is out of bounds for dimension {dim} with size {n}"


@op(
    name="select.tensor", namespaces=(), grad_name="SelectBackward0", check=_check_select_tensor,
    put=lambda base, new, index, dim: _put_select(base, new, dim, index),
)  # fmt: skip
def select_tensor(input: Array, index: Array, dim: int):
    """:func:`select` at an index that is known only when the program runs, a 0-d integer tensor."""
    dim = canonical_dim(dim, input.ndim)
    return jnp.squeeze(get_slices(input, (dim,), (index,), (1,), (1,)), dim)


# --- diagonals: every (columns + 1)-th element of the flattened matrix ---------------------------------------------


def _diagonal_layout(shape, offset: int, dim1: int, dim2: int):
    """The matrix dimensions, where its diagonal starts in the flattened matrix, and its length."""
    first, second = canonical_dim(dim1, len(shape)), canonical_dim(dim2, len(shape))
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rows, columns = shape[first], shape[second]
    length = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    return first, second, (offset if offset >= 0 else -offset * columns), length


def put_diagonal(base, new, offset=0, dim1=0, dim2=1):
    first, second, start, length = _diagonal_layout(base.shape, offset, dim1, dim2)
    if not length:
        return base
    moved = jnp.moveaxis(base, (first, second), (-2, -1))
    flat = moved.reshape((*moved.shape[:-2], moved.shape[-2] * moved.shape[-1]))
    flat = put_slices(flat, new, (flat.ndim - 1,), (start,), (length,), (moved.shape[-1] + 1,))
    return jnp.moveaxis(flat.reshape(moved.shape), (-2, -1), (first, second))


@op(put=put_diagonal)
def diagonal(input: Array, offset: int = 0, dim1: int = 0, dim2: int = 1):
    """The elements ``x[..., i, i + offset]`` of dimensions ``dim1`` and ``dim2``, as a new last dimension.

    Raises:
        RuntimeError: ``dim1`` and ``dim2`` are the same.
    """
    first, second, start, length = _diagonal_layout(input.shape, offset, dim1, dim2)
    moved = jnp.moveaxis(input, (first, second), (-2, -1))
    if not length:
        return jnp.zeros((*moved.shape[:-2], 0), input.dtype)
    flat = moved.reshape((*moved.shape[:-2], moved.shape[-2] * moved.shape[-1]))
    step = moved.shape[-1] + 1
    return lax.slice_in_dim(flat, start, start + (length - 1) * step + 1, step, axis=flat.ndim - 1)
