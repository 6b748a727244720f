"""Products of special shapes and number formats: grouped and scaled matrix products, time-major convolution."""

from __future__ import annotations

import enum

import numpy as np

import jtorch

from ... import dtypes
from ...ops.registry import OPS
from ...tensor.dispatch import dispatch
from ...tensor.export import function

_GROUPED = OPS["_grouped_mm"]
conv1d = function(OPS["conv1d"])


def grouped_mm(mat_a, mat_b, *, offs=None, bias=None, out_dtype=None):
    """``A_g B_g`` for each group ``g``, as in mixtures of experts.

    Args:
        mat_a, mat_b: ``(M, K), (G, K, N)`` (groups of rows: ``(M, N)``), ``(G, M, K), (K, N)`` (groups of columns:
            ``(M, N)``), ``(M, K), (K, N)`` (groups of the inner dimension: ``(G, M, N)``), or ``(G, M, K), (G, K, N)``
            (a batch: ``(G, M, N)``).
        offs: ``(G,)`` int32, where each group ends; not for a batch. What lies beyond the last end is 0 (in PyTorch it
            is whatever the memory held).
        bias: not supported, as in PyTorch.

    Raises:
        RuntimeError: shapes, dtypes or offsets that do not fit, a bias, or another ``out_dtype`` than the inputs'.
    """
    if bias is not None:
        raise RuntimeError("Bias not supported yet")
    if out_dtype is not None and out_dtype is not mat_a.dtype:
        raise RuntimeError("Grouped gemm output dtype must match `mat_a` dtype")
    return dispatch(_GROUPED, (mat_a, mat_b, offs), ())


class ScalingType(enum.IntEnum):
    """What a scale of :func:`scaled_mm` belongs to."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(enum.IntEnum):
    """The order of scales in memory."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


def _only(value):
    """The one entry of a list, or the value itself."""
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise NotImplementedError(f"scaled products with {len(value)} scales for one matrix are not supported")
        return value[0]
    return value


def _plain_scale(name: str, scale, recipe, swizzle, allowed):
    recipe, swizzle = (getattr(kind, "value", kind) for kind in (_only(recipe), _only(swizzle)))
    if recipe not in allowed or swizzle not in (None, SwizzleType.NO_SWIZZLE):
        words = " or ".join(kind.name for kind in allowed)
        raise NotImplementedError(
            f"{name} of kind {recipe!r} with swizzle {swizzle!r} is not supported; use {words} without swizzle, or "
            "multiply by the scales and take an ordinary product"
        )
    return _only(scale).to(jtorch.float32)


def scaled_mm(
    mat_a, mat_b, scale_a, scale_recipe_a, scale_b, scale_recipe_b, swizzle_a=None, swizzle_b=None, bias=None,
    output_dtype=dtypes.bfloat16, contraction_dim=(), use_fast_accum=False,
):  # fmt: skip
    """``(A sa) (B sb) + bias`` for ``(M, K)``, ``(K, N)``, usually float8; sums are in float32.

    Args:
        scale_a, scale_b: one number (``ScalingType.TensorWise``), or one a row of A, ``(M, 1)``, and one a column of B,
            ``(1, N)`` (``ScalingType.RowWise``).
        output_dtype: default bfloat16.
        contraction_dim, use_fast_accum: accepted; they choose among kernels.

    Raises:
        NotImplementedError: scales by block, or swizzled.
    """
    kinds = (ScalingType.TensorWise, ScalingType.RowWise)
    scale_a = _plain_scale("scale_a", scale_a, scale_recipe_a, swizzle_a, kinds)
    scale_b = _plain_scale("scale_b", scale_b, scale_recipe_b, swizzle_b, kinds)
    out = (mat_a.to(jtorch.float32) @ mat_b.to(jtorch.float32)) * (scale_a * scale_b)
    out = out if bias is None else out + bias
    if output_dtype is not None and not np.isinf(
        np.full((), np.inf).astype(output_dtype.np)
    ):  # saturates, for want of inf
        largest = jtorch.finfo(output_dtype).max
        out = out.clamp(-largest, largest)
    return out if output_dtype is None else out.to(output_dtype)


def scaled_grouped_mm(
    mat_a, mat_b, scale_a, scale_recipe_a, scale_b, scale_recipe_b, swizzle_a=None, swizzle_b=None, bias=None,
    offs=None, output_dtype=dtypes.bfloat16, contraction_dim=(), use_fast_accum=False,
):  # fmt: skip
    """:func:`grouped_mm` of ``(M, K)`` and ``(G, K, N)`` with one scale a row, ``(M,)``, and a column, ``(G, N)``.

    Raises:
        NotImplementedError: scales of another kind, or other shapes.
    """
    if mat_a.dim() != 2 or mat_b.dim() != 3:
        raise NotImplementedError(
            f"scaled_grouped_mm of {mat_a.dim()}- and {mat_b.dim()}-dimensional matrices is not supported; multiply by "
            "the scales and use grouped_mm"
        )
    scale_a = _plain_scale("scale_a", scale_a, scale_recipe_a, swizzle_a, (ScalingType.RowWise,))
    scale_b = _plain_scale("scale_b", scale_b, scale_recipe_b, swizzle_b, (ScalingType.RowWise,))
    a = mat_a.to(jtorch.float32) * scale_a.unsqueeze(-1)
    b = mat_b.to(jtorch.float32) * scale_b.unsqueeze(-2)
    return grouped_mm(a, b, offs=offs, bias=bias).to(output_dtype or dtypes.float32)


def conv_tbc(input, weight, bias, pad=0):
    """1-d convolution of ``(T, B, C)`` with ``(k, C, C')``: ``(T', B, C')``.

    Raises:
        RuntimeError: shapes that do not fit.
    """
    if input.dim() != 3 or weight.dim() != 3 or bias.dim() != 1:
        raise RuntimeError(
            "conv_tbc: Input must have 3 dims: time, batch, in_channel; weight 3: kernel_width, in_channels, "
            f"out_channels; bias 1. Got {input.dim()}, {weight.dim()} and {bias.dim()}"
        )
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)
