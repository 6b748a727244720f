"""Writing by index: ``scatter``, ``index_put`` and their relatives.

Where an index occurs more than once, PyTorch's gradients are kept: every written value receives the gradient of the
place it was written to, also when another value overwrote it, and tied extremes share it evenly.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .elementwise import added, in_float32, is_bool, refuse
from .index import (
    IN_RANGE,
    check_index,
    expect_index,
    fill_value,
    flat_positions,
    key,
    locate,
    out_of_bounds,
    outside,
)
from .outputs import same_dtype, written
from .registry import Array, Arrays, Number, Scalar, Size, op
from .shapes import canonical_dim, position_type
from .view import diagonal as get_diagonal
from .view import put_diagonal, put_slices, slice_bounds, type_name
from .view_strided import put_as_strided

# --- writing, with PyTorch's gradients -----------------------------------------------------------------------------


# JAX's own derivative gives the gradient to the value that won, and spends a second scatter on finding it.
@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _overwrite(indexed, base, arrays, values):
    return base.at[_expression(indexed, arrays)].set(values, **IN_RANGE)


def _overwrite_fwd(indexed, base, arrays, values):
    return _overwrite(indexed, base, arrays, values), arrays


def _overwrite_bwd(indexed, arrays, g):
    at = g.at[_expression(indexed, arrays)]
    return at.set(jnp.zeros((), g.dtype), **IN_RANGE), None, at.get(**IN_RANGE)


_overwrite.defvjp(_overwrite_fwd, _overwrite_bwd)


def _expression(indexed, arrays):
    rest = iter(arrays)
    return tuple(next(rest) if i else slice(None) for i in indexed)


def overwrite(base, where: tuple, values):
    """``base`` with ``values`` at ``where``: per dimension an index array in range, or None for all of it."""
    return _overwrite(tuple(w is not None for w in where), base, tuple(w for w in where if w is not None), values)


def _touched(base, at):
    """Where a flat ``base`` is written to at the positions ``at``."""
    return jnp.zeros(base.shape, bool).at[at].set(True, **IN_RANGE)


# A product's derivative divides by the factor, so zeros are counted apart.
@jax.custom_vjp
def _multiplied(base, at, src):
    if is_bool(base):
        return base.at[at].min(src, **IN_RANGE)
    return base.at[at].multiply(src, **IN_RANGE)


def _multiplied_bwd(residuals, g):
    base, at, src = residuals
    zeros = (base == 0).astype(np.int32).at[at].add((src == 0).astype(np.int32), **IN_RANGE)
    product = _multiplied(jnp.where(base == 0, 1, base), at, jnp.where(src == 0, 1, src))
    # the zeros themselves, summed: 0, but what a second derivative by one of them needs
    nothing = jnp.where(base == 0, base, 0).at[at].add(jnp.where(src == 0, src, 0), **IN_RANGE)

    def share(v, zeros, product, nothing, g):
        divided = product / jnp.where(v == 0, 1, v)
        of_zero = jnp.where(zeros == 1, product, jnp.where(zeros == 2, product * (nothing - v), 0))
        others = jnp.where(zeros == 0, divided, jnp.where(zeros == 1, divided * nothing, 0))
        return g * jnp.where(v == 0, of_zero, others).astype(g.dtype)

    there = (x.at[at].get(**IN_RANGE) for x in (zeros, product, nothing, g))
    return share(base, zeros, product, nothing, g), None, share(src, *there)


_multiplied.defvjp(lambda base, at, src: (_multiplied(base, at, src), (base, at, src)), _multiplied_bwd)


# JAX has no derivative for an extreme by scatter.
@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _extreme(largest, base, at, src):
    where = base.at[at]
    return where.max(src, **IN_RANGE) if largest else where.min(src, **IN_RANGE)


def _extreme_fwd(largest, base, at, src):
    out = _extreme(largest, base, at, src)
    return out, (base, at, src, out)


def _extreme_bwd(largest, residuals, g):
    base, at, src, out = residuals
    hit, hits = base == out, src == out.at[at].get(**IN_RANGE)
    share = g / hit.astype(g.dtype).at[at].add(hits.astype(g.dtype), **IN_RANGE)
    return jnp.where(hit, share, 0), None, jnp.where(hits, share.at[at].get(**IN_RANGE), 0)


_extreme.defvjp(_extreme_fwd, _extreme_bwd)


def reduction(reduce: str) -> str:
    """The name of a reduction as ``scatter_reduce`` documents it; ``"max"`` and ``"min"`` are read as well.

    Raises:
        RuntimeError: there is none of that name.
    """
    found = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    if found not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    return found


def _neutral(reduce: str, dtype):
    """The value that leaves the others as they are."""
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    largest = reduce == "amax"
    if dtype == np.bool_:
        return not largest
    if jnp.issubdtype(dtype, jnp.floating):
        return -np.inf if largest else np.inf
    return jnp.iinfo(dtype).min if largest else jnp.iinfo(dtype).max


@in_float32
def _reduce(reduce: str, base, at, src, include_self: bool):
    """A flat ``base`` with ``src`` reduced into it at the positions ``at``."""
    counts = jnp.ones(base.shape, np.int32)
    if not include_self:
        touched = _touched(base, at)
        counts = jnp.where(touched, 0, counts)
        base = jnp.where(touched, jnp.asarray(_neutral(reduce, base.dtype), base.dtype), base)
    if reduce == "prod":
        return _multiplied(base, at, src)
    if reduce in ("amax", "amin"):
        return _extreme(reduce == "amax", base, at, src)
    total = added(base, at, src, **IN_RANGE)
    if reduce == "sum":
        return total
    counts = counts.at[at].add(1, **IN_RANGE)
    return (
        total // counts.astype(total.dtype)
        if jnp.issubdtype(total.dtype, jnp.integer)
        else total / counts.astype(total.dtype)
    )


# --- along one dimension, element by element -----------------------------------------------------------------------


def _scatter(name: str, input, dim: int, index, src, write):
    """``write(flat input, positions, flat source)``, in ``input``'s shape, after the checks all of them share."""
    dim = canonical_dim(dim, input.ndim)
    expect_index(name, index)
    if index.size == 0:
        return input
    for what, x in (("self", input), ("src", src)):
        if max(index.ndim, 1) != max(x.ndim, 1):
            raise RuntimeError(f"Index tensor must have the same number of dimensions as {what} tensor")
    whole, index, src = (x.reshape(x.shape or (1,)) for x in (input, index, src))
    for d, n in enumerate(index.shape):
        if n > src.shape[d] or (d != dim and n > whole.shape[d]):
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than self {list(whole.shape)} apart from "
                f"dimension {dim} and to be no larger size than src {list(src.shape)}"
            )
    if input.dtype != src.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    src = src[tuple(slice(0, n) for n in index.shape)]
    at = flat_positions(whole.shape, dim, index)
    return write(whole.reshape(-1), at.reshape(-1), src.reshape(-1)).reshape(input.shape)


def _check_along(input, dim, index, **_):
    dim = canonical_dim(dim, input.ndim)
    size = input.shape[dim] if input.ndim else 1
    return outside(index, size), out_of_bounds(dim, size)


@op(
    promote="keep",
    inplace=True,
    check=_check_along,
    error=RuntimeError,
    elementwise=False,
    out=written,
    overwrites=True,
)
def scatter(
    input: Array, dim: int, index: Array, src: Array | Number | None = None, value: Array | Number | None = None, *,
    reduce: str | None = None,
):  # fmt: skip
    """``input`` with ``out[i, index[i, j, k], k] = src[i, j, k]`` for ``dim`` 1, and so on; ``src`` may be a number.
    With ``reduce`` (``"add"`` or ``"multiply"``), combined with what is there.

    Raises:
        RuntimeError: ``index`` is larger than ``src``, or than ``input`` elsewhere; types or dimensions do not fit.
        IndexError: an index is negative or too large.
    """
    given = src if src is not None else value
    if given is None:
        raise TypeError("scatter() missing 1 required positional argument: 'src' or 'value'")
    if given.ndim == 0:
        given = jnp.broadcast_to(fill_value("scatter", input, given), index.shape)
    writes = {
        None: lambda base, at, src: overwrite(base, (at,), src),
        "add": lambda base, at, src: added(base, at, src, **IN_RANGE),
        "multiply": _multiplied,
    }
    if reduce not in writes:
        raise RuntimeError("reduce argument must be either add or multiply.")
    return _scatter("scatter", input, dim, index, given, writes[reduce])


@op(inplace=True, check=_check_along, error=RuntimeError, out=written, overwrites=True)
def scatter_add(input: Array, dim: int, index: Array, src: Array):
    """``input`` with ``src[i, j, k]`` added at ``[i, index[i, j, k], k]`` for ``dim`` 1, and so on.

    Raises:
        RuntimeError: as ``scatter``.
        IndexError: an index is negative or too large.
    """
    return _scatter("scatter_add", input, dim, index, src, lambda base, at, src: added(base, at, src, **IN_RANGE))


@op(inplace=True, check=_check_along, error=RuntimeError, out=written, overwrites=True)
def scatter_reduce(input: Array, dim: int, index: Array, src: Array, reduce: str, *, include_self: bool = True):
    """``src`` reduced into the places that ``index`` names along ``dim``, by ``"sum"``, ``"prod"``, ``"mean"``,
    ``"amax"`` or ``"amin"``; what was there takes part if ``include_self``.

    Raises:
        RuntimeError: another ``reduce``, or as ``scatter``.
        IndexError: an index is negative or too large.
    """
    reduce = reduction(reduce)
    refuse("scatter_gather_tensor_cpu_reduce_mean", input, when=reduce == "mean" and is_bool(input))
    return _scatter(
        "scatter_reduce", input, dim, index, src,
        lambda base, at, src: _reduce(reduce, base, at, src, include_self),
    )  # fmt: skip


# --- along one dimension, whole sub-tensors ------------------------------------------------------------------------


def _index_vector(name: str, input, dim: int, index, source=None):
    """``(dim, index as a vector, source)`` with 0-d tensors read as vectors, after the checks all of them share."""
    dim = canonical_dim(dim, input.ndim)
    expect_index(name, index)
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {index.ndim}")
    index = index.reshape(-1).astype(position_type(input.size))
    if source is None:
        return dim, index, None
    if source.dtype != input.dtype:
        raise RuntimeError(
            f"{name}(): self and source expected to have the same dtype, but got (self) {type_name(input.dtype)} and "
            f"(source) {type_name(source.dtype)}"
        )
    mine, theirs = input.shape or (1,), source.shape or (1,)
    if len(mine) != len(theirs) or mine[:dim] + mine[dim + 1 :] != theirs[:dim] + theirs[dim + 1 :]:
        raise RuntimeError(
            f"{name}(): source tensor shape must match self tensor shape, excluding the specified dimension. Got "
            f"self.shape = {list(input.shape)} source.shape = {list(source.shape)}"
        )
    if theirs[dim] != index.shape[0]:
        raise RuntimeError(
            f"{name}(): Number of indices ({index.shape[0]}) should be equal to source.size(dim): ({theirs[dim]}), "
            f"for dim: {dim}"
        )
    return dim, index, source.reshape(theirs)


@op(inplace=True, check=_check_along, out=written, overwrites=True)
def index_add(input: Array, dim: int, index: Array, source: Array, *, alpha: Scalar = 1):
    """``input`` with ``alpha`` times the ``i``-th sub-tensor of ``source`` added to the one at ``index[i]``.

    Raises:
        RuntimeError: shapes or types do not fit.
        IndexError: an index is negative or too large.
    """
    dim, index, source = _index_vector("index_add", input, dim, index, source)
    alpha = jnp.asarray(alpha, source.dtype)
    source = source & alpha if is_bool(source) else source * alpha
    where = (slice(None),) * dim + (index,)
    return added(input.reshape(input.shape or (1,)), where, source, **IN_RANGE).reshape(input.shape)


@op(inplace=True, check=_check_along, out=written, overwrites=True)
def index_copy(input: Array, dim: int, index: Array, source: Array):
    """``input`` with the sub-tensors at ``index`` along ``dim`` replaced by those of ``source``.

    Raises:
        RuntimeError: shapes or types do not fit.
        IndexError: an index is negative or too large; ``source`` has other dimensions, or as many sub-tensors.
    """
    if input.ndim and source.ndim and input.ndim != source.ndim:
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must match. Source "
            f"dimensionality ({source.ndim}), destination dimensionality ({input.ndim})"
        )
    along = canonical_dim(dim, input.ndim)
    if source.ndim and index.ndim < 2 and source.ndim == input.ndim and index.size != source.shape[along]:
        raise IndexError(
            f"index_copy_(): Number of indices ({index.size}) should be equal to source.size(dim) "
            f"({source.shape[along]})"
        )
    dim, index, source = _index_vector("index_copy", input, dim, index, source)
    return overwrite(input.reshape(input.shape or (1,)), (None,) * dim + (index,), source).reshape(input.shape)


def _check_index_fill(input, dim, index, value):
    dim = canonical_dim(dim, input.ndim)
    size = input.shape[dim] if input.ndim else 1
    return outside(index, size, -size), out_of_bounds(dim, size, "index_fill(): ")


@op(promote="keep", inplace=True, out=False, elementwise=False, check=_check_index_fill)
def index_fill(input: Array, dim: int, index: Array, value: Array | Number):
    """``input`` with ``value`` (a number or a 0-d tensor) at ``index`` along ``dim``; negative indices count from the
    end.

    Raises:
        RuntimeError: ``value`` has dimensions.
        IndexError: an index is out of range.
    """
    dim, index, _ = _index_vector("index_fill", input, dim, index)
    size = input.shape[dim] if input.ndim else 1
    hit = jnp.zeros((size,), bool).at[jnp.where(index < 0, index + size, index)].set(True, **IN_RANGE)
    hit = hit.reshape([size if d == dim else 1 for d in range(input.ndim)])
    return jnp.where(hit, fill_value("index_fill_", input, value), input)


@op(inplace=True, check=_check_along, out=written)
def index_reduce(input: Array, dim: int, index: Array, source: Array, reduce: str, *, include_self: bool = True):
    """The sub-tensors of ``source`` reduced into those at ``index`` along ``dim``, by ``"prod"``, ``"mean"``,
    ``"amax"`` or ``"amin"``; what was there takes part if ``include_self``.

    Raises:
        RuntimeError: another ``reduce``, or shapes or types do not fit.
        IndexError: an index is negative or too large.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    refuse("index_func_" if include_self else "index_reduce_func_exclude_input_init", input, when=is_bool(input))
    dim, index, source = _index_vector("index_reduce", input, dim, index, source)
    along = index.reshape([-1 if d == dim else 1 for d in range(source.ndim)])
    at = flat_positions(input.shape or (1,), dim, jnp.broadcast_to(along, source.shape)).reshape(-1)
    return _reduce(reduce, input.reshape(-1), at, source.reshape(-1), include_self).reshape(input.shape)


# --- advanced indexing ---------------------------------------------------------------------------------------------


def _check_index_put(input, values, indices, *, spec, accumulate=False):
    return check_index(input, indices, spec=spec)


@op(name="index_put", namespaces=(), check=_check_index_put, overwrites=True)
def index_put(
    input: Array, values: Array, indices: Arrays | Number, *, spec: tuple[str, ...], accumulate: bool = False
):
    """``input`` with ``values``, broadcast, in place of ``input[spec]`` (see ``index``), or added to it.

    Raises:
        RuntimeError: the types differ, or ``values`` does not broadcast.
        IndexError: too many indices, index shapes that do not broadcast, or an index out of range.
    """
    if input.dtype != values.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {type_name(input.dtype)} for the "
            f"destination and {type_name(values.dtype)} for the source."
        )
    shape, where = locate(input.shape, spec, indices)
    base = input.reshape(shape)
    target = jax.eval_shape(lambda b: b.at[key(where)].get(**IN_RANGE), base).shape
    extra = values.ndim - len(target)
    if extra > 0 and all(n == 1 for n in values.shape[:extra]):
        values = values.reshape(values.shape[extra:])
    try:
        values = jnp.broadcast_to(values, target)
    except ValueError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to indexing result of "
            f"shape {list(target)}"
        ) from None
    out = added(base, key(where), values, **IN_RANGE) if accumulate else overwrite(base, where, values)
    return out.reshape(input.shape)


# --- the writes of views, as functions -----------------------------------------------------------------------------


def _expect_slice(src, shape) -> None:
    if src.shape != tuple(shape):
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(shape)}"
        )


def _check_select_scatter(input, src, dim, index):
    dim = canonical_dim(dim, input.ndim)
    size = input.shape[dim]
    return (index < -size) | (index >= size), f"select_scatter(): index out of range for size {size}"


@op(check=_check_select_scatter)
def select_scatter(input: Array, src: Array, dim: int, index: Scalar):
    """``input`` with ``src`` in place of ``input.select(dim, index)``.

    Raises:
        RuntimeError: ``src`` has another shape.
        IndexError: ``index`` is out of range.
    """
    dim = canonical_dim(dim, input.ndim)
    _expect_slice(src, input.shape[:dim] + input.shape[dim + 1 :])
    return put_slices(input, jnp.expand_dims(src.astype(input.dtype), dim), (dim,), (index,), (1,), (1,))


@op(out=same_dtype)
def slice_scatter(
    input: Array, src: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
):
    """``input`` with ``src`` in place of ``input[start:end:step]`` along ``dim``.

    Raises:
        RuntimeError: ``src`` has another shape.
    """
    dim = canonical_dim(dim, input.ndim)
    first, length, step = slice_bounds(slice(start, end, step), input.shape[dim])
    _expect_slice(src, input.shape[:dim] + (length,) + input.shape[dim + 1 :])
    return put_slices(input, src.astype(input.dtype), (dim,), (first,), (length,), (step,))


@op
def diagonal_scatter(input: Array, src: Array, offset: int = 0, dim1: int = 0, dim2: int = 1):
    """``input`` with ``src`` in place of ``input.diagonal(offset, dim1, dim2)``.

    Raises:
        RuntimeError: ``src`` has another shape.
    """
    _expect_slice(src, jax.eval_shape(lambda x: get_diagonal(x, offset, dim1, dim2), input).shape)
    return put_diagonal(input, src.astype(input.dtype), offset, dim1, dim2)


@op
def as_strided_scatter(
    input: Array, src: Array, size: Size, stride: tuple[int, ...], storage_offset: int | None = None
):
    """``input`` with ``src`` in place of ``input.as_strided(size, stride, storage_offset)``.

    Raises:
        RuntimeError: ``src`` has another shape, or an element lies outside the storage.
    """
    _expect_slice(src, size)
    return put_as_strided(input, src.astype(input.dtype), size, stride, storage_offset)
