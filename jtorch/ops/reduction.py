"""Reductions: sums, means, products, extremes, truth, spread, log-sum-exp.

``dim`` is an int, a tuple of ints, or None for all dims. Half-precision sums are carried out in float32.
Overloads that one Python signature cannot express carry a dotted name (``max.dim``, ``max.all``).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..dtypes import dtype as Dtype
from . import nodes
from .elementwise import in_float32, is_bool, is_complex, is_integral, refuse, type_name
from .outputs import not_integral, of_input_dtype, same_dtype, truth
from .registry import Array, op
from .shapes import canonical_dim, canonical_dims, position_type

# --- sums, means, products -------------------------------------------------------------------------------------------


def accumulated(x, dtype: Dtype | None):
    """``x`` in the dtype its sum has: the one asked for, else int64 for integers and bools."""
    if dtype is not None:
        return x.astype(dtype.np)
    return x.astype(np.int64) if is_integral(x) else x


@in_float32
def _sum(x, dims, keepdim):
    return jnp.sum(x, dims, keepdims=keepdim, dtype=x.dtype)


@op(grad_name=nodes.over_dims("Sum"))
def sum(input: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: Dtype | None = None):
    """The sum over ``dim``; of integers and bools, an int64."""
    x = accumulated(input, dtype)
    return _sum(x, canonical_dims(dim, x.ndim), keepdim)


def _count(shape, dims) -> int:
    return math.prod(shape[d] for d in dims)


@op(grad_name=nodes.over_dims("Mean"))
def mean(input: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: Dtype | None = None):
    """The mean over ``dim``.

    Raises:
        RuntimeError: the (given or the tensor's) dtype is neither floating nor complex.
    """
    x = input if dtype is None else input.astype(dtype.np)
    if is_integral(x):
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {type_name(x)}"
        )
    return _mean(x, canonical_dims(dim, x.ndim), keepdim)


@in_float32
def _mean(x, dims, keepdim):
    n = _count(x.shape, dims)
    return _sum(x, dims, keepdim) / n if n else jnp.full_like(_sum(x, dims, keepdim), jnp.nan)


@op(out=not_integral("nansum_cpu"))
def nansum(
    input: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: Dtype | None = None
):
    """The sum over ``dim`` with NaNs taken as 0.

    Raises:
        RuntimeError: complex numbers.
    """
    if is_complex(input):
        raise RuntimeError("nansum does not support complex inputs")
    return sum(jnp.where(input != input, 0, input).astype(input.dtype), dim, keepdim, dtype=dtype)


@op(out=not_integral("nansum_cpu"))
def nanmean(
    input: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: Dtype | None = None
):
    """The mean over ``dim`` of what is not NaN.

    Raises:
        RuntimeError: an integer or bool tensor.
    """
    if is_integral(input):
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {type_name(input)}"
        )
    total = nansum(input, dim, keepdim, dtype=dtype)
    return total / sum(input == input, dim, keepdim).astype(total.dtype)


@op(grad_name=nodes.over_dims("Prod"))
def prod(input: Array, dim: int | None = None, keepdim: bool = False, *, dtype: Dtype | None = None):
    """The product of all elements, or along one ``dim``; of integers and bools, an int64."""
    x = accumulated(input, dtype)
    return _prod(x, canonical_dims(dim, x.ndim), keepdim)


@in_float32
def _prod(x, dims, keepdim):
    return jnp.prod(x, dims, keepdims=keepdim, dtype=x.dtype)


@op(differentiable=False, out=False)
def count_nonzero(input: Array, dim: int | tuple[int, ...] | None = None):
    """How many elements are not zero, over ``dim``."""
    return jnp.sum(input != np.zeros((), input.dtype), canonical_dims(dim, input.ndim), dtype=np.int64)


# --- extremes --------------------------------------------------------------------------------------------------------


def _not_empty(name: str, x, dims, *, all_dims: bool = False):
    if all_dims and x.size == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
            "Specify the reduction dim with the 'dim' argument."
        )
    for d in dims:
        if x.ndim and x.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _real(name: str, x):
    if is_complex(x):
        raise NotImplementedError(f"{name}(): not implemented for complex tensors, which have no order")


@op(out=of_input_dtype)
def amax(input: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False):
    """The largest element over ``dim``. Equal largest elements share the gradient.

    Raises:
        IndexError: a reduced dim is empty.
    """
    _real("amax", input)
    dims = canonical_dims(dim, input.ndim)
    _not_empty("amax", input, dims, all_dims=dim is None or dim == ())
    return jnp.max(input, dims, keepdims=keepdim)


@op(out=of_input_dtype)
def amin(input: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False):
    """The smallest element over ``dim``. Equal smallest elements share the gradient.

    Raises:
        IndexError: a reduced dim is empty.
    """
    _real("amin", input)
    dims = canonical_dims(dim, input.ndim)
    _not_empty("amin", input, dims, all_dims=dim is None or dim == ())
    return jnp.min(input, dims, keepdims=keepdim)


@op(returns=("min", "max"), out=same_dtype)
def aminmax(input: Array, *, dim: int | None = None, keepdim: bool = False):
    """The smallest and the largest element.

    Raises:
        RuntimeError: there are none.
        IndexError: ``dim`` is empty.
        NotImplementedError: complex numbers.
    """
    refuse("aminmax_cpu", input, when=is_complex(input))
    dims = canonical_dims(dim, input.ndim)
    if dim is None and not input.size:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    _not_empty("aminmax", input, dims)
    return jnp.min(input, dims, keepdims=keepdim), jnp.max(input, dims, keepdims=keepdim)


def arg_extreme(x, dim: int, reduce):
    """The first index of the extreme (or of the first NaN) along ``dim``, which is kept with size 1.

    Two plain reductions: XLA vectorises those on the CPU, but not its variadic argmax (9.2 ms against 0.4 for
    4096 x 1024 float32).
    """
    extreme = reduce(x, dim, keepdims=True)
    where = lax.broadcasted_iota(position_type(x.shape[dim]), x.shape, dim)
    hit = (x == extreme) | (x != x)
    return jnp.min(jnp.where(hit, where, x.shape[dim]), dim, keepdims=True).astype(np.int64)


def take_at(x, index, dim: int):
    """The elements of ``x`` at ``index`` along ``dim``; the gradient goes there and nowhere else."""
    return jnp.take_along_axis(x, index, dim, mode="promise_in_bounds")


def pick(x, index, dim: int, keepdim: bool):
    """``(values, indices)`` for an index of size 1 along ``dim``."""
    values = take_at(x, index, dim)
    return (values, index) if keepdim else (jnp.squeeze(values, dim), jnp.squeeze(index, dim))


def one_dim(x, dim: int, keepdim: bool):
    """``(x, dim, keepdim)`` for a reduction along one dim; a 0-d tensor becomes one of size 1."""
    dim = canonical_dim(dim, x.ndim)
    return (x, dim, keepdim) if x.ndim else (x.reshape(1), 0, False)


def _extreme(name, input, dim, keepdim, reduce):
    _real(name, input)
    x, dim, keepdim = one_dim(input, dim, keepdim)
    _not_empty(name, x, (dim,))
    return pick(x, arg_extreme(lax.stop_gradient(x), dim, reduce), dim, keepdim)


@op(name="max.dim", returns=("values", "indices"))
def max_dim(input: Array, dim: int, keepdim: bool = False):
    """The largest element along ``dim`` and its first index. The gradient goes to that index."""
    return _extreme("max", input, dim, keepdim, jnp.max)


@op(name="min.dim", returns=("values", "indices"))
def min_dim(input: Array, dim: int, keepdim: bool = False):
    """The smallest element along ``dim`` and its first index. The gradient goes to that index."""
    return _extreme("min", input, dim, keepdim, jnp.min)


@jax.custom_jvp
def shared(x, value):
    """``value``, an element of ``x``, with a derivative that the elements equal to it share.

    NaNs are equal here: ``jnp.max`` would give a NaN's derivative as 0 / 0.
    """
    return value


@shared.defjvp
def _shared_jvp(primals, tangents):
    (x, value), (tangent, _) = primals, tangents
    same = (x == value) | ((x != x) & (value != value))
    return shared(x, value), jnp.sum(jnp.where(same, tangent, 0)) / jnp.sum(same, dtype=x.dtype)


def _extreme_of_all(name, input, reduce):
    _real(name, input)
    _not_empty(name, input, (), all_dims=True)
    value = reduce(input)
    return value if is_integral(input) else shared(input, lax.stop_gradient(value))


@op(name="max.all", grad_name="MaxBackward1")
def max_all(input: Array):
    """The largest element. Equal largest elements share the gradient."""
    return _extreme_of_all("max", input, jnp.max)


@op(name="min.all", grad_name="MinBackward1")
def min_all(input: Array):
    """The smallest element. Equal smallest elements share the gradient."""
    return _extreme_of_all("min", input, jnp.min)


def _arg(name, input, dim, keepdim, reduce):
    if is_bool(input) or is_complex(input):
        raise RuntimeError(f"{name}(): does not support {'bool' if is_bool(input) else 'complex'} input")
    if dim is None:
        if input.size == 0:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        return arg_extreme(input.reshape(-1), 0, reduce).reshape((1,) * input.ndim if keepdim else ())
    x, dim, keepdim = one_dim(input, dim, keepdim)
    _not_empty(name, x, (dim,))
    index = arg_extreme(x, dim, reduce)
    return index if keepdim else jnp.squeeze(index, dim)


@op(differentiable=False, out=same_dtype)
def argmax(input: Array, dim: int | None = None, keepdim: bool = False):
    """The first index of the largest element along ``dim``, or in the flattened tensor; a NaN counts as largest."""
    return _arg("argmax", input, dim, keepdim, jnp.max)


@op(differentiable=False, out=same_dtype)
def argmin(input: Array, dim: int | None = None, keepdim: bool = False):
    """The first index of the smallest element along ``dim``, or in the flattened tensor; a NaN counts as smallest."""
    return _arg("argmin", input, dim, keepdim, jnp.min)


# --- truth -----------------------------------------------------------------------------------------------------------


def _truth(function, x, dim, keepdim: bool):
    """``function`` of what is nonzero in ``x``. Other than sums, these take ``()`` as no dimension at all."""
    dims = () if dim == () else canonical_dims(dim, x.ndim)
    found = function(x != np.zeros((), x.dtype), dims, keepdims=keepdim)
    return found.astype(np.uint8 if x.dtype == np.uint8 else np.bool_)


@op(differentiable=False, out=truth("all"))
def all(input: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False):
    """Whether every element is nonzero. Bool, except that uint8 stays uint8."""
    return _truth(jnp.all, input, dim, keepdim)


@op(differentiable=False, out=truth("any"))
def any(input: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False):
    """Whether some element is nonzero. Bool, except that uint8 stays uint8."""
    return _truth(jnp.any, input, dim, keepdim)


# --- spread ----------------------------------------------------------------------------------------------------------


def _spread(input, dim, unbiased, keepdim, correction):
    """``(variance, mean)``, both with the dims PyTorch gives them; see :func:`var` for the arguments."""
    if not jnp.issubdtype(input.dtype, jnp.inexact):
        raise RuntimeError("std and var only support floating point and complex dtypes")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    elif unbiased is not None:
        raise TypeError("var and std take either unbiased or correction, not both")
    dims = canonical_dims(dim, input.ndim)
    n = _count(input.shape, dims)
    mean = _mean(input, dims, True)
    centred = input - mean
    square = jnp.square(jnp.abs(centred)) if is_complex(input) else centred * centred
    total = _sum(square, dims, keepdim)
    divisor = n - correction if n > correction else 0
    variance = total / divisor if divisor else total / jnp.zeros_like(total)
    return variance, mean if keepdim else jnp.squeeze(mean, dims)


def sqrt_or_zero(x):
    """The square root, with gradient 0 where x is 0."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


@op
@in_float32
def var(
    input: Array,
    dim: int | tuple[int, ...] | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
):
    """The variance over ``dim``: ``sum |x - mean|^2 / max(0, n - correction)``.

    ``correction`` defaults to 1; ``unbiased=False`` is the older spelling of ``correction=0``.

    Raises:
        RuntimeError: an integer or bool tensor.
    """
    return _spread(input, dim, unbiased, keepdim, correction)[0]


@op
@in_float32
def std(
    input: Array,
    dim: int | tuple[int, ...] | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
):
    """The standard deviation over ``dim``: the square root of :func:`var`, with its arguments."""
    return sqrt_or_zero(_spread(input, dim, unbiased, keepdim, correction)[0])


@op(method=False, out=False)
@in_float32
def var_mean(
    input: Array,
    dim: int | tuple[int, ...] | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
):
    """``(var, mean)`` over ``dim``, with the arguments of :func:`var`."""
    return _spread(input, dim, unbiased, keepdim, correction)


@op(method=False, out=False)
@in_float32
def std_mean(
    input: Array,
    dim: int | tuple[int, ...] | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
):
    """``(std, mean)`` over ``dim``, with the arguments of :func:`var`."""
    variance, mean = _spread(input, dim, unbiased, keepdim, correction)
    return sqrt_or_zero(variance), mean


# --- log-sum-exp -----------------------------------------------------------------------------------------------------


@op(promote="float", inplace=False, elementwise=False, namespaces=("torch", "special"))
@in_float32
def logsumexp(input: Array, dim: int | tuple[int, ...], keepdim: bool = False):
    """``log(sum(exp(x)))`` over ``dim``, without overflow."""
    dims = canonical_dims(dim, input.ndim)
    if input.size == 0:
        return jnp.log(_sum(jnp.exp(input), dims, keepdim))
    largest = jnp.real(input) if is_complex(input) else input
    largest = lax.stop_gradient(jnp.max(largest, dims, keepdims=True))
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    out = jnp.log(jnp.sum(jnp.exp(input - largest), dims, keepdims=True)) + largest
    return out if keepdim else jnp.squeeze(out, dims)
