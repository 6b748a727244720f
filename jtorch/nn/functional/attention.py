"""Attention: scaled dot products, and the multi-head form over projected inputs."""

from __future__ import annotations

import contextvars
import math
import warnings

import jtorch

from ... import dtypes
from ...ops.registry import OPS
from ...tensor.dispatch import dispatch
from ...tensor.export import function
from ...tensor.layout import contiguous_strides, dense_strides
from ...tensor.random import host_mask
from .activation import softmax
from .dropout import dropout, keep_scale

_SDPA = OPS["_sdpa"]
linear = function(OPS["linear"])
#: Whether ``nn.attention.sdpa_kernel`` leaves a kernel to run.
allowed_backends = contextvars.ContextVar("allowed_backends", default=True)


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """``softmax(scale q kᵀ + mask) v`` for ``(..., L, E)``, ``(..., S, E)``, ``(..., S, Ev)``: ``(..., L, Ev)``.

    Args:
        attn_mask: boolean (true: takes part) or added to the scores; broadcasts to ``(..., L, S)``.
        dropout_p: probabilities are dropped at this rate, whatever mode a module is in.
        is_causal: position ``i`` attends to positions ``<= i``.
        scale: default ``1 / √E``.
        enable_gqa: groups of query heads (dimension -3) share one key and value head.

    Raises:
        RuntimeError: dtypes or sizes do not fit, a mask is given together with ``is_causal``, or ``sdpa_kernel``
            leaves no kernel.
        ValueError: ``dropout_p`` is outside [0, 1).
    """
    if not allowed_backends.get():
        raise RuntimeError(
            "No viable backend for scaled_dot_product_attention was found: sdpa_kernel() was given none that computes"
        )
    mask, kept = None, 1.0
    if dropout_p > 0.0:
        if dropout_p >= 1.0:
            raise ValueError(f"scaled_dot_product_attention: dropout_p must be in [0, 1), got {dropout_p}")
        batch = jtorch.broadcast_shapes(query.shape[:-2], *(() if enable_gqa else (key.shape[:-2], value.shape[:-2])))
        mask = host_mask(query, 1.0 - dropout_p, shape=(*batch, query.shape[-2], key.shape[-2]))
        kept = keep_scale(dropout_p, query.dtype)
    out = dispatch(
        _SDPA, (query, key, value, attn_mask, mask, kept),
        (bool(is_causal), None if scale is None else float(scale), bool(enable_gqa)),
    )  # fmt: skip
    if mask is None and query._handler is None and out._handler is None and not query.is_contiguous():
        batch = query.shape[: 1 if enable_gqa else 2]
        if all(x.dim() == 4 and x.shape[: len(batch)] == batch for x in (query, key, value)):
            _in_order_of(query, attn_mask, out)
    return out


def _in_order_of(query, attn_mask, out) -> None:
    """PyTorch's fused kernels lay the result out as the query, which ``out.transpose(1, 2).view(...)`` relies on."""
    learned = attn_mask is not None and attn_mask.requires_grad and jtorch.is_grad_enabled()
    strides = query.stride()
    if query.shape == out.shape and strides[-1] == 1 and 0 not in strides and not learned:
        strides = dense_strides(tuple(query.shape), strides)
        out._strides = None if strides == contiguous_strides(tuple(query.shape)) else strides


# --- multi-head ----------------------------------------------------------------------------------------------------


def as_additive(mask, name: str, dtype, other_dtype=None, other_name="", check_other=True):
    """A mask to be added to scores: booleans (true: left out) become 0 and -inf."""
    if mask is None:
        return None
    if mask.dtype is not dtypes.bool_ and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if check_other and other_dtype is not None and mask.dtype is not other_dtype:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if mask.is_floating_point():
        return mask
    return jtorch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, float("-inf"))


def _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads) -> bool:
    """Whether the inputs are batched."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query tensor"
        )
    batched = query.dim() == 3
    kind = "batched (3-D)" if batched else "unbatched (2-D)"
    if key.dim() != query.dim() or value.dim() != query.dim():
        raise AssertionError(
            f"For {kind} `query`, expected `key` and `value` to be {query.dim()}-D but found {key.dim()}-D and "
            f"{value.dim()}-D tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != (2 if batched else 1):
        raise AssertionError(
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or {2 if batched else 1}-D but found "
            f"{key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(
            f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.dim()}-D tensor "
            "instead"
        )
    if attn_mask is not None and attn_mask.dim() == 3 and not batched:
        expected = (num_heads, query.shape[0], key.shape[0])
        if tuple(attn_mask.shape) != expected:
            raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {tuple(attn_mask.shape)}")
    return batched


def _project_packed(query, key, value, weight, bias):
    """q, k and v from one packed ``(3 E, E)`` weight, with as few products as the inputs allow."""
    size = query.shape[-1]
    if key is value:
        if query is key:
            return linear(query, weight, bias).chunk(3, -1)
        q_bias, kv_bias = (None, None) if bias is None else bias.split([size, 2 * size])
        q_weight, kv_weight = weight.split([size, 2 * size])
        return linear(query, q_weight, q_bias), *linear(key, kv_weight, kv_bias).chunk(2, -1)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), weight.chunk(3), biases, strict=True))


def multi_head_attention_forward(
    query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn,
    dropout_p, out_proj_weight, out_proj_bias, training=True, key_padding_mask=None, need_weights=True,
    attn_mask=None, use_separate_proj_weight=False, q_proj_weight=None, k_proj_weight=None, v_proj_weight=None,
    static_k=None, static_v=None, average_attn_weights=True, is_causal=False,
):  # fmt: skip
    """Attention with ``num_heads`` heads over time-major inputs ``(L, N, E)``, ``(S, N, E)`` (or without ``N``).

    Returns:
        The output ``(L, N, E)``, and with ``need_weights`` the probabilities ``(N, L, S)`` averaged over heads
        (``(N, num_heads, L, S)`` without ``average_attn_weights``), else None.

    Raises:
        AssertionError: sizes that do not fit.
        RuntimeError: ``is_causal`` is given without its mask.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same_kv, same_q = key is value, query is key
        query, key = query.unsqueeze(1), query.unsqueeze(1) if same_q else key.unsqueeze(1)
        if same_q:
            query = key
        value = key if same_kv else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, size = query.shape
    source = key.shape[0]
    if size != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {size}")
    head = size // num_heads
    if head * num_heads != size:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {num_heads}")
    if key.shape[:2] != value.shape[:2] and use_separate_proj_weight:
        raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
    if not use_separate_proj_weight and key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )

    key_padding_mask = as_additive(
        key_padding_mask, "key_padding_mask", query.dtype, None if attn_mask is None else attn_mask.dtype, "attn_mask"
    )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None  # the hint says it all
    else:
        attn_mask = as_additive(attn_mask, "attn_mask", query.dtype, check_other=False)
        is_causal = False

    if use_separate_proj_weight:
        biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = (linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    else:
        q, k, v = _project_packed(query, key, value, in_proj_weight, in_proj_bias)

    if attn_mask is not None:
        if attn_mask.dim() == 2:
            if tuple(attn_mask.shape) != (length, source):
                raise RuntimeError(
                    f"The shape of the 2D attn_mask is {tuple(attn_mask.shape)}, but should be {(length, source)}."
                )
            attn_mask = attn_mask.unsqueeze(0)
        elif tuple(attn_mask.shape) != (batch * num_heads, length, source):
            raise RuntimeError(
                f"The shape of the 3D attn_mask is {tuple(attn_mask.shape)}, but should be "
                f"{(batch * num_heads, length, source)}."
            )

    def padded(mask):
        return None if mask is None else jtorch.nn.functional.pad(mask, (0, 1))

    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value")
        k = jtorch.cat([k, bias_k.expand(1, batch, size)])
        v = jtorch.cat([v, bias_v.expand(1, batch, size)])
        attn_mask, key_padding_mask = padded(attn_mask), padded(key_padding_mask)

    def by_head(x):  # (T, N, E) -> (N * heads, T, E / heads)
        return x.reshape(x.shape[0], batch * num_heads, head).transpose(0, 1)

    q = by_head(q)
    k = by_head(k) if static_k is None else static_k
    v = by_head(v) if static_v is None else static_v
    if add_zero_attn:
        zeros = jtorch.zeros((batch * num_heads, 1, head), dtype=k.dtype, device=k.device)
        k, v = jtorch.cat([k, zeros], 1), jtorch.cat([v, zeros], 1)
        attn_mask, key_padding_mask = padded(attn_mask), padded(key_padding_mask)
    source = k.shape[1]

    if key_padding_mask is not None:
        if tuple(key_padding_mask.shape) != (batch, source):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(batch, source)}, but got {tuple(key_padding_mask.shape)}"
            )
        key_padding_mask = key_padding_mask.view(batch, 1, 1, source).expand(batch, num_heads, 1, source)
        key_padding_mask = key_padding_mask.reshape(batch * num_heads, 1, source)
        attn_mask = key_padding_mask if attn_mask is None else attn_mask + key_padding_mask
    if not training:
        dropout_p = 0.0

    def out_projection(x, n):  # (rows of n positions by batch, E) -> (L, N, E)
        return linear(x, out_proj_weight, out_proj_bias).view(length, batch, n)

    if need_weights:
        scores = jtorch.bmm(q * math.sqrt(1.0 / head), k.transpose(-2, -1))
        weights = softmax(scores if attn_mask is None else scores + attn_mask, -1)
        if dropout_p > 0.0:
            weights = dropout(weights, dropout_p)
        out = jtorch.bmm(weights, v).transpose(0, 1).reshape(length * batch, size)
        out = out_projection(out, out_proj_weight.shape[0])
        weights = weights.view(batch, num_heads, length, source)
        if average_attn_weights:
            weights = weights.mean(dim=1)
        return (out, weights) if batched else (out.squeeze(1), weights.squeeze(0))

    if attn_mask is not None:
        shared = attn_mask.shape[0] == 1 and attn_mask.dim() == 3
        attn_mask = attn_mask.unsqueeze(0) if shared else attn_mask.view(batch, num_heads, -1, source)
    q = q.view(batch, num_heads, length, head)
    k, v = k.view(batch, num_heads, source, head), v.view(batch, num_heads, source, head)
    out = scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal)
    out = out.permute(2, 0, 1, 3).reshape(length * batch, size)
    out = out_projection(out, out_proj_weight.shape[0])
    return (out if batched else out.squeeze(1)), None
