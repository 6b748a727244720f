"""Affine maps and table look-ups: ``linear``, ``bilinear``, ``embedding``, ``embedding_bag``.

On CPU the spelling decides the speed. A dot that contracts two dimensions (batch and time, in the weight gradient of a
3-d input) makes XLA materialise a transposed copy and pull the whole elementwise gradient into it, so everything here
is flattened to two dimensions first, and the incoming gradient is computed once, behind a barrier.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from . import backend, nodes
from .dot import dot2d, takes_bfloat16
from .elementwise import added, require_type, type_name
from .lowering_table import CPU
from .outputs import same_dtype
from .registry import Array, op
from .shapes import known


def flatten_rows(x):
    """``(..., K)`` as ``(M, K)``."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def outer_sum(g, x):
    """``gᵀ x``, the weight gradient of ``(M, N)`` and ``(M, K)``: a sum over the rows of outer products.

    XLA's CPU kernel walks ``g`` down its columns and, when the rows lie a large power of two apart, loses half its
    speed to cache conflicts; 16 columns of padding avoid them. (A transposed copy would as well, but XLA may fuse the
    elementwise work before it into that copy, and then runs it with strided reads, ten times slower.)
    """
    n = g.shape[1]
    if conflicting(g, x):
        return dot2d(jnp.pad(g, ((0, 0), (0, 16))), x, (0, 0))[:n]
    return dot2d(g, x, (0, 0))


def conflicting(g, x) -> bool:
    """Whether ``gᵀ x`` runs into the cache conflicts described in :func:`outer_sum` (as measured, on CPU)."""
    if backend.platform() != "cpu" or not known(*g.shape, *x.shape) or takes_bfloat16(g, x):
        return False
    return g.shape[1] % 512 == 0 and x.shape[1] <= 1024 and g.shape[0] >= 128


def _project(x2, weight):
    # XLA's CPU dot is 20 times slower with a vector on the left
    if known(x2.shape[0]) and x2.shape[0] < CPU["linear_rows"]:
        return dot2d(weight, x2, (1, 1)).T
    return dot2d(x2, weight, (1, 1))


@jax.custom_vjp
def affine(x, weight, bias):
    """``x @ weight.T + bias`` on ``(..., K)``, ``(N, K)`` and ``(N,)`` or None.

    Own gradient: the derived one contracts several dimensions, and lets XLA fuse the incoming elementwise gradient
    into each of its three uses.
    """
    y = _project(flatten_rows(x), weight)
    y = y if bias is None else y + bias
    return y.reshape(*x.shape[:-1], weight.shape[0])


def _affine_fwd(x, weight, bias):
    return affine(x, weight, bias), (x, weight, bias)


def _affine_bwd(saved, g):
    x, weight, bias = saved
    g = lax.optimization_barrier(flatten_rows(g))
    db = None if bias is None else g.sum(0, dtype=g.dtype)
    return dot2d(g, weight, (1, 0)).reshape(x.shape), outer_sum(g, flatten_rows(x)), db


affine.defvjp(_affine_fwd, _affine_bwd)


@op(namespaces=("nn.functional",), grad_name=nodes.linear, out=same_dtype)
def linear(input: Array, weight: Array, bias: Array | None = None):
    """``y = x Aᵀ + b`` with ``x`` of shape ``(..., in)``, ``A`` ``(out, in)`` or ``(in,)``, ``b`` ``(out,)``.

    Raises:
        RuntimeError: the inner sizes differ, or the dtypes do.
    """
    if weight.dtype != input.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {type_name(input)} and {type_name(weight)}"
        )
    if bias is not None and bias.dtype != input.dtype:
        raise RuntimeError(f"input and bias must have the same dtype, but got {type_name(input)} and {type_name(bias)}")
    if input.ndim == 0 or weight.ndim not in (1, 2):
        raise RuntimeError(
            f"linear(): both arguments need to be at least 1D, and weight at most 2D, but they are {input.ndim}D and "
            f"{weight.ndim}D"
        )
    w2 = weight[None] if weight.ndim == 1 else weight
    if input.shape[-1] != w2.shape[1]:
        rows = math.prod(input.shape[:-1])
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{input.shape[-1]} and {w2.shape[1]}x{w2.shape[0]})"
        )
    rowwise = bias is None or bias.shape == (w2.shape[0],) and weight.ndim == 2
    y = affine(input, w2, bias if rowwise else None)
    y = y[..., 0] if weight.ndim == 1 else y
    if rowwise:
        return y
    if jnp.broadcast_shapes(y.shape, bias.shape) != y.shape:
        raise RuntimeError(f"linear(): bias of shape {bias.shape} does not match an output of shape {y.shape}")
    return y + bias


@op(namespaces=("nn.functional",))
def bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None = None):
    """``y_o = x1ᵀ A_o x2 + b_o`` with ``x1`` ``(..., in1)``, ``x2`` ``(..., in2)``, ``A`` ``(out, in1, in2)``.

    Raises:
        RuntimeError: batch dimensions, sizes or dtypes do not match.
    """
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(f"bilinear(): batch dimensions do not match: got {input1.shape} and {input2.shape}")
    if weight.ndim != 3 or weight.shape[1:] != (input1.shape[-1], input2.shape[-1]):
        raise RuntimeError(
            f"bilinear(): weight must be (out, {input1.shape[-1]}, {input2.shape[-1]}), got {weight.shape}"
        )
    require_type(input1, input2, weight, bias)
    a, b = flatten_rows(input1), flatten_rows(input2)
    outer = (a[:, :, None] * b[:, None, :]).reshape(a.shape[0], a.shape[1] * b.shape[1])
    y = affine(outer, weight.reshape(weight.shape[0], outer.shape[1]), bias)
    return y.reshape(*input1.shape[:-1], weight.shape[0])


# --- embeddings ----------------------------------------------------------------------------------------------------


def _rows_of(weight, index):
    return jnp.take(weight, index, axis=0, mode="clip")  # out-of-range indices are reported by the check


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _lookup(index, weight, num, padding_idx, by_frequency):
    """Own gradient: padding and frequency scaling act on it alone."""
    return _rows_of(weight, index)


def _lookup_fwd(index, weight, num, padding_idx, by_frequency):
    return _rows_of(weight, index), index


def _lookup_bwd(num, padding_idx, by_frequency, index, g):
    index, g = index.reshape(-1), flatten_rows(g)
    if padding_idx is not None:
        g = jnp.where((index == padding_idx)[:, None], 0, g)
    if by_frequency:
        counts = jnp.zeros(num, jnp.int32).at[index].add(1, mode="drop")
        g = g / _rows_of(counts, index)[:, None].astype(g.dtype)
    return None, added(jnp.zeros((num, g.shape[1]), g.dtype), index, lax.optimization_barrier(g), mode="drop")


_lookup.defvjp(_lookup_fwd, _lookup_bwd)


def _index_check(input, weight, **_):
    return jnp.any((input < 0) | (input >= weight.shape[0])), "index out of range in self"


def _require_index(name: str, input) -> None:
    if input.dtype not in (jnp.int32, jnp.int64):
        raise RuntimeError(
            f"Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
            f"but got {input.dtype} instead (while checking arguments for {name})"
        )


def _canonical_padding(padding_idx: int | None, rows: int) -> int | None:
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise RuntimeError(f"padding_idx must be within [-{rows}, {rows - 1}], the rows of weight; got {padding_idx}")
    return padding_idx % rows


@op(namespaces=(), check=_index_check, grad_name="EmbeddingBackward0")
def _embedding(input: Array, weight: Array, *, padding_idx: int | None = None, scale_grad_by_freq: bool = False):
    """Rows of ``weight`` ``(V, D)`` at the indices ``input``: ``(*) -> (*, D)``.

    Raises:
        RuntimeError: ``input`` is not an index tensor, ``weight`` not a matrix.
        IndexError: an index is outside ``[0, V)``.
    """
    _require_index("embedding", input)
    if weight.ndim != 2:
        raise RuntimeError(f"'weight' must be 2-D, got {weight.ndim}-D")
    padding_idx = _canonical_padding(padding_idx, weight.shape[0])
    return _lookup(input, weight, weight.shape[0], padding_idx, scale_grad_by_freq)


@op(namespaces=(), check=_index_check, error=RuntimeError, grad_name="EmbeddingBagBackward0")
def _embedding_bag(
    input: Array,
    weight: Array,
    offsets: Array | None = None,
    per_sample_weights: Array | None = None,
    *,
    mode: str = "mean",
    scale_grad_by_freq: bool = False,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
):
    """Sums, means or maxima of bags of rows: ``(B, N)``, or ``(N,)`` with offsets ``(B,)``, to ``(B, D)``.

    Indices equal to ``padding_idx`` do not take part; an empty bag is zero.

    Raises:
        ValueError: ``mode`` is unknown, offsets are given for 2-d input or missing for 1-d input.
        NotImplementedError, ValueError: per-sample weights with a mode other than ``"sum"`` or of another shape.
        RuntimeError: per-sample weights of another dtype than the rows.
        IndexError: an index is outside ``[0, V)``.
    """
    _require_index("embedding_bag", input)
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
                f"(got mode='{mode}')."
            )
        if per_sample_weights.shape != input.shape:
            raise ValueError(
                f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have "
                f"the same shape as the input ({input.shape})"
            )
        if per_sample_weights.dtype != weight.dtype:
            raise RuntimeError(
                "embedding_bag: Expected 'weight' to have the same type as 'per_sample_weights', but got "
                f"{type_name(weight)} and {type_name(per_sample_weights)}"
            )
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of"
                             " fixed length sequences.")  # fmt: skip
        bags = input.shape[0]
        segment = jnp.repeat(jnp.arange(bags), input.shape[1], total_repeat_length=input.size)
    elif input.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        bags = offsets.shape[0] - (1 if include_last_offset else 0)
        # How many bags have begun, counted rather than searched for: bags are empty where two begin at one place.
        begun = jnp.zeros(input.size, jnp.int64).at[offsets[:bags]].add(1, mode="drop")
        segment = lax.cumsum(begun) - 1
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    index = input.reshape(-1)
    padding_idx = _canonical_padding(padding_idx, weight.shape[0])
    rows = _lookup(index, weight, weight.shape[0], padding_idx, scale_grad_by_freq)
    keep = jnp.ones(index.shape, bool) if padding_idx is None else index != padding_idx
    counts = jax.ops.segment_sum(keep.astype(weight.dtype), segment, bags)[:, None]
    if mode == "max":
        rows = jnp.where(keep[:, None], rows, -jnp.inf)
        return jnp.where(counts > 0, _segment_max(rows, segment, bags), 0)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1).astype(rows.dtype)
    total = jax.ops.segment_sum(jnp.where(keep[:, None], rows, 0), segment, bags)
    return total / jnp.maximum(counts, 1) if mode == "mean" else total


def _segment_max(rows, segment, bags: int):
    """The maximum of each bag; the gradient goes to the first row that holds it."""
    top = jax.ops.segment_max(lax.stop_gradient(rows), segment, bags)
    position = jnp.arange(rows.shape[0])[:, None]
    first = jax.ops.segment_min(jnp.where(rows == top[segment], position, rows.shape[0]), segment, bags)
    return jnp.take_along_axis(rows, jnp.minimum(first, rows.shape[0] - 1), axis=0)
