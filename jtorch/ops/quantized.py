"""Integer arithmetic of quantized networks: affine quantization, int8 matrix products, straight-through rounding.

A quantized array is ``x ≈ scale (q - zero_point)`` with small integers ``q``. A product of two such arrays is an exact
8-bit product with 32-bit sums and a correction for the zero point of the activations (weights are symmetric, theirs is
0)::

    Σ_k (a - z) w = Σ_k a w - z Σ_k w

The sums ``Σ_k w`` do not depend on the input, so callers keep them.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import dtypes
from .conv import _pads, _times, per_dim
from .conv_lowering import Geometry, channels_first, channels_last, taps
from .elementwise import c_type_name
from .int_dot import as_operand, int_dot
from .linear import flatten_rows
from .registry import Array, Scalar, op


def _along(v, like, axis: int | None):
    """A per-tensor (``axis=None``) or per-channel parameter, shaped to broadcast against ``like``."""
    if axis is None:
        return v.reshape(())
    return v.reshape(tuple(-1 if d == axis % like.ndim else 1 for d in range(like.ndim)))


def _need_float(input, what: str) -> None:
    if input.dtype != np.float32:
        raise RuntimeError(f"{what} only works on Float Tensor, got {dtypes.of_numpy(input.dtype).legacy_name}")


# --- to integers and back --------------------------------------------------------------------------------------------


def clip_round(q, low: int, high: int):
    """``q`` rounded (halves to even) and clipped; NaN becomes ``high``, as in PyTorch's kernels."""
    q = jnp.round(q)
    return jnp.where(q < high, jnp.maximum(q, low), jnp.asarray(high, q.dtype))


def to_grid(x, scale, zero_point, low: int, high: int):
    """``clip(round(x / scale + zero_point), low, high)``, rounded where PyTorch's kernels round, to the last tie.

    These multiply by the reciprocal and add in one step for 8 bits, in two for 32. XLA is free to merge the steps or
    not, so they are spelled in float64, with the roundings to float32 written out.
    """
    single, wide = (lambda v: v.astype(jnp.float32)), (lambda v: v.astype(jnp.float64))
    product = wide(x) * wide(1 / scale)
    if high > 1 << 20:
        product = wide(single(product))
    return clip_round(wide(single(product + wide(zero_point))), low, high)


@op(namespaces=(), differentiable=False)
def _quantize(input: Array, scale: Scalar, zero_point: Scalar, low: int, high: int, dtype, axis: int | None = None):
    """The integers of ``input`` on a grid, in the integer type ``dtype``; ``axis`` says per channel."""
    _need_float(input, "Quantize")
    scale, zero_point = _along(scale.astype(jnp.float32), input, axis), _along(zero_point, input, axis)
    return to_grid(input, scale, zero_point, low, high).astype(dtype.np)


@op(namespaces=(), differentiable=False)
def _dequantize(input: Array, scale: Scalar, zero_point: Scalar, axis: int | None = None):
    """``scale (q - zero_point)`` in float32; scales of channels are used in float64, the only one in float32.

    Zero points that are floats go with scales in float32.
    """
    if jnp.issubdtype(zero_point.dtype, jnp.floating):
        return (input.astype(jnp.float32) - _along(zero_point, input, axis)) * _along(scale, input, axis)
    kind = jnp.float32 if axis is None else jnp.float64
    scale, zero_point = _along(scale.astype(kind), input, axis), _along(zero_point, input, axis)
    return ((input.astype(jnp.int32) - zero_point.astype(jnp.int32)).astype(kind) * scale).astype(jnp.float32)


@op(namespaces=(), differentiable=False)
def _quantized_relu(input: Array, zero_point: Scalar):
    """``max(q, zero_point)``."""
    return jnp.maximum(input, zero_point.reshape(()).astype(input.dtype))


_SMALL_SCALE = 6.1e-5  # below it the reciprocal loses precision in half; PyTorch's kernels widen the range instead


def choose_qparams(low, high, qmin: int, qmax: int):
    """Scale (float64) and zero point (int32) that PyTorch's dynamic kernels choose for values in ``[low, high]``.

    Zero is always on the grid. The zero point is derived from the end of the range with the smaller rounding error.
    """
    low, high = jnp.minimum(low.astype(jnp.float64), 0), jnp.maximum(high.astype(jnp.float64), 0)
    # the barrier: XLA would multiply by the reciprocal of a constant, and be off by one in the last place
    scale = (high - low) / lax.optimization_barrier(jnp.float64(qmax - qmin))
    single = scale.astype(jnp.float32)
    scale = jnp.where((single == 0) | jnp.isinf(1 / single), 0.1, scale)
    small = np.float64(np.float32(_SMALL_SCALE))
    widen, amplify = scale < small, small / scale.astype(jnp.float32).astype(jnp.float64)
    reach = small * (qmax - qmin)
    low, high = (
        jnp.where(widen, jnp.where(high == 0, -reach, low * amplify), low),
        jnp.where(widen, jnp.where(low == 0, reach, high * amplify), high),
    )
    scale = jnp.where(widen, small, scale)
    from_low, from_high = qmin - low / scale, qmax - high / scale
    error_low, error_high = abs(qmin) + jnp.abs(low / scale), abs(qmax) + jnp.abs(high / scale)
    zero_point = jnp.where(error_low < error_high, from_low, from_high)
    return scale, jnp.clip(jnp.round(zero_point), qmin, qmax).astype(jnp.int32)


@op(namespaces=(), differentiable=False)
def _choose_qparams(input: Array, qmin: int, qmax: int):
    """Scale and zero point for all of ``input``; see :func:`choose_qparams`."""
    _need_float(input, "Quantize")
    if not input.size:
        raise RuntimeError("choosing a scale for a tensor without elements is not possible")
    return choose_qparams(input.min(), input.max(), qmin, qmax)


# --- products --------------------------------------------------------------------------------------------------------


def requantize(acc, product_scale, bias, scale, zero_point, relu: bool, dtype):
    """int32 accumulators (channels last) on the grid of the output."""
    exact = acc.astype(jnp.float32)
    if bias is not None:
        exact = exact + bias / product_scale
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    zero_point = zero_point.reshape(()).astype(jnp.float32)
    q = jnp.round(exact * (product_scale / scale.reshape(()).astype(jnp.float32))) + zero_point
    return jnp.clip(q, jnp.maximum(low, zero_point) if relu else low, high).astype(dtype)


def _need_grid(input, what: str) -> None:
    if input.dtype not in (np.int8, np.uint8):
        raise RuntimeError(f"{what}: expected activations of 8 bits, got {c_type_name(input)}")


def _need_features(input, weight, what: str) -> None:
    if not input.ndim or input.shape[-1] != weight.shape[1]:
        raise RuntimeError(
            f"{what}: expected an input of shape (..., {weight.shape[1]}) for a weight of size {list(weight.shape)}, "
            f"but got {list(input.shape)}"
        )


@op(namespaces=(), differentiable=False)
def _quantized_linear(
    input: Array,
    input_scale: Scalar,
    input_zero_point: Scalar,
    weight: Array,
    weight_sum: Array,
    weight_scale: Array,
    bias: Array | None,
    scale: Scalar,
    zero_point: Scalar,
    relu: bool,
):
    """``x Aᵀ + b`` from integers to integers; ``scale`` and ``zero_point`` are those of the output."""
    _need_grid(input, "quantized::linear")
    _need_features(input, weight, "quantized::linear")
    a, shift = as_operand(flatten_rows(input), input_zero_point)
    acc = int_dot(a, weight) - shift * weight_sum
    product_scale = input_scale.reshape(()).astype(jnp.float32) * weight_scale
    y = requantize(acc, product_scale, bias, scale, zero_point, relu, input.dtype)
    return y.reshape(*input.shape[:-1], weight.shape[0])


@op(namespaces=(), differentiable=False)
def _quantized_linear_dynamic(
    input: Array,
    weight: Array,
    weight_sum: Array,
    weight_scale: Array,
    bias: Array | None,
    relu: bool,
    reduce_range: bool,
):
    """``x Aᵀ + b`` from floats to floats; the input is quantized by its own range, to 7 bits if ``reduce_range``."""
    return linear_dynamic(input, weight, weight_sum, weight_scale, bias, relu, reduce_range)


def _by_own_range(x, what: str, reduce_range: bool):
    """``x`` as uint8 on the grid of its range, with float32 scale and int32 zero point.

    Raises:
        RuntimeError: ``x`` is not float32, or empty.
    """
    _need_float(x, what)
    if not x.size:
        raise RuntimeError(f"{what}: the input has no elements to take a range from")
    scale, zero_point = choose_qparams(x.min(), x.max(), 0, 127 if reduce_range else 255)
    scale = scale.astype(jnp.float32)
    q = clip_round(x * (1 / scale) + zero_point.astype(jnp.float32), 0, 255).astype(jnp.uint8)
    return q, scale, zero_point


def linear_dynamic(input, weight, weight_sum, weight_scale, bias, relu: bool, reduce_range: bool):
    """See :func:`_quantized_linear_dynamic`.

    Raises:
        RuntimeError: the input is not float32, empty, or of another size.
    """
    _need_float(input, "quantized::linear_dynamic")
    _need_features(input, weight, "quantized::linear_dynamic")
    q, scale, zero_point = _by_own_range(flatten_rows(input), "quantized::linear_dynamic", reduce_range)
    a, shift = as_operand(q, zero_point)
    acc = int_dot(a, weight) - shift * weight_sum
    y = acc.astype(jnp.float32) * (scale * weight_scale)
    y = y if bias is None else y + bias
    y = jnp.maximum(y, 0) if relu else y
    return y.reshape(*input.shape[:-1], weight.shape[0])


def _conv_sums(what: str, a, shift, rows, row_sum, kernel, stride, padding, dilation, groups: int, transposed, extra):
    """int32 sums ``(N, *windows, O)`` of a batch of 8-bit images; ``rows`` is the weight as ``(O, *K C / groups)``.

    That is the order in which :func:`~.conv_lowering.taps` cuts patches. A transposed convolution is one with a turned
    weight over an image with gaps; what fills gaps and pads is a zero of the real line, which is the zero point.
    """
    n = len(kernel)
    channels = rows.shape[1] // math.prod(kernel) * groups
    if a.ndim != n + 2 or a.shape[1] != channels:
        sizes = ", ".join("DHWL"[-n - 1 : -1] if n > 1 else "L")
        raise RuntimeError(f"{what}: expected an input of shape ([N,] {channels}, {sizes}), but got {list(a.shape)}")
    stride, dilation = per_dim(stride, n, "stride"), per_dim(dilation, n, "dilation")
    pads, gaps = _pads(padding, kernel, stride, dilation, n), (0,) * n
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if transposed:
        gaps, stride = tuple(s - 1 for s in stride), (1,) * n
        pads = [(r - 1 - lo, r - 1 - hi + e) for (lo, hi), r, e in zip(pads, reach, extra, strict=True)]
    padded = [m + (m - 1) * g + lo + hi for m, g, (lo, hi) in zip(a.shape[2:], gaps, pads, strict=True)]
    if any(r > p for r, p in zip(reach, padded, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({_times(padded)}). Kernel size: ({_times(reach)}). Kernel "
            "size can't be greater than actual input size"
        )
    widened = [(lo, hi, g) for (lo, hi), g in zip(pads, gaps, strict=True)]
    x = lax.pad(channels_last(a), shift.astype(a.dtype), ((0, 0, 0), *widened, (0, 0, 0)))
    pieces = list(taps(x, kernel, Geometry(stride, ((0, 0),) * n, dilation)))
    windows, out = pieces[0].shape[:-1], rows.shape[0]
    m = math.prod(windows)
    patches = jnp.stack([p.reshape(m, groups, channels // groups) for p in pieces], 2)  # (M, groups, taps, C / groups)
    if groups == 1:
        acc = int_dot(patches.reshape(m, -1), rows)
    else:
        grouped = int_dot(
            patches.reshape(m, groups, -1).transpose(1, 0, 2), rows.reshape(groups, out // groups, -1)
        )  # (groups, M, O / groups)
        acc = grouped.transpose(1, 0, 2).reshape(m, out)
    return (acc - shift * row_sum).reshape(*windows, out)


@op(namespaces=(), differentiable=False)
def _quantized_conv(
    input: Array,
    input_scale: Scalar,
    input_zero_point: Scalar,
    rows: Array,
    row_sum: Array,
    weight_scale: Array,
    bias: Array | None,
    scale: Scalar,
    zero_point: Scalar,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
    relu: bool,
    transposed: bool = False,
    output_padding: tuple[int, ...] = (),
):
    """A convolution in ``len(kernel)`` dims from integers to integers, as an int8 product with patches."""
    what = f"quantized::conv{'_transpose' if transposed else ''}{len(kernel)}d"
    _need_grid(input, what)
    batched = input.ndim == len(kernel) + 2
    a, shift = as_operand(input if batched else input[None], input_zero_point)
    sums = _conv_sums(
        what, a, shift, rows, row_sum, kernel, stride, padding, dilation, groups, transposed, output_padding
    )
    product_scale = input_scale.reshape(()).astype(jnp.float32) * weight_scale
    y = channels_first(requantize(sums, product_scale, bias, scale, zero_point, relu, input.dtype))
    return y if batched else y[0]


@op(namespaces=(), differentiable=False)
def _quantized_conv_dynamic(
    input: Array,
    rows: Array,
    row_sum: Array,
    weight_scale: Array,
    bias: Array | None,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
    reduce_range: bool,
    transposed: bool = False,
    output_padding: tuple[int, ...] = (),
):
    """:func:`_quantized_conv` from floats to floats; the input is quantized by its own range.

    So is the result, by the *input's* range, as by PyTorch's kernel (which warns of its poor accuracy).
    """
    what = f"quantized::conv{'_transpose' if transposed else ''}{len(kernel)}d_dynamic"
    q, scale, zero_point = _by_own_range(input, what, reduce_range)
    a, shift = as_operand(q, zero_point)
    sums = _conv_sums(
        what, a, shift, rows, row_sum, kernel, stride, padding, dilation, groups, transposed, output_padding
    )
    y = requantize(sums, scale * weight_scale, bias, scale, zero_point, False, jnp.uint8)
    return (channels_first(y).astype(jnp.float32) - zero_point.astype(jnp.float32)) * scale


# --- rounding that lets gradients through ----------------------------------------------------------------------------


@jax.custom_vjp
def _straight_through(x, rounded, inside):
    """``rounded``, with the gradient of ``x`` where it lies ``inside`` the range: rounding itself has none."""
    return rounded


def _straight_through_fwd(x, rounded, inside):
    return rounded, inside


def _straight_through_bwd(inside, g):
    return jnp.where(inside, g, jnp.zeros((), g.dtype)), None, None


_straight_through.defvjp(_straight_through_fwd, _straight_through_bwd)


def _fake_quantize(x, scale, zero_point, low: int, high: int, axis: int | None):
    if not low <= high:
        raise RuntimeError("`quant_min` should be less than or equal to `quant_max`.")
    scale = lax.stop_gradient(_along(scale.astype(jnp.float32), x, axis))
    whole = not jnp.issubdtype(zero_point.dtype, jnp.floating)
    zero_point = lax.stop_gradient(_along(zero_point.astype(jnp.float32), x, axis))
    q = lax.stop_gradient(x.astype(jnp.float32)) * (1 / scale)
    q = jnp.round(q) + zero_point if whole else jnp.round(q + zero_point)
    rounded = (jnp.clip(q, low, high) - zero_point) * scale
    return _straight_through(x, rounded.astype(x.dtype), (low <= q) & (q <= high))


@op(method=False, out=False, grad_name="FakeQuantizePerTensorAffineCachemaskBackward0")
def fake_quantize_per_tensor_affine(input: Array, scale: Scalar, zero_point: Scalar, quant_min: int, quant_max: int):
    """``scale (clip(round(x / scale) + zero_point, quant_min, quant_max) - zero_point)``.

    The gradient is that of the identity inside the range, and 0 outside.

    Raises:
        RuntimeError: ``quant_min > quant_max``.
    """
    return _fake_quantize(input, scale, zero_point, quant_min, quant_max, None)


@op(method=False, out=False, grad_name="FakeQuantizePerChannelAffineCachemaskBackward0")
def fake_quantize_per_channel_affine(
    input: Array, scale: Array, zero_point: Array, axis: int, quant_min: int, quant_max: int
):
    """:func:`fake_quantize_per_tensor_affine` with one scale and zero point for each index of dim ``axis``.

    Raises:
        RuntimeError: ``quant_min > quant_max``, or the parameters are not one a channel.
    """
    if not 0 <= axis < input.ndim:
        raise RuntimeError(f"`axis` must be between 0 and number of dimensions of input, got {axis}")
    if scale.shape != (input.shape[axis],) or zero_point.shape != scale.shape:
        raise RuntimeError(
            f"scale and zero-point need {input.shape[axis]} elements each, one for each index of dimension {axis}, but "
            f"have shapes {list(scale.shape)} and {list(zero_point.shape)}"
        )
    return _fake_quantize(input, scale, zero_point, quant_min, quant_max, axis)
