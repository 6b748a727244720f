"""Vector and matrix norms."""

from __future__ import annotations

import builtins
import math

import jax.numpy as jnp
import numpy as np

from ..dtypes import dtype as Dtype
from .elementwise import in_float32, is_integral, magnitude, same_shape, type_name
from .outputs import same_dtype
from .reduction import sqrt_or_zero
from .registry import Array, op
from .shapes import canonical_dims


def _floating(name: str, x, dtype: Dtype | None):
    if is_integral(x):
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {type_name(x)}")
    return x if dtype is None else x.astype(dtype.np)


@in_float32
def _vector_norm(x, p: float, dims, keepdim: bool):
    if (p < 0 or p == math.inf) and builtins.any(x.shape[d] == 0 for d in dims):
        empty = next(d for d in dims if x.shape[d] == 0)
        where = "an empty tensor" if len(dims) == x.ndim else f"the dimension {empty}, which is empty,"
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {p} norm on {where} because the operation does not have an identity"
        )
    if p == 2:
        square = jnp.square(jnp.real(x)) + jnp.square(jnp.imag(x)) if jnp.iscomplexobj(x) else x * x
        return sqrt_or_zero(jnp.sum(square, dims, keepdims=keepdim))
    size = magnitude(x)
    if p == 0:
        return jnp.sum(size != 0, dims, keepdims=keepdim).astype(size.dtype)
    if p == 1:
        return jnp.sum(size, dims, keepdims=keepdim)
    if math.isinf(p):
        return (jnp.max if p > 0 else jnp.min)(size, dims, keepdims=keepdim)
    # powers of 0 have no usable gradient, so 0 never meets one
    zero = size == 0
    total = jnp.sum(
        jnp.where(zero, 0.0 if p > 0 else jnp.inf, jnp.power(jnp.where(zero, 1, size), p)), dims, keepdims=keepdim
    )
    empty = total == 0
    return jnp.where(empty, 0.0 if p > 0 else jnp.inf, jnp.power(jnp.where(empty, 1, total), 1 / p))


def _matrix_norm(x, order, dims, keepdim: bool):
    rows, columns = dims
    if order == "fro":
        return _vector_norm(x, 2, dims, keepdim)

    def largest(a, dim, keepdims=False):  # of no norms, as those are not negative: 0
        return jnp.max(a, dim, keepdims=keepdims, initial=0 if a.shape[dim] == 0 else None)

    def smallest(a, dim, keepdims=False):
        if a.shape[dim] == 0:
            raise IndexError(f"amin(): Expected reduction dim {dim} to have non-zero size.")
        return jnp.min(a, dim, keepdims=keepdims)

    if order in (1, -1, math.inf, -math.inf):
        inner, outer = (rows, columns) if builtins.abs(order) == 1 else (columns, rows)
        sums = jnp.sum(magnitude(x), inner, keepdims=True)
        out = (largest if order > 0 else smallest)(sums, outer, keepdims=True)
    elif order in ("nuc", 2, -2):
        values = jnp.linalg.svd(jnp.moveaxis(x, dims, (-2, -1)), compute_uv=False)
        out = {"nuc": jnp.sum, 2: largest, -2: smallest}[order](values, -1)
        out = jnp.expand_dims(out, tuple(sorted(dims)))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {order} not supported.")
    return out if keepdim else jnp.squeeze(out, dims)


@op(namespaces=("linalg",), grad_name="LinalgVectorNormBackward0", out=same_dtype)
def vector_norm(
    x: Array,
    ord: float = 2,
    dim: int | tuple[int, ...] | None = None,
    keepdim: bool = False,
    *,
    dtype: Dtype | None = None,
):
    """``sum(|x| ** ord) ** (1 / ord)`` over ``dim``, x taken as a vector; ``ord`` 0 counts, +-inf is an extreme.

    Raises:
        RuntimeError: an integer tensor.
    """
    x = _floating("linalg.vector_norm", x, dtype)
    return _vector_norm(x, ord, canonical_dims(dim, x.ndim), keepdim)


@op(namespaces=("linalg",), out=same_dtype)
def matrix_norm(
    input: Array,
    ord: float | str = "fro",
    dim: tuple[int, ...] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Dtype | None = None,
):
    """The norm of the matrices in the two dims ``dim``: ``"fro"``, ``"nuc"``, +-1, +-2 or +-inf.

    Raises:
        RuntimeError: fewer than two dims, or another ``ord``.
    """
    input = _floating("linalg.matrix_norm", input, dtype)
    if input.ndim < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    return _matrix_norm(input, ord, canonical_dims(dim, input.ndim), keepdim)


@op(namespaces=("linalg",), aliases=("norm",), grad_name="LinalgVectorNormBackward0", out=same_dtype)
def linalg_norm(
    input: Array,
    ord: float | str | None = None,
    dim: int | tuple[int, ...] | None = None,
    keepdim: bool = False,
    *,
    dtype: Dtype | None = None,
):
    """A vector norm over one dim or over everything, a matrix norm over two. Default: the 2-norm of all elements."""
    input = _floating("linalg.norm", input, dtype)
    dims = canonical_dims(dim, input.ndim)
    if ord is None:
        return _vector_norm(input, 2, dims, keepdim)
    if dim is None and input.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {input.ndim}D."
        )
    if len(dims) == 2:
        return _matrix_norm(input, ord, dims, keepdim)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: ord {ord!r} wants two dims, got {len(dims)}")
    return _vector_norm(input, ord, dims, keepdim)


@op(namespaces=(), method=True, out=same_dtype, grad_name="LinalgVectorNormBackward0")
def norm(
    input: Array,
    p: float | str | None = "fro",
    dim: int | tuple[int, ...] | None = None,
    keepdim: bool = False,
    dtype: Dtype | None = None,
):
    """The ``p``-norm of x as a vector over ``dim`` (``"fro"``, the default, is 2); ``"nuc"`` for matrices."""
    x = _floating("linalg.vector_norm", input, dtype)
    dims = canonical_dims(dim, x.ndim)
    if p == "nuc":
        if len(dims) != 2:
            raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {list(dims)}")
        return _matrix_norm(x, "nuc", dims, keepdim)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"norm: p must be a number, 'fro' or 'nuc', got {p!r}")
    return _vector_norm(x, 2 if p in (None, "fro") else p, dims, keepdim)


@op(promote="default", inplace=False, out=False, elementwise=False)
def dist(input: Array, other: Array, p: float = 2):
    """The ``p``-norm of ``input - other``, over everything.

    Raises:
        RuntimeError: integer tensors.
    """
    if is_integral(input):
        raise RuntimeError(
            f"norm(): input dtype should be either floating point or complex. Got {type_name(input)} instead."
        )
    x, y = same_shape(input, other)
    return _vector_norm(x - y, p, tuple(range(x.ndim)), False)


@op(inplace=True, out=same_dtype)
@in_float32
def renorm(input: Array, p: float, dim: int, maxnorm: float):
    """Each slice along ``dim`` whose ``p``-norm is above ``maxnorm``, scaled down to it.

    Raises:
        RuntimeError: fewer than 2 dimensions, ``p`` is not positive, or ``maxnorm`` is negative.
    """
    if not p > 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    keep = canonical_dims(dim, input.ndim)
    size = _vector_norm(input, p, tuple(d for d in range(input.ndim) if d not in keep), True)
    above = size > maxnorm
    return input * jnp.where(above, maxnorm / (jnp.where(above, size, 1) + np.asarray(1e-7, size.dtype)), 1)
