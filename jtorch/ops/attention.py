"""Scaled dot-product attention.

Own gradient (Dao et al., 2022, without the tiling): from the output and the log-sum-exp of the scores, so that no
matrix of probabilities is kept between forward and backward.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from .registry import Array, Scalar, op
from .shapes import broadcast_shapes
from .softmax import widened


def _dot(a, b, contract: tuple[int, int], dtype):
    """A product of batches of matrices; float16 and bfloat16 are accumulated in ``dtype``."""
    return lax.dot_general(a, b, (((contract[0],), (contract[1],)), ((0,), (0,))), preferred_element_type=dtype)


def _scores(q, k, mask, causal: bool, scale: float):
    """``(N, L, S)`` scaled scores; a boolean mask, or the causal one, puts -inf where it is false."""
    wide = widened(q).dtype
    s = _dot(q * jnp.asarray(scale, q.dtype), k, (2, 2), wide)
    if causal:
        rows, columns = (lax.broadcasted_iota(jnp.int32, s.shape[1:], d) for d in (0, 1))
        s = jnp.where(columns <= rows, s, -jnp.inf)
    if mask is not None:
        s = jnp.where(mask, s, -jnp.inf) if mask.dtype == bool else s + mask.astype(wide)
    return s


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def attend(q, k, v, mask, keep, keep_scale, causal, scale):
    """``dropout(softmax(scale q kᵀ + mask)) v`` for ``(N, L, E)``, ``(N, S, E)``, ``(N, S, Ev)``.

    ``mask`` and ``keep`` broadcast to ``(N, L, S)``; a row that is masked out wholly gives 0.
    """
    return _attend_fwd(q, k, v, mask, keep, keep_scale, causal, scale)[0]


def _dropped(p, keep, keep_scale):
    return p if keep is None else jnp.where(keep, p * keep_scale.astype(p.dtype), 0)


def _attend_fwd(q, k, v, mask, keep, keep_scale, causal, scale):
    s = _scores(q, k, mask, causal, scale)
    top = s.max(-1, keepdims=True, initial=-jnp.inf)
    top = lax.stop_gradient(jnp.where(jnp.isneginf(top), 0, top))
    e = jnp.exp(s - top)
    total = e.sum(-1, keepdims=True)
    empty = total == 0
    out = _dot(_dropped(e, keep, keep_scale).astype(v.dtype), v, (2, 1), e.dtype) / jnp.where(empty, 1, total)
    lse = jnp.where(empty, jnp.inf, top + jnp.log(jnp.where(empty, 1, total)))
    out = out.astype(q.dtype)
    return out, (q, k, v, mask, keep, keep_scale, out, lse)


def _attend_bwd(causal, scale, saved, g):
    q, k, v, mask, keep, keep_scale, out, lse = saved
    wide = widened(q).dtype
    p = jnp.exp(_scores(q, k, mask, causal, scale) - lse)
    delta = (widened(g) * widened(out)).sum(-1, keepdims=True)
    dp = _dropped(_dot(g, v, (2, 2), wide), keep, keep_scale)
    ds = p * (dp - delta)
    dv = _dot(_dropped(p, keep, keep_scale).astype(g.dtype), g, (1, 1), wide).astype(v.dtype)
    dmask = None
    if mask is not None and mask.dtype != bool:
        dmask = _sum_to(ds, mask.shape).astype(mask.dtype)
    ds = (ds * scale).astype(q.dtype)
    dq = _dot(ds, k, (2, 1), wide).astype(q.dtype)
    dk = _dot(ds, q, (1, 1), wide).astype(k.dtype)
    return dq, dk, dv, dmask, None, None


def _sum_to(x, shape):
    """The sum of ``x`` over the dimensions along which ``shape`` was broadcast."""
    return x.sum(tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1), keepdims=True)


attend.defvjp(_attend_fwd, _attend_bwd)


def _spread(x, batch: tuple[int, ...]):
    """Leading dimensions broadcast to ``batch`` and flattened."""
    x = jnp.broadcast_to(x, batch + x.shape[-2:]) if x.shape[:-2] != batch else x
    return x.reshape(math.prod(batch), *x.shape[-2:])


@op(namespaces=(), grad_name="ScaledDotProductFlashAttentionForCpuBackward0")
def _sdpa(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    dropout_mask: Array | None,
    dropout_scale: Scalar,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
):
    """``softmax(scale q kᵀ + mask) v`` for ``(..., L, E)``, ``(..., S, E)``, ``(..., S, Ev)``: ``(..., L, Ev)``.

    ``scale`` defaults to ``1 / √E``. A boolean mask is true where a position takes part; a floating one is added to the
    scores; the causal one keeps ``column <= row``. ``dropout_mask`` ``(..., L, S)`` keeps probabilities where it is
    true and scales them by ``dropout_scale``. With ``enable_gqa`` groups of query heads share one key and value head.

    Raises:
        RuntimeError: dtypes or sizes differ, or a mask is given together with ``is_causal``.
    """
    if not query.dtype == key.dtype == value.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
        )
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{query.ndim}, key.dim: {key.ndim} and value.dim: {value.ndim} instead."
        )
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"scaled_dot_product_attention: query {query.shape}, key {key.shape} and value {value.shape} must agree in "
            "the last size of query and key and the second last of key and value"
        )
    if is_causal and attn_mask is not None:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if attn_mask is not None and attn_mask.dtype != bool and attn_mask.dtype != query.dtype:
        raise RuntimeError(
            f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
            f"{attn_mask.dtype} and  query.dtype: {query.dtype} instead."
        )
    if enable_gqa:
        heads, shared = query.shape[-3], key.shape[-3]
        if heads % shared or heads % value.shape[-3]:
            raise RuntimeError("Number of heads in key and value must divide the number of heads in query")
        key = jnp.repeat(key, heads // shared, -3)
        value = jnp.repeat(value, heads // value.shape[-3], -3)
    batch = broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    full = (*batch, query.shape[-2], key.shape[-2])
    if attn_mask is not None:
        if broadcast_shapes(attn_mask.shape, full) != full:
            raise RuntimeError(f"attn_mask of shape {attn_mask.shape} does not broadcast to the scores, {full}")
        attn_mask = _as_batch(attn_mask, full)
    if dropout_mask is not None:
        dropout_mask = _spread(dropout_mask, batch)
    q, k, v = (_spread(x, batch) for x in (query, key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    out = attend(q, k, v, attn_mask, dropout_mask, dropout_scale, is_causal, scale)
    return out.reshape(*batch, *out.shape[-2:])


def _as_batch(mask, full: tuple[int, ...]):
    """``mask`` with three dimensions that broadcast to ``(N, L, S)``, copied only where it must be."""
    mask = mask.reshape((1,) * (len(full) - mask.ndim) + mask.shape)
    if all(n == 1 for n in mask.shape[:-2]):
        return mask.reshape(1, *mask.shape[-2:])
    batch = full[:-2]
    return jnp.broadcast_to(mask, batch + mask.shape[-2:]).reshape(math.prod(batch), *mask.shape[-2:])
