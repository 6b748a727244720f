"""Reductions over segments of one dimension, parts of floats, and writing at flat positions."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .elementwise import is_bool, type_name
from .index import outside, wrap
from .registry import Array, op
from .scatter import reduction

# --- segments --------------------------------------------------------------------------------------------------------

_EMPTY = {"sum": 0.0, "mean": np.nan, "amax": -np.inf, "amin": np.inf, "prod": 1.0}


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _extreme(table, start, reduce: str):
    extremum, meet = (jnp.max, jnp.maximum) if reduce == "amax" else (jnp.min, jnp.minimum)
    return meet(extremum(table, 1, initial=_EMPTY[reduce]), start)


def _extreme_forward(table, start, reduce: str):
    out = _extreme(table, start, reduce)
    return out, (table, start, out)


def _extreme_backward(reduce: str, kept, g):
    # equal elements share the gradient; so do those that are NaN
    table, start, out = kept
    hit = (table == out[:, None]) | (table != table)
    return jnp.where(hit, (g / jnp.maximum(jnp.sum(hit, 1), 1).astype(g.dtype))[:, None], 0), jnp.zeros_like(start)


_extreme.defvjp(_extreme_forward, _extreme_backward)


@op(method=False, grad_name="SegmentReduceBackward0")
def _segment_reduce(data: Array, offsets: Array, reduce: str, initial: float | None = None):
    """``data`` ``(..., n, *rest)`` reduced between neighbouring ``offsets`` ``(..., segments + 1)``."""
    reduce = reduction(reduce)
    axis = offsets.ndim - 1
    count = offsets.shape[-1] - 1
    position = jnp.arange(data.shape[axis])
    # which segment each element lies in; elements outside all of them go to one more, which is dropped
    bounds = offsets[..., None, :]
    segment = jnp.sum(position[:, None] >= bounds, -1) - 1
    segment = jnp.where((segment < 0) | (segment >= count), count, segment)

    def one(x, segment):
        n = jax.ops.segment_sum(jnp.ones_like(segment), segment, count + 1)[:count]
        n = n.reshape(count, *(1,) * (x.ndim - 1))
        if reduce in ("sum", "mean"):
            total = jax.ops.segment_sum(x, segment, count + 1)[:count]
            start = 0.0 if initial is None else initial
            if reduce == "sum":
                return total + jnp.asarray(start, x.dtype)
            empty = jnp.asarray(np.nan if initial is None else initial, x.dtype)
            return jnp.where(n == 0, empty, (total + jnp.asarray(start, x.dtype)) / jnp.maximum(n, 1).astype(x.dtype))
        start = jnp.asarray(_EMPTY[reduce] if initial is None else initial, x.dtype)
        # products and extrema have no derivative as scatters: go through a table of (segment, element)
        inside = segment[None, :] == jnp.arange(count)[:, None]
        inside = inside.reshape(*inside.shape, *(1,) * (x.ndim - 1))
        table = jnp.where(inside, x[None], jnp.asarray(_EMPTY[reduce], x.dtype))
        if reduce == "prod":
            return jnp.prod(table, 1) * start
        return _extreme(table, start, reduce)

    run = one
    for _ in range(axis):
        run = jax.vmap(run)
    return run(data, segment)


# --- parts of floats -------------------------------------------------------------------------------------------------


_mantissa = jax.custom_jvp(lambda x: jnp.frexp(x)[0])
_mantissa.defjvps(lambda dx, out, x: dx * jnp.ldexp(jnp.ones_like(x), -lax.stop_gradient(jnp.frexp(x)[1])))


@op(returns=("mantissa", "exponent"))
def frexp(input: Array):
    """``(mantissa, exponent)`` with ``input = mantissa * 2 ** exponent`` and the mantissa in ±[0.5, 1); int32.

    Raises:
        RuntimeError: the input is not floating.
    """
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise RuntimeError(f"torch.frexp() only supports floating-point dtypes, got {type_name(input)}")
    kind = input.dtype
    x = input.astype(np.float32) if kind.itemsize < 4 else input
    return _mantissa(x).astype(kind), jnp.frexp(lax.stop_gradient(x))[1].astype(np.int32)


# --- flat positions --------------------------------------------------------------------------------------------------


def _check_put(input, index, source, accumulate=False):
    return (
        outside(index, input.size, -input.size),
        f"put_(): index out of range on a tensor of {input.size} elements.",
    )


@op(inplace=True, out=False, check=_check_put)
def put(input: Array, index: Array, source: Array, accumulate: bool = False):
    """``input`` with ``source`` at the flat positions ``index`` (added there with ``accumulate``).

    Raises:
        RuntimeError: ``index`` is not int64, or the dtypes or the numbers of elements differ.
        IndexError: a position is out of range.
    """
    if index.dtype != np.int64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {type_name(index)}")
    if input.dtype != source.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{type_name(input)} and source.dtype = {type_name(source)}"
        )
    if index.size != source.size:
        raise RuntimeError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.size}, index.numel() = {index.size}"
        )
    if not index.size:
        return input
    at = input.reshape(-1).at[wrap(index.reshape(-1), input.size)]
    add = at.max if is_bool(input) else at.add  # the sum of bools is whether any is true
    new = (add if accumulate else at.set)(source.reshape(-1), mode="drop")
    return new.reshape(input.shape)
