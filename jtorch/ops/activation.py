"""Activation functions. Each saves only its input (or, for ``relu``, its output) for the backward pass.

float16 and bfloat16 are computed in float32 and rounded once. Where a function has a kink, the gradient is the one
PyTorch takes there. The trailing ``inplace`` of PyTorch's signatures is the derived in-place form of the op.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..dtypes import get_default_dtype
from .elementwise import by_input, is_complex, refuse, type_name
from .outputs import unconverted
from .registry import Array, op
from .shapes import canonical_dim
from .softmax import widened

_pointwise = partial(op, namespaces=("nn.functional",), inplace=True, elementwise=True)


def saving_input(forward, slope):
    """``forward(x)`` with gradient ``g * slope(x)``, both computed in float32 for half types; residual: the input.

    The derived gradients would keep several intermediates alive and, at kinks, follow ``jnp.where`` and not PyTorch.
    """
    return by_input(
        lambda x: forward(widened(x)).astype(x.dtype),
        lambda x, g: slope(widened(x), widened(g)).astype(g.dtype),
    )


def _require_float(name: str, x, kinds=jnp.inexact) -> None:
    refuse(name, x, when=not jnp.issubdtype(x.dtype, kinds))


def _clamping(x) -> None:
    """Refuse what has no order, where the function is a clamp.

    Raises:
        NotImplementedError: complex numbers.
    """
    if is_complex(x):
        raise NotImplementedError("clamp is not supported for complex types")


# --- rectifiers ----------------------------------------------------------------------------------------------------


@jax.custom_vjp
def _relu(x):
    return jnp.maximum(x, 0)


def _relu_fwd(x):
    y = _relu(x)
    return y, y


# Own gradient: zero at zero (a derived maximum splits it), and it needs the output alone, which the next layer keeps.
_relu.defvjp(_relu_fwd, lambda y, g: (jnp.where(y <= 0, 0, g),))


@op(namespaces=("torch", "nn.functional"), inplace=True, elementwise=True, out=False)
def relu(input: Array):
    """``max(x, 0)``; the gradient at 0 is 0."""
    if input.dtype == bool:
        raise RuntimeError("Boolean inputs not supported for relu")
    _clamping(input)
    return _relu(input)


def _clamped(low: float, high: float):
    return saving_input(
        lambda x: jnp.clip(x, jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype)),
        lambda x, g: jnp.where((x <= low) | (x >= high), 0, g),
    )


@_pointwise(grad_name="HardtanhBackward0")
def hardtanh(input: Array, min_val: float = -1.0, max_val: float = 1.0):
    """``x`` limited to ``[min_val, max_val]``; the gradient at the bounds is 0.

    Raises:
        ValueError: ``min_val > max_val``.
    """
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    _clamping(input)
    if not jnp.issubdtype(input.dtype, jnp.floating):
        return jnp.clip(input, jnp.asarray(int(min_val), input.dtype), jnp.asarray(int(max_val), input.dtype))
    return _clamped(min_val, max_val)(input)


@_pointwise(grad_name="HardtanhBackward0")
def relu6(input: Array):
    """``min(max(x, 0), 6)``."""
    return hardtanh(input, 0.0, 6.0)


@_pointwise
def leaky_relu(input: Array, negative_slope: float = 0.01):
    """``x`` where positive, ``negative_slope * x`` elsewhere."""
    _require_float("leaky_relu_cpu", input, jnp.floating)
    a = negative_slope
    return saving_input(lambda x: jnp.where(x > 0, x, x * a), lambda x, g: jnp.where(x > 0, g, g * a))(input)


@_pointwise
def threshold(input: Array, threshold: float, value: float):
    """``x`` where ``x > threshold``, ``value`` elsewhere."""
    fill = jnp.asarray(value, input.dtype)
    if not jnp.issubdtype(input.dtype, jnp.floating):
        return jnp.where(input <= threshold, fill, input)
    return saving_input(
        lambda x: jnp.where(x <= threshold, fill.astype(x.dtype), x),
        lambda x, g: jnp.where(x <= threshold, 0, g),
    )(input)


def _parametric(x, w):
    x32, w32 = widened(x), widened(w)
    return jnp.where(x32 > 0, x32, w32 * x32).astype(x.dtype)


@op(namespaces=("torch", "nn.functional"), elementwise=True, out=False, grad_name="PreluKernelBackward0")
def prelu(input: Array, weight: Array):
    """``x`` where positive, ``a x`` elsewhere, with ``a`` one number or one per channel (dimension 1).

    Raises:
        RuntimeError: ``weight`` has another number of elements or another dtype.
    """
    if weight.dtype != input.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input.dtype} and {weight.dtype}; convert weight first"
        )
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.size != 1:
        if input.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels != weight.size:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight.size} and "
                f"channel size = {channels}."
            )
        weight = weight.reshape((1, -1) + (1,) * (input.ndim - 2))
    else:
        weight = weight.reshape((1,) * input.ndim)
    return _parametric(input, weight)


@op(name="_rrelu", namespaces=(), elementwise=True, grad_name="RreluWithNoiseBackward0")
def _rrelu(input: Array, noise: Array):
    """Randomised leaky ReLU in training: ``x`` where positive, ``noise * x`` elsewhere; ``noise`` like ``x``."""
    return _parametric(input, lax.stop_gradient(noise))


@op(name="_rrelu_eval", namespaces=(), elementwise=True, grad_name="LeakyReluBackward0")
def _rrelu_eval(input: Array, lower: float = 1.0 / 8, upper: float = 1.0 / 3):
    """``rrelu`` outside training: a leaky ReLU with the mean slope ``(lower + upper) / 2``."""
    return leaky_relu(input, (lower + upper) / 2)


# --- exponential units ---------------------------------------------------------------------------------------------


def _elu(alpha: float, scale: float, input_scale: float):
    positive, negative = scale, alpha * scale
    return saving_input(
        lambda x: jnp.where(x > 0, x * positive, jnp.expm1(jnp.minimum(x, 0) * input_scale) * negative),
        lambda x, g: jnp.where(
            x <= 0, g * (input_scale * negative) * jnp.exp(jnp.minimum(x, 0) * input_scale), g * positive
        ),
    )


@_pointwise
def elu(input: Array, alpha: float = 1.0):
    """``x`` where positive, ``alpha (exp(x) - 1)`` elsewhere."""
    _require_float("elu_cpu", input, jnp.floating)
    return _elu(alpha, 1.0, 1.0)(input)


@op(namespaces=("torch", "nn.functional"), method=False, inplace=True, elementwise=True, out=False,
    grad_name="EluBackward0")  # fmt: skip
def selu(input: Array):
    """``scale * elu(x, alpha)`` with the self-normalising ``alpha = 1.67326...`` and ``scale = 1.05070...``."""
    _require_float("elu_cpu", input, jnp.floating)
    return _elu(1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)(input)


@op(namespaces=("torch", "nn.functional"), method=False, inplace=True, elementwise=True, out=False)
def celu(input: Array, alpha: float = 1.0):
    """``max(0, x) + min(0, alpha (exp(x / alpha) - 1))``.

    Raises:
        RuntimeError: ``alpha`` is 0.
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    _require_float("elu_cpu", input, jnp.floating)
    return _elu(alpha, 1.0, 1.0 / alpha)(input)


# --- smooth gates --------------------------------------------------------------------------------------------------


def _normal_cdf(x):
    return 0.5 * (1 + lax.erf(x * math.sqrt(0.5)))


def _gelu_slope(x, g):
    return g * (_normal_cdf(x) + x * jnp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))


# Both own gradients compute erf (tanh) and exp of the input once; the derived ones keep four arrays.
_gelu_exact = saving_input(lambda x: x * _normal_cdf(x), _gelu_slope)

_TANH_SCALE, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


def _tanh_slope(x, g):
    t = jnp.tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x))
    inner = _TANH_SCALE * (1 + 3 * _TANH_CUBE * x * x)
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner)


_gelu_tanh = saving_input(lambda x: 0.5 * x * (1 + jnp.tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x))), _tanh_slope)


@op(namespaces=("nn.functional",), elementwise=True, out=True)
def gelu(input: Array, approximate: str = "none"):
    """``x Φ(x)`` with the normal distribution function Φ, or its tanh approximation (``approximate="tanh"``).

    Raises:
        RuntimeError: ``approximate`` is neither ``"none"`` nor ``"tanh"``.
    """
    _require_float("GeluKernelImpl", input, jnp.floating)
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return (_gelu_exact if approximate == "none" else _gelu_tanh)(input)


def _sigmoid_slope(x):
    s = lax.logistic(x)
    return s * (1 + x * (1 - s))


_silu = saving_input(lambda x: x * lax.logistic(x), lambda x, g: g * _sigmoid_slope(x))


@_pointwise
def silu(input: Array):
    """``x σ(x)``."""
    _require_float("silu_cpu", input)
    return _silu(input)


def _stable_softplus(x):
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def _mish_slope(x, g):
    t = jnp.tanh(_stable_softplus(x))
    return g * (t + x * lax.logistic(x) * (1 - t * t))


_mish = saving_input(lambda x: x * jnp.tanh(_stable_softplus(x)), _mish_slope)


@_pointwise
def mish(input: Array):
    """``x tanh(softplus(x))``."""
    _require_float("mish_cpu", input)
    return _mish(input)


@op(namespaces=("nn.functional",), elementwise=True, out=unconverted)
def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0):
    """``log(1 + exp(beta x)) / beta``, and ``x`` itself where ``beta x > threshold``."""
    _require_float("softplus_cpu", input, jnp.floating)

    def forward(x):
        bx = x * beta
        return jnp.where(bx > threshold, x, jnp.log1p(jnp.exp(jnp.minimum(bx, threshold))) / beta)

    return saving_input(forward, lambda x, g: jnp.where(x * beta > threshold, g, g * lax.logistic(x * beta)))(input)


_logsigmoid = saving_input(
    lambda x: jnp.minimum(x, 0) - jnp.log1p(jnp.exp(-jnp.abs(x))), lambda x, g: g * lax.logistic(-x)
)


@op(namespaces=("nn.functional",), elementwise=True, out=True, grad_name="LogSigmoidBackward0")
def logsigmoid(input: Array):
    """``log σ(x)``."""
    _require_float("log_sigmoid_cpu", input)
    return _logsigmoid(input)


@op(namespaces=("nn.functional",), elementwise=True, grad_name="DivBackward0")
def softsign(input: Array):
    """``x / (1 + |x|)``."""
    x = input if jnp.issubdtype(input.dtype, jnp.inexact) else input.astype(get_default_dtype().np)
    return (widened(x) / (1 + jnp.abs(widened(x)))).astype(x.dtype)


_tanhshrink = saving_input(lambda x: x - jnp.tanh(x), lambda x, g: g * jnp.square(jnp.tanh(x)))


@op(namespaces=("nn.functional",), promote="float", grad_name="SubBackward0")
def tanhshrink(input: Array):
    """``x - tanh(x)``."""
    return _tanhshrink(input)


def _shrinking(forward, bound: float):
    return saving_input(forward, lambda x, g: jnp.where((x >= -bound) & (x <= bound), 0, g))


@op(namespaces=("torch", "nn.functional"), elementwise=True, inplace=False, out=unconverted)
def hardshrink(input: Array, lambd: float = 0.5):
    """``x`` where ``|x| > lambd``, 0 elsewhere."""
    _require_float("hardshrink_cpu", input)
    lambd = float(np.asarray(lambd, input.dtype))  # the bound itself is 0, also where the dtype rounds it
    return _shrinking(lambda x: jnp.where((x >= -lambd) & (x <= lambd), 0, x), lambd)(input)


@op(namespaces=("nn.functional",), elementwise=True, out=unconverted)
def softshrink(input: Array, lambd: float = 0.5):
    """``x - lambd`` above ``lambd``, ``x + lambd`` below ``-lambd``, 0 between.

    Raises:
        RuntimeError: ``lambd`` is negative, or more than the dtype can hold.
    """
    if jnp.issubdtype(input.dtype, jnp.floating):
        most = float(jnp.finfo(input.dtype).max)
        if not 0 <= lambd <= most:
            raise RuntimeError(
                f"lambda must be in range [0, {most:g}] for input dtype {type_name(input)}, but found {lambd:g}"
            )
    _require_float("softshrink_cpu", input)
    return _shrinking(lambda x: jnp.where(x > lambd, x - lambd, jnp.where(x < -lambd, x + lambd, x * 0)), lambd)(input)


_hardswish = saving_input(
    lambda x: x * jnp.clip(x + 3, 0, 6) / 6,
    lambda x, g: jnp.where(x <= -3, 0, jnp.where(x < 3, g * (x / 3 + 0.5), g)),
)


@_pointwise
def hardswish(input: Array):
    """``x relu6(x + 3) / 6``."""
    _require_float("hardswish_cpu", input)
    return _hardswish(input)


_hardsigmoid = saving_input(lambda x: jnp.clip(x + 3, 0, 6) / 6, lambda x, g: jnp.where((x > -3) & (x < 3), g / 6, 0))


@_pointwise
def hardsigmoid(input: Array):
    """``relu6(x + 3) / 6``."""
    _require_float("hardsigmoid_cpu", input)
    return _hardsigmoid(input)


@jax.custom_vjp
def _gated(a, b):
    """Own gradient: ``σ(b)`` again from the input, in place of two saved arrays."""
    return (widened(a) * lax.logistic(widened(b))).astype(a.dtype)


def _gated_bwd(saved, g):
    a, b = saved
    s, g32 = lax.logistic(widened(b)), widened(g)
    return (g32 * s).astype(g.dtype), (g32 * widened(a) * s * (1 - s)).astype(g.dtype)


_gated.defvjp(lambda a, b: (_gated(a, b), (a, b)), _gated_bwd)


@op(namespaces=("nn.functional",))
def glu(input: Array, dim: int = -1):
    """``a σ(b)`` where ``a`` and ``b`` are the halves of ``x`` along ``dim``.

    Raises:
        RuntimeError: ``x`` is 0-d or its size along ``dim`` odd.
    """
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    dim = canonical_dim(dim, input.ndim)
    if input.shape[dim] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {input.shape[dim]}")
    _require_float("glu_cpu", input)
    return _gated(*jnp.split(input, 2, dim))
