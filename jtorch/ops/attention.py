"""Scaled dot-product attention.

Own gradient (Dao et al., 2022, without the tiling): from the output and scores that are computed again, so that no
matrix of probabilities is kept between forward and backward. Nor is their log-sum-exp: with the output for its only
result XLA's CPU library computes the whole of it in one kernel, near the caches and on all threads.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import backend
from .dot import dot3d
from .loops import map_over, scan
from .registry import Array, Scalar, op
from .shapes import broadcast_shapes, known
from .softmax import widened


def _scores(q, k, mask, first, causal: bool, scale: float):
    """``(N, L, S)`` scaled scores; a boolean mask, or the causal one from row ``first`` on, puts -inf where false."""
    wide = widened(q).dtype
    if wide == q.dtype:
        s = dot3d(q * jnp.asarray(scale, q.dtype), k, (2, 2), wide)
    else:  # scaled queries would be rounded once more
        s = dot3d(q, k, (2, 2), wide) * scale
    if causal:
        s = s + _bias(_below(s.shape[1:], first), wide)
    if mask is not None:
        s = s + (_bias(mask, wide) if mask.dtype == bool else mask.astype(wide))
    return s


def _bias(mask, dtype):
    """0 where a mask is true, else -inf. Added, as XLA's CPU library takes scores, softmax and product as one kernel
    where there is no select between them."""
    return jnp.where(mask, dtype.type(0), dtype.type(-np.inf))


def _below(shape: tuple[int, int], first):
    """Where a row, counted from ``first``, is not above its column."""
    rows, columns = (lax.broadcasted_iota(jnp.int32, shape, d) for d in (0, 1))
    return columns <= rows + first


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def attend(q, k, v, mask, keep, keep_scale, causal, scale):
    """``dropout(softmax(scale q kᵀ + mask)) v`` for ``(N, L, E)``, ``(N, S, E)``, ``(N, S, Ev)``.

    ``mask`` and ``keep`` have three dims that broadcast to ``(N, L, S)``; a row that is masked out wholly gives 0.
    """
    plan = _plan(q, k, causal)
    if plan is None:
        (out,) = _rows_fwd(q, k, v, mask, keep, 0, keep_scale, causal, scale)
    else:
        (out,) = _in_blocks(plan, (q, mask, keep), (k, v), partial(_band_fwd, keep_scale, causal, scale))
    return out


def _dropped(p, keep, keep_scale):
    return p if keep is None else jnp.where(keep, p * keep_scale.astype(p.dtype), 0)


def _softmax(s):
    """``(e, total)``: the probabilities are ``e / total``; 0 in a row that is -inf throughout, or without keys."""
    top = lax.stop_gradient(s.max(-1, keepdims=True, initial=jnp.finfo(s.dtype).min))
    e = jnp.exp(s - top)
    return e, jnp.maximum(e.sum(-1, keepdims=True), 1)  # in all other rows the largest adds 1


def _rows_fwd(q, k, v, mask, keep, first, keep_scale, causal, scale):
    """The output of some rows, from row ``first`` of the causal triangle on."""
    e, total = _softmax(_scores(q, k, mask, first, causal, scale))
    out = dot3d(_dropped(e, keep, keep_scale).astype(v.dtype), v, (2, 1), e.dtype) / total
    return (out.astype(q.dtype),)


def _rows_bwd(q, k, v, mask, keep, first, out, g, keep_scale, causal, scale):
    """The gradients of some rows: ``(dq, dk, dv, dmask)``, the last summed to the mask's shape."""
    wide = widened(q).dtype
    e, total = _softmax(_scores(q, k, mask, first, causal, scale))
    rows = e.sum(-1, keepdims=True)
    # its derivative is that of the sum also where that is 1, and the maximum a tie
    p = e / (rows + lax.stop_gradient(total - rows))
    delta = (widened(g) * widened(out)).sum(-1, keepdims=True)
    dp = _dropped(dot3d(g, v, (2, 2), wide), keep, keep_scale)
    ds = p * (dp - delta)
    dv = dot3d(_dropped(p, keep, keep_scale).astype(g.dtype), g, (1, 1), wide)
    dmask = None if mask is None or mask.dtype == bool else _sum_to(ds, mask.shape)
    ds = (ds * scale).astype(q.dtype)
    return dot3d(ds, k, (2, 1), wide).astype(q.dtype), dot3d(ds, q, (1, 1), wide), dv, dmask


def _attend_fwd(q, k, v, mask, keep, keep_scale, causal, scale):
    out = attend(q, k, v, mask, keep, keep_scale, causal, scale)  # whose derivative is its own here too
    return out, (q, k, v, mask, keep, keep_scale, out)


def _attend_bwd(causal, scale, saved, g):
    q, k, v, mask, keep, keep_scale, out = saved
    plan = _plan(q, k, causal)
    if plan is None:
        dq, dk, dv, dmask = _rows_bwd(q, k, v, mask, keep, 0, out, g, keep_scale, causal, scale)
    else:
        given = q, mask, keep, out, g
        dq, dk, dv, dmask = _in_blocks(plan, given, (k, v), partial(_band_bwd, keep_scale, causal, scale))
        dmask = None if dmask is None else _sum_to(dmask, mask.shape)
    dmask = None if dmask is None else dmask.astype(mask.dtype)
    return dq, dk.astype(k.dtype), dv.astype(v.dtype), dmask, None, None


# --- long sequences: the scores of a few rows at a time ---------------------------------------------------------------
#
# Rows are independent, so the softmax of a block of rows is computed whole, over all of their keys, and no running
# maximum is needed (Rabe and Staats, "Self-attention does not need O(n²) memory", 2021, chunk the keys as well). Memory
# holds one block's scores; the gradient computes them again. Under a causal mask the rows are cut into bands, which
# leave out the keys that none of their rows sees.


class _Plan(NamedTuple):
    """How the scores ``(N, L, S)`` are cut: ``heads`` (a divisor of N) and ``rows`` at a time, in ``bands``."""

    heads: int
    rows: int
    bands: tuple[tuple[int, int, int], ...]  # first row, row after the last, number of keys


WHOLE = 2**23  # scores that are computed at once: the library keeps those of a few rows near a core itself
WHOLE_IF_CAUSAL = 2**21  # 8 MiB; more scores are cut into bands, which spares half of the arithmetic
WHOLE_ON_ACCELERATOR = 2**26
BANDS = 4
FEW_ROWS = 64


def _plan(q, k, causal: bool) -> _Plan | None:
    """None where the scores are few enough to be computed at once."""
    (n, length, _), keys = q.shape, k.shape[1]
    on_cpu = WHOLE_IF_CAUSAL if causal else WHOLE
    most = on_cpu if backend.platform() == "cpu" else WHOLE_ON_ACCELERATOR
    if not known(n, length, keys):  # an export's open sizes
        return None
    if n * length * keys <= most or min(length, keys) <= 2 * FEW_ROWS:
        return None
    cuts = [length * i // BANDS for i in range(BANDS + 1)] if causal and length >= BANDS * FEW_ROWS else [0, length]
    bands = tuple((a, b, min(keys, b) if causal else keys) for a, b in zip(cuts, cuts[1:], strict=False))
    tallest = max(b - a for a, b, _ in bands)
    heads = max(h for h in range(1, n + 1) if n % h == 0 and (h == 1 or h * tallest * keys <= most))
    return _Plan(heads, min(tallest, max(FEW_ROWS, most // (heads * keys))), bands)


def _in_blocks(plan: _Plan, by_row, by_key, band):
    """``band`` of every few heads, and within them of every band; ``by_row`` and ``by_key`` are arrays or None.

    What has one element along the heads is the same for all of them. Results of ``band`` are concatenated.
    """
    n = by_key[0].shape[0]
    groups = n // plan.heads
    shared = [x is None or x.shape[0] == 1 < n for x in (*by_row, *by_key)]

    def of_heads(mapped):
        mapped = iter(mapped)
        arrays = [x if s else next(mapped) for x, s in zip((*by_row, *by_key), shared, strict=True)]
        return band(plan, arrays[: len(by_row)], arrays[len(by_row) :])

    mapped = [
        x.reshape(groups, plan.heads, *x.shape[1:]) for x, s in zip((*by_row, *by_key), shared, strict=True) if not s
    ]
    results = map_over(of_heads, mapped)
    return [None if r is None else r.reshape(-1, *r.shape[2:]) for r in results]


def _row_blocks(x, a: int, b: int, rows: int):
    """Rows ``a`` to ``b`` of ``(N, L, ...)`` as ``(blocks, N, rows, ...)``, padded with zeros."""
    x, count = x[:, a:b], -(-(b - a) // rows)
    x = jnp.pad(x, ((0, 0), (0, count * rows - (b - a)), *((0, 0) for _ in x.shape[2:])))
    return jnp.moveaxis(x.reshape(x.shape[0], count, rows, *x.shape[2:]), 1, 0)


def _from_row_blocks(x, rows: int):
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :rows]


def _scan_rows(plan: _Plan, by_row, a: int, b: int, keys: int, init, step):
    """Scan ``step(carry, first row, arrays) -> carry, results`` over the blocks of a band; the results by row.

    Masks (the arrays with ``keys`` for their last size) are cut to the band's keys by the caller.
    """
    whole = [x is None or x.shape[1] == 1 for x in by_row]
    blocks = [_row_blocks(x, a, b, plan.rows) for x, w in zip(by_row, whole, strict=True) if not w]
    firsts = a + plan.rows * jnp.arange(blocks[0].shape[0], dtype=np.int32)

    def body(carry, now):
        first, *cut = now
        cut = iter(cut)
        return step(carry, first, [x if w else next(cut) for x, w in zip(by_row, whole, strict=True)])

    carry, results = scan(body, init, (firsts, *blocks))
    return carry, [None if r is None else _from_row_blocks(r, b - a) for r in results]


def _keys_of(x, count: int):
    return x if x is None or x.shape[2] == 1 else x[:, :, :count]


def _band_fwd(keep_scale, causal, scale, plan, by_row, by_key):
    pieces = []
    for a, b, keys in plan.bands:
        q, mask, keep = by_row
        k, v = (x[:, :keys] for x in by_key)

        def step(carry, first, now, k=k, v=v):
            q, mask, keep = now
            return carry, _rows_fwd(q, k, v, mask, keep, first, keep_scale, causal, scale)

        given = q, _keys_of(mask, keys), _keys_of(keep, keys)
        pieces.append(_scan_rows(plan, given, a, b, keys, (), step)[1])
    return [jnp.concatenate(column, 1) for column in zip(*pieces, strict=True)]


def _band_bwd(keep_scale, causal, scale, plan, by_row, by_key):
    q, mask, keep, out, g = by_row
    wide = widened(q).dtype
    dk, dv = (jnp.zeros(x.shape, wide) for x in by_key)
    biased = mask is not None and mask.dtype != bool
    per_row = biased and mask.shape[1] != 1
    dmask = jnp.zeros((plan.heads if mask.shape[0] > 1 else 1, *mask.shape[1:]), wide) if biased else None
    pieces = []
    for a, b, keys in plan.bands:
        k, v = (x[:, :keys] for x in by_key)

        def step(carry, first, now, k=k, v=v):
            q, mask, keep, out, g = now
            dq, dk, dv, dm = _rows_bwd(q, k, v, mask, keep, first, out, g, keep_scale, causal, scale)
            dk, dv = carry[0] + dk, carry[1] + dv
            if not biased:
                return (dk, dv), (dq,)
            return ((dk, dv), (dq, dm)) if per_row else ((dk, dv, carry[2] + dm), (dq,))

        given = q, _keys_of(mask, keys), _keys_of(keep, keys), out, g
        init = jnp.zeros((*k.shape,), wide), jnp.zeros((*v.shape,), wide)
        init = (*init, jnp.zeros_like(_keys_of(dmask, keys))) if biased and not per_row else init
        sums, results = _scan_rows(plan, given, a, b, keys, init, step)
        dk, dv = dk.at[:, :keys].add(sums[0]), dv.at[:, :keys].add(sums[1])
        if per_row:
            dmask = dmask.at[:, a:b, : results[1].shape[2]].add(results[1])
        elif biased:
            dmask = dmask.at[:, :, : sums[2].shape[2]].add(sums[2])
        pieces.append(results[0])
    return jnp.concatenate(pieces, 1), dk, dv, dmask


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
    if attn_mask is not None and attn_mask.dtype not in (bool, np.float32, query.dtype):
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
