"""Normalisation: batch, layer, group, instance and RMS norm, ``normalize`` and local response norm.

Statistics of float16 and bfloat16 are float32, and results are rounded once. The norms have gradients of their own: the
derived ones keep several arrays of the input's size, where the input, the means and the reciprocal deviations do; and
on CPU they read them in one pass fewer.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import dtypes
from .conv_lowering import channels_first, channels_last
from .elementwise import in_float32, is_integral, refuse, type_name
from .registry import Array, Scalar, op
from .shapes import canonical_dim
from .softmax import widened

# --- batch norm ------------------------------------------------------------------------------------------------------


def _moments(x, dims):
    """Mean and biased variance, keeping dims; the variance from deviations, so that a large mean costs no digits."""
    mean = x.mean(dims, keepdims=True)
    return mean, jnp.square(x - mean).mean(dims, keepdims=True)


def _channel_sums(*arrays):
    """Per-channel sums of channels-last arrays."""
    return [a.sum(tuple(range(a.ndim - 1)), keepdims=True) for a in arrays]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _standardize(x, weight, bias, eps: float):
    """``(y, mean, biased variance)`` of a channels-last x over all but the channels; the statistics in float32."""
    return _standardize_fwd(x, weight, bias, eps)[0]


def _standardize_fwd(x, weight, bias, eps):
    wide = widened(x)
    mean, variance = _moments(wide, tuple(range(x.ndim - 1)))
    rstd = lax.rsqrt(variance + jnp.asarray(eps, variance.dtype))
    y = _affine(wide, mean, rstd, weight, bias).astype(x.dtype)
    return (y, mean.reshape(-1), variance.reshape(-1)), (x, mean, rstd, weight, bias)


def _affine(x, mean, rstd, weight, bias):
    """``(x - mean) rstd w + b`` with the factors folded."""
    scale = rstd if weight is None else rstd * weight.astype(rstd.dtype)
    y = (x - mean) * scale
    return y if bias is None else y + bias.astype(rstd.dtype)


def _standardize_bwd(eps, saved, grads):
    x, mean, rstd, weight, bias = saved
    g, g_mean, g_variance = grads
    wide, g = widened(x), widened(g)
    count = math.prod(x.shape[:-1])
    deviation = wide - mean
    total, along = _channel_sums(g, g * deviation)
    scale = rstd if weight is None else rstd * weight.astype(rstd.dtype)
    along = along * jnp.square(rstd)
    dx = (g - total / count - deviation * (along / count)) * scale
    dx = dx + (g_mean + 2 * g_variance * deviation) / count  # zero unless the statistics themselves are differentiated
    dw = None if weight is None else (along / rstd).reshape(weight.shape).astype(weight.dtype)
    db = None if bias is None else total.reshape(bias.shape).astype(bias.dtype)
    return dx.astype(x.dtype), dw, db


_standardize.defvjp(_standardize_fwd, _standardize_bwd)


def _check_channels(channels: int, **given) -> None:
    for name, x in given.items():
        if x is not None and x.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {x.size}")


def _check_batch_norm(input, **given) -> None:
    refuse("batch_norm", input, when=is_integral(input))
    if input.shape != (0,) and input.ndim < 2:
        raise RuntimeError(f"batch_norm: expected an input of 2 or more dims (N, C, ...), got {list(input.shape)}")
    _check_channels(_channels(input), **given)


def _channels(input) -> int:
    return input.shape[1] if input.ndim > 1 else 0  # an empty vector is a batch of nothing


@op(namespaces=(), grad_name="NativeBatchNormBackward0", channels_last=True)
def _batch_norm_train(
    input: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    momentum: Scalar,
    *,
    eps: float = 1e-5,
):
    """``(y, new running_mean, new running_var)``, or ``(y,)`` without running statistics.

    ``y = (x - mean) / sqrt(var + eps) w + b`` per channel (dim 1), with the biased variance of the batch; the running
    ones move by ``momentum`` towards the mean and the unbiased variance.

    Raises:
        RuntimeError: an operand does not have one element a channel.
        ValueError: one value a channel only.
    """
    _check_batch_norm(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if input.size:
        _check_affine_dtypes(input, weight, bias, running_mean, running_var)
    count = input.size // max(_channels(input), 1)
    if count <= 1 and input.size:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size torch.Size({list(input.shape)})"
        )
    if not input.size:  # an empty batch leaves the running statistics alone
        y = input if input.ndim < 2 else channels_last(input)
        y = y if weight is None else y * weight.astype(y.dtype)
        y = y if bias is None else y + bias.astype(y.dtype)
        y = y if input.ndim < 2 else channels_first(y)
        return (y, *(r for r in (running_mean, running_var) if r is not None))
    y, mean, variance = _standardize(channels_last(input), weight, bias, eps)
    y = channels_first(y)
    if running_mean is None and running_var is None:
        return (y,)
    mean, variance = lax.stop_gradient((mean, variance * (count / (count - 1))))
    new = []
    for old, now in ((running_mean, mean), (running_var, variance)):
        m = momentum.astype(now.dtype)
        new.append(None if old is None else ((1 - m) * old.astype(now.dtype) + m * now).astype(old.dtype))
    return (y, *(n for n in new if n is not None))


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _scaled(x, mean, variance, weight, bias, eps: float):
    """Batch norm with given statistics, channels-last. Own gradient: keeps the input alone."""
    rstd = lax.rsqrt(variance.astype(widened(x).dtype) + jnp.asarray(eps, widened(x).dtype))
    return _affine(widened(x), mean.astype(rstd.dtype), rstd, weight, bias).astype(x.dtype)


def _scaled_bwd(eps, saved, g):
    x, mean, variance, weight, bias = saved
    wide, g = widened(x), widened(g)
    rstd = lax.rsqrt(variance.astype(wide.dtype) + jnp.asarray(eps, wide.dtype))
    scale = rstd if weight is None else rstd * weight.astype(rstd.dtype)
    total, along = (s.reshape(-1) for s in _channel_sums(g, g * (wide - mean.astype(wide.dtype))))
    return (
        (g * scale).astype(x.dtype),
        (-total * scale).astype(mean.dtype),
        (-0.5 * along * scale * jnp.square(rstd)).astype(variance.dtype),
        None if weight is None else (along * rstd).astype(weight.dtype),
        None if bias is None else total.astype(bias.dtype),
    )


_scaled.defvjp(
    lambda x, mean, variance, weight, bias, eps: (
        _scaled(x, mean, variance, weight, bias, eps), (x, mean, variance, weight, bias)
    ),
    _scaled_bwd,
)  # fmt: skip


@op(namespaces=(), grad_name="NativeBatchNormBackward0", channels_last=True)
def _batch_norm_eval(
    input: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None,
    bias: Array | None,
    *,
    eps: float = 1e-5,
):
    """``(x - running_mean) / sqrt(running_var + eps) w + b`` per channel (dim 1).

    Raises:
        RuntimeError: an operand does not have one element a channel.
    """
    _check_batch_norm(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    _check_affine_dtypes(input, weight, bias, running_mean, running_var)
    if input.ndim < 2:
        return input
    return channels_first(_scaled(channels_last(input), running_mean, running_var, weight, bias, eps))


# --- norms over the trailing dims ------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _row_norm(x, weight, bias, eps: float):
    """Rows of ``(M, K)`` brought to mean 0 and variance 1, then ``w`` and ``b`` of ``(K,)``."""
    return _row_norm_fwd(x, weight, bias, eps)[0]


def _row_norm_fwd(x, weight, bias, eps):
    wide = widened(x)
    mean, variance = _moments(wide, 1)
    rstd = lax.rsqrt(variance + jnp.asarray(eps, variance.dtype))
    y = (wide - mean) * rstd
    y = y if weight is None else y * weight.astype(y.dtype)
    y = y if bias is None else y + bias.astype(y.dtype)
    return y.astype(x.dtype), (x, mean, rstd, weight, bias)


def _row_norm_bwd(eps, saved, g):
    x, mean, rstd, weight, bias = saved
    g = widened(lax.optimization_barrier(g))
    y = (widened(x) - mean) * rstd
    h = g if weight is None else g * weight.astype(g.dtype)
    dx = rstd * (h - h.mean(1, keepdims=True) - y * (h * y).mean(1, keepdims=True))
    dw = None if weight is None else (g * y).sum(0).astype(weight.dtype)
    db = None if bias is None else g.sum(0).astype(bias.dtype)
    return dx.astype(x.dtype), dw, db


_row_norm.defvjp(_row_norm_fwd, _row_norm_bwd)


def _check_normalized_shape(input, normalized_shape, weight, bias, star: str) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    for name, x in (("weight", weight), ("bias", bias)):
        if x is not None and x.shape != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(x.shape)} and "
                f"normalized_shape = {list(shape)}"
            )
    if input.shape[max(input.ndim - len(shape), 0) :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [{star}{', '.join(map(str, shape))}], "
            f"but got input of size{list(input.shape)}"
        )
    return shape


def _check_affine_dtypes(input, *parameters) -> None:
    for p in parameters:
        if p is not None and p.dtype != input.dtype and p.dtype != widened(input).dtype:
            if input.dtype == np.float64:
                raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
            raise RuntimeError(
                f"mixed dtype (CPU): expect parameter to have scalar type of Float, got {type_name(p)} with an input "
                f"of {type_name(input)}"
            )


@op(namespaces=("nn.functional",), method=False, out=False, grad_name="NativeLayerNormBackward0")
def layer_norm(
    input: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
):
    """``(x - mean) / sqrt(var + eps) w + b``, mean and biased variance over the trailing ``normalized_shape``.

    Raises:
        RuntimeError: the input does not end in ``normalized_shape``, or a parameter's shape or dtype differs.
    """
    shape = _check_normalized_shape(input, normalized_shape, weight, bias, "*, ")
    refuse("LayerNormKernelImpl", input, when=is_integral(input))
    _check_affine_dtypes(input, weight, bias)
    k = math.prod(shape)
    flat = (p if p is None else p.reshape(k) for p in (weight, bias))
    rows = math.prod(input.shape[: input.ndim - len(shape)])
    return _row_norm(input.reshape(rows, k), *flat, eps).reshape(input.shape)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rms(x, weight, eps: float):
    """Rows of ``(M, K)`` over their root mean square, times ``w`` of ``(K,)``."""
    return _rms_fwd(x, weight, eps)[0]


def _rms_fwd(x, weight, eps):
    wide = widened(x)
    rrms = lax.rsqrt(jnp.square(wide).mean(1, keepdims=True) + jnp.asarray(eps, wide.dtype))
    y = wide * rrms
    y = y if weight is None else y * weight.astype(y.dtype)
    return y.astype(x.dtype), (x, rrms, weight)


def _rms_bwd(eps, saved, g):
    x, rrms, weight = saved
    g = widened(lax.optimization_barrier(g))
    y = widened(x) * rrms
    h = g if weight is None else g * weight.astype(g.dtype)
    dx = rrms * (h - y * (h * y).mean(1, keepdims=True))
    return dx.astype(x.dtype), None if weight is None else (g * y).sum(0).astype(weight.dtype)


_rms.defvjp(_rms_fwd, _rms_bwd)


@op(namespaces=("torch", "nn.functional"), method=False, out=False, grad_name="MulBackward0")
def rms_norm(input: Array, normalized_shape: tuple[int, ...], weight: Array | None = None, eps: float | None = None):
    """``x / sqrt(mean(x²) + eps) w`` over the trailing ``normalized_shape``; ``eps`` defaults to the dtype's epsilon.

    Raises:
        RuntimeError: the input does not end in ``normalized_shape``, or the weight's shape differs.
    """
    shape = _check_normalized_shape(input, normalized_shape, weight, None, "*")
    refuse("rms_norm", input, when=is_integral(input))
    k = math.prod(shape)
    eps = float(jnp.finfo(widened(input).dtype).eps) if eps is None else eps
    flat = None if weight is None else weight.reshape(k)
    rows = math.prod(input.shape[: input.ndim - len(shape)])
    return _rms(input.reshape(rows, k), flat, eps).reshape(input.shape)


# --- norms over groups of channels -----------------------------------------------------------------------------------


def _group_norm(input, groups: int, weight, bias, eps: float):
    """Each of ``groups`` runs of channels (dim 1) normalised over its elements, then ``w`` and ``b`` a channel.

    Channels-last, as convolutions are: where these are its neighbours, the turns cancel.
    """
    if input.ndim < 3:
        return _group_affine(input[:, None], weight, bias, groups, eps)[:, 0]
    x = channels_last(input)
    flat = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
    return channels_first(_group_affine(flat, weight, bias, groups, eps).reshape(x.shape))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _group_affine(x, weight, bias, groups: int, eps: float):
    """Group norm of ``(N, L, C)``. Own gradient: keeps the input, the means and the reciprocal deviations."""
    return _group_affine_fwd(x, weight, bias, groups, eps)[0]


def _group_means(sums, groups: int, length: int):
    """The means of groups of channels, for each channel, from the channels' sums ``(N, 1, C)`` over ``length``."""
    n, _, c = sums.shape
    means = sums.reshape(n, groups, c // groups).mean(2, keepdims=True) / length
    return jnp.broadcast_to(means, (n, groups, c // groups)).reshape(n, 1, c)


def _group_affine_fwd(x, weight, bias, groups, eps):
    wide = widened(x)
    mean = _group_means(wide.sum(1, keepdims=True), groups, x.shape[1])
    variance = _group_means(jnp.square(wide - mean).sum(1, keepdims=True), groups, x.shape[1])
    rstd = lax.rsqrt(variance + jnp.asarray(eps, variance.dtype))
    return _affine(wide, mean, rstd, weight, bias).astype(x.dtype), (x, mean, rstd, weight, bias)


def _group_affine_bwd(groups, eps, saved, g):
    x, mean, rstd, weight, bias = saved
    g, deviation = widened(g), widened(x) - mean
    total, along = g.sum(1, keepdims=True), (g * deviation).sum(1, keepdims=True) * rstd
    scale = jnp.ones((), g.dtype) if weight is None else weight.astype(g.dtype)
    h, hy = (_group_means(s * scale, groups, x.shape[1]) for s in (total, along))
    dx = g * (rstd * scale) - deviation * (jnp.square(rstd) * hy) - rstd * h
    dw = None if weight is None else along.sum((0, 1)).astype(weight.dtype)
    db = None if bias is None else total.sum((0, 1)).astype(bias.dtype)
    return dx.astype(x.dtype), dw, db


_group_affine.defvjp(_group_affine_fwd, _group_affine_bwd)


@op(
    namespaces=("nn.functional",), method=False, out=False, grad_name="NativeGroupNormBackward0",
    channels_last=True,
)  # fmt: skip
def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
):
    """``(x - mean) / sqrt(var + eps) w + b``, the statistics over each of ``num_groups`` runs of channels (dim 1).

    Raises:
        RuntimeError: the channels do not divide into the groups, or a parameter has not one element a channel.
        ValueError: there is one value a group only.
    """
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    if num_groups > 0 and input.size == num_groups:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}")
    if num_groups <= 0 or input.shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.shape != (input.shape[1],):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of "
                f"shape {list(p.shape)} and input of shape {list(input.shape)}"
            )
    refuse("GroupNormKernelImpl", input, when=is_integral(input))
    _check_affine_dtypes(input, weight, bias)
    return _group_norm(input, num_groups, weight, bias, eps)


@op(namespaces=(), grad_name="ViewBackward0", channels_last=True)
def _instance_norm(input: Array, weight: Array | None, bias: Array | None, *, eps: float = 1e-5):
    """Each channel of each sample normalised over its own elements.

    Raises:
        RuntimeError: a parameter has not one element a channel.
        ValueError: one element a channel only.
    """
    if math.prod(input.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size torch.Size({list(input.shape)})"
        )
    _check_channels(input.shape[1], weight=weight, bias=bias)
    _check_affine_dtypes(input, weight, bias)
    return _group_norm(input, input.shape[1], weight, bias, eps)


# --- by neighbouring channels, by a norm -----------------------------------------------------------------------------


@op(namespaces=("nn.functional",), grad_name="DivBackward0")
def local_response_norm(input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
    """``x / (k + alpha / size Σ x²)^beta``, the sum over ``size`` neighbouring channels (dim 1).

    Raises:
        ValueError: fewer than three dims.
    """
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if not input.size:
        return input
    return _responses(input, size, alpha, beta, k)


@in_float32
def _responses(x, size: int, alpha: float, beta: float, k: float):
    low = size // 2
    square = jnp.pad(x * x, ((0, 0), (low, (size - 1) // 2), *((0, 0) for _ in x.shape[2:])))
    total = _added(square[:, i : i + x.shape[1]] for i in range(size))
    if is_integral(x):  # whose mean is whole, and only then scaled
        mean, x = (v.astype(dtypes.get_default_dtype().np) for v in (total // size, x))
        return x / jnp.power(mean * np.asarray(alpha, x.dtype) + np.asarray(k, x.dtype), beta)
    return x / jnp.power(total * np.asarray(alpha / size, x.dtype) + np.asarray(k, x.dtype), beta)


def _added(arrays):
    """The sum of some arrays, without the integer 0 that Python's starts from."""
    total = None
    for a in arrays:
        total = a if total is None else total + a
    return total


@op(namespaces=("nn.functional",), grad_name="DivBackward0")
def normalize(input: Array, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12):
    """``x / max(‖x‖_p, eps)`` along ``dim``."""
    from .norms import _vector_norm

    dims = (dim,) if isinstance(dim, int) else dim
    dims = tuple(canonical_dim(d, input.ndim) for d in dims) if input.ndim else ()
    size = _vector_norm(input, p, dims, True)
    floor = jnp.asarray(eps, size.dtype)
    return input / jnp.where(size >= floor, size, floor)
