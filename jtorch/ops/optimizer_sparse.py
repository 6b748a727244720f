"""Update rules for gradients that are given for some rows only."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from .registry import Array, Hyper, op


def summed_rows(indices, values, shape: tuple[int, ...]):
    """Each row once: flat row numbers ``(n,)`` and the sums of its values ``(n, d)``, for ``n`` entries.

    ``indices`` ``(k, n)`` point into the first ``k`` sizes of ``shape``. There are as many results as entries, so that
    the program does not depend on how many rows differ: the surplus ones have a number past the end.
    """
    rows, flat = math.prod(shape[: indices.shape[0]]), 0
    for size, index in zip(shape, indices, strict=False):
        flat = flat * size + index
    count = indices.shape[1]
    unique, place = jnp.unique(flat, return_inverse=True, size=count, fill_value=rows)
    return unique, jax.ops.segment_sum(values.reshape(count, -1), place.reshape(-1), count)


@op(namespaces=(), differentiable=False)
def _sparse_adam_step(
    param: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    indices: Array,
    values: Array,
    step: Hyper,
    lr: Hyper,
    beta1: Hyper,
    beta2: Hyper,
    eps: Hyper,
    *,
    maximize: bool = False,
):
    """Adam of the rows that have a gradient; ``step`` counts this one. The new parameter and the two new averages."""
    rows, grad = summed_rows(indices, -values if maximize else values, param.shape)
    dtype = param.dtype
    size = lr * jnp.sqrt(1 - beta2**step) / (1 - beta1**step)
    tables = [x.reshape(-1, grad.shape[1]) for x in (param, exp_avg, exp_avg_sq)]
    p, mean, square = (x.at[rows].get(mode="clip") for x in tables)
    mean = mean + (1 - beta1).astype(dtype) * (grad - mean)
    square = square + (1 - beta2).astype(dtype) * (grad * grad - square)
    p = p - size.astype(dtype) * (mean / (jnp.sqrt(square) + eps.astype(dtype)))
    new = (x.at[rows].set(y, mode="drop") for x, y in zip(tables, (p, mean, square), strict=True))
    return tuple(x.reshape(param.shape) for x in new)
