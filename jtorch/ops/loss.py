"""Loss functions of regression and of margins, and the distances they are made of.

Classification losses stand in :mod:`.classification`. The deprecated ``size_average`` and ``reduce`` arguments are
translated by the callers of these ops.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import dtypes
from .activation import logsigmoid
from .elementwise import in_float32, is_complex, magnitude, require_type, type_name
from .index import outside
from .norms import vector_norm
from .registry import Array, Number, op
from .shapes import broadcast_shapes, canonical_dim

F = ("nn.functional",)


# --- shared pieces -------------------------------------------------------------------------------------------------


@in_float32
def reduced(loss, reduction: str):
    """``loss`` itself, its mean or its sum.

    Raises:
        ValueError: ``reduction`` is not ``"none"``, ``"mean"`` or ``"sum"``.
    """
    if reduction == "none":
        return loss
    if reduction == "mean":
        return jnp.mean(loss, dtype=loss.dtype)
    if reduction == "sum":
        return jnp.sum(loss, dtype=loss.dtype)
    raise ValueError(f"{reduction} is not a valid value for reduction")


def require_float(name: str, x, kinds=jnp.inexact) -> None:
    """Losses of integers are refused, as PyTorch's kernels do (some of complex numbers, too)."""
    if not jnp.issubdtype(x.dtype, kinds):
        raise NotImplementedError(
            f"\"{name}\" not implemented for '{type_name(x)}'; convert the operands to a floating type"
        )


def size(x) -> str:
    """A shape as messages print it."""
    return f"torch.Size({list(x.shape)})"


def _like(number, x):
    """A number in ``x``'s dtype, or in the default float dtype where it is a float and ``x`` of integers."""
    whole = isinstance(number, int) or jnp.issubdtype(x.dtype, jnp.inexact)
    return jnp.asarray(number, x.dtype if whole else dtypes.get_default_dtype().np)


def _floating(x):
    """``x``, in the default float dtype where it is of integers."""
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(dtypes.get_default_dtype().np)


def hinge(x):
    """``max(x, 0)`` with PyTorch's gradient for ``clamp_min``: 1 at 0."""
    return jnp.where(x < 0, 0, x)


def _weighted(loss, input, weight, reduction: str):
    """``loss`` times ``weight``; the mean divides by the sum of the weights."""
    if weight is None:
        return reduced(loss, reduction)
    if weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    loss = loss * weight
    return jnp.sum(loss) / jnp.sum(weight) if reduction == "mean" else reduced(loss, reduction)


# --- regression ----------------------------------------------------------------------------------------------------


@op(namespaces=F, promote="default", elementwise=False)
def mse_loss(input: Array, target: Array, reduction: str = "mean", weight: Array | None = None):
    """``(x - y)²``.

    Raises:
        ValueError: ``reduction`` is unknown, or ``weight`` is not of the input's size.
        RuntimeError: the sizes do not broadcast.
    """
    broadcast_shapes(input.shape, target.shape)
    require_float("mse_cpu", input, jnp.floating)
    return _weighted(jnp.square(input - target), input, weight, reduction)


@op(namespaces=F, promote="default", elementwise=False, grad_name="MeanBackward0")
def l1_loss(input: Array, target: Array, reduction: str = "mean", weight: Array | None = None):
    """``|x - y|``; the gradient where they are equal is 0."""
    broadcast_shapes(input.shape, target.shape)
    if reduction == "mean":
        require_float("mean", input)
    return _weighted(magnitude(input - target), input, weight, reduction)


@op(namespaces=F, promote="default", elementwise=False)
def smooth_l1_loss(input: Array, target: Array, reduction: str = "mean", beta: float = 1.0):
    """``d² / (2 beta)`` where ``d = |x - y| < beta``, ``d - beta / 2`` elsewhere; ``beta = 0`` is ``l1_loss``.

    Raises:
        RuntimeError: ``beta`` is negative.
    """
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    broadcast_shapes(input.shape, target.shape)
    if beta == 0:
        return reduced(magnitude(input - target), reduction)
    require_float("smooth_l1_cpu", input, jnp.floating)
    d = jnp.abs(input - target)
    far = d >= beta
    near = jnp.where(far, 0, d)  # whose square is finite, so that its derivative is
    return reduced(jnp.where(far, d - 0.5 * beta, 0.5 * near * near / beta), reduction)


@op(namespaces=F, elementwise=False)
def huber_loss(input: Array, target: Array, reduction: str = "mean", delta: float = 1.0, weight: Array | None = None):
    """``d² / 2`` where ``d = |x - y| <= delta``, ``delta (d - delta / 2)`` elsewhere.

    The mean of weighted losses divides by their number (unlike ``mse_loss``, by the sum of the weights).

    Raises:
        RuntimeError: ``delta`` is not positive.
    """
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    broadcast_shapes(input.shape, target.shape)
    require_float("huber_cpu", input, jnp.floating)
    if weight is not None and weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    d = jnp.abs(input - target)
    far = d > delta
    near = jnp.where(far, 0, d)
    loss = jnp.where(far, delta * (d - 0.5 * delta), 0.5 * near * near).astype(input.dtype)
    return reduced(loss if weight is None else loss * weight, reduction)


@op(namespaces=F, promote="default", elementwise=False, grad_name="MeanBackward0")
def poisson_nll_loss(
    input: Array,
    target: Array,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
):
    """``exp(x) - y x`` (or ``x - y log(x + eps)`` when ``log_input`` is false); ``full`` adds Stirling's term."""
    broadcast_shapes(target.shape, input.shape)
    input, target = _floating(input), _floating(target)
    if log_input:
        loss = jnp.exp(input) - target * input
    else:
        loss = input - target * jnp.log(input + eps)
    if full:
        big = target > 1
        y = jnp.where(big, target, 2)  # keeps log and its gradient finite where the term is not used
        loss = loss + jnp.where(big, y * jnp.log(y) - y + 0.5 * jnp.log(2 * math.pi * y), 0)
    return reduced(loss, reduction)


def _variance_check(input, target, var, *_, **__):
    return jnp.any(var < 0), "var has negative entry/entries"


@op(
    namespaces=F, promote="default", elementwise=False, grad_name="MeanBackward0",
    check=_variance_check, error=ValueError,
)  # fmt: skip
def gaussian_nll_loss(
    input: Array,
    target: Array | Number,
    var: Array | Number,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
):
    """``(log v + (x - y)² / v) / 2`` with ``v = max(var, eps)``; ``var`` like the input, or with a last size of 1.

    The clamp does not enter the gradient.

    Raises:
        ValueError: ``var`` is of another size, ``reduction`` is unknown; an element of ``var`` is negative, which is
            found when the result is read.
    """
    if var.ndim and var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = var[..., None]
        elif not (
            var.ndim == input.ndim and sum(y for x, y in zip(input.shape, var.shape, strict=True) if x != y) == 1
        ):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    broadcast_shapes(input.shape, target.shape)
    v = var + lax.stop_gradient(jnp.maximum(var, eps) - var)
    loss = 0.5 * (jnp.log(v) + jnp.square(input - target) / v)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


# --- distances -----------------------------------------------------------------------------------------------------


def p_norm(x, p: float, axis: int = -1, keepdims: bool = False):
    """``(Σ |x|ᵖ)^(1/p)`` with gradient 0 at the origin."""
    if p < 0:
        return vector_norm(x, p, axis, keepdims)
    if p == 0:
        return jnp.sum(x != 0, axis, keepdims=keepdims).astype(jnp.real(x).dtype)
    if p in (1, math.inf):
        size = magnitude(x)
        return jnp.sum(size, axis, keepdims=keepdims) if p == 1 else jnp.max(size, axis, keepdims=keepdims, initial=0)
    if p == 2:
        square = jnp.real(x) ** 2 + jnp.imag(x) ** 2 if is_complex(x) else x * x
        total = jnp.sum(square, axis, keepdims=keepdims)
        zero = total == 0
        return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, total)))
    nonzero = x != 0
    total = jnp.sum(jnp.where(nonzero, jnp.abs(jnp.where(nonzero, x, 1)) ** p, 0), axis, keepdims=keepdims)
    zero = total == 0
    return jnp.where(zero, 0, jnp.where(zero, 1, total) ** (1 / p))


@op(namespaces=("torch", "nn.functional"), promote="float", method=False, inplace=False, out=False, elementwise=False)
def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8):
    """``x1 · x2 / (max(‖x1‖, eps) max(‖x2‖, eps))`` along ``dim``; the operands broadcast.

    Raises:
        RuntimeError: ``eps`` is negative.
    """
    if eps < 0:
        raise RuntimeError(f"eps must be non-negative, got: {eps}")
    shape = broadcast_shapes(x1.shape, x2.shape)
    dim = canonical_dim(dim, len(shape))
    x1, x2 = jnp.broadcast_to(x1, shape), jnp.broadcast_to(x2, shape)
    if not shape:
        x1, x2 = x1[None], x2[None]
    a = x1 / jnp.maximum(p_norm(x1, 2, dim, True), eps)
    b = x2 / jnp.maximum(p_norm(x2, 2, dim, True), eps)
    return jnp.sum(a * b, dim)


@op(namespaces=("torch", "nn.functional"), promote="default", method=False, inplace=False, out=False,
    elementwise=False, grad_name="NormBackward1")  # fmt: skip
def pairwise_distance(x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
    """``‖x1 - x2 + eps‖_p`` over the last dimension; the operands broadcast."""
    broadcast_shapes(x1.shape, x2.shape)
    return p_norm(_floating(x1 - x2) + eps, p, -1, keepdim)


def _distance(difference, p: float):
    """The norm over the last dim. As distances count, NaN differs from everything by NaN."""
    if p == 0:
        return jnp.sum(jnp.minimum(jnp.ceil(jnp.abs(difference)), 1), -1)
    return _largest(difference) if p == math.inf else p_norm(difference, p)


@jax.custom_vjp
def _largest(difference):
    return jnp.max(jnp.abs(difference), -1, initial=0)


# Unlike a norm's, the gradient is not divided among equal elements.
_largest.defvjp(
    lambda d: (lambda out: (out, (d, out)))(_largest(d)),
    lambda kept, g: (jnp.where(jnp.abs(kept[0]) == kept[1][..., None], g[..., None] * jnp.sign(kept[0]), 0),),
)


def _distance_types(common, x1, x2) -> None:
    for i, x in ((1, x1), (2, x2)):
        if x.dtype.category != dtypes.FLOAT:
            raise RuntimeError(f"cdist only supports floating-point dtypes, X{i} got: {type_name(x)}")
    require_type(x1, x2)


@op(method=False, inplace=False, out=False, promote="float", elementwise=False, types=_distance_types)
def cdist(x1: Array, x2: Array, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary"):
    """p-norm distances between all rows of ``x1`` ``(..., P, M)`` and ``x2`` ``(..., R, M)``: ``(..., P, R)``.

    For ``p = 2`` with more than 25 rows (or as ``compute_mode`` says) through a matrix product, which is faster and
    less precise for close rows.

    Raises:
        RuntimeError: fewer than two dimensions, or different last sizes.
        ValueError: ``compute_mode`` is unknown.
    """
    for i, x in ((1, x1), (2, x2)):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, X{i} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode not in modes:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    batch = broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
    if p == 2 and (compute_mode == modes[1] or (compute_mode == modes[0] and max(x1.shape[-2], x2.shape[-2]) > 25)):
        a = jnp.broadcast_to(x1, batch + x1.shape[-2:])
        b = jnp.broadcast_to(x2, batch + x2.shape[-2:])
        squares = jnp.sum(a * a, -1)[..., :, None] + jnp.sum(b * b, -1)[..., None, :]
        total = squares - 2 * jnp.einsum("...pm,...rm->...pr", a, b)
        positive = total > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, total, 1)), 0)
    return _distance(x1[..., :, None, :] - x2[..., None, :, :], p)


@op(namespaces=("torch", "nn.functional"), method=False, out=False)
def pdist(input: Array, p: float = 2.0):
    """p-norm distances between the pairs of rows of ``(N, M)``, in order of the upper triangle: ``(N (N-1) / 2,)``."""
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    require_float("pdist", input)
    i, j = np.triu_indices(input.shape[0], 1)
    return _distance(input[i] - input[j], p)


# --- margins -------------------------------------------------------------------------------------------------------


@op(namespaces=F, elementwise=False, grad_name="MeanBackward0")
def hinge_embedding_loss(input: Array, target: Array, margin: float = 1.0, reduction: str = "mean"):
    """``x`` where ``y = 1``, ``max(0, margin - x)`` where ``y = -1``."""
    loss = jnp.where(target != 1, hinge(margin - input), 0) + jnp.where(target != -1, input, 0)
    return reduced(loss, reduction)


@op(namespaces=F, promote="default", elementwise=False, grad_name="MeanBackward0")
def margin_ranking_loss(input1: Array, input2: Array, target: Array, margin: float = 0, reduction: str = "mean"):
    """``max(0, -y (x1 - x2) + margin)``.

    Raises:
        RuntimeError: the operands have different numbers of dimensions.
    """
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{size(input1)}, input2: {size(input2)}, target: {size(target)} "
        )
    return reduced(hinge(-target * (input1 - input2) + _like(margin, input1)), reduction)


@op(namespaces=F, promote="keep", elementwise=False, grad_name="MeanBackward0")
def cosine_embedding_loss(input1: Array, input2: Array, target: Array, margin: float = 0, reduction: str = "mean"):
    """``1 - cos(x1, x2)`` where ``y = 1``, ``max(0, cos(x1, x2) - margin)`` where ``y = -1``; ``(N, D)`` or ``(D,)``.

    Raises:
        RuntimeError: the numbers of dimensions do not fit.
    """
    if target.ndim not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.ndim == input2.ndim == target.ndim + 1:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    broadcast_shapes(input1.shape, input2.shape)
    input1, input2 = _floating(input1), _floating(input2)
    tiny = 1e-12  # PyTorch's, added to the squared lengths
    lengths = (jnp.sum(input1 * input1, -1) + tiny) * (jnp.sum(input2 * input2, -1) + tiny)
    cos = jnp.sum(input1 * input2, -1) / jnp.sqrt(lengths)
    loss = jnp.where(target == 1, 1 - cos, 0) + jnp.where(target == -1, hinge(cos - margin), 0)
    return reduced(loss, reduction)


@op(namespaces=F, promote="default", elementwise=False, grad_name="MeanBackward0")
def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
):
    """``max(0, d(a, p) - d(a, n) + margin)``; ``swap`` takes the smaller of ``d(a, n)`` and ``d(p, n)``.

    Raises:
        ValueError: ``margin`` is not positive.
        RuntimeError: the operands have different numbers of dimensions.
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            f"The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    for other in (positive, negative):
        broadcast_shapes(anchor.shape, other.shape)
    eps = _like(eps, anchor)
    near, far = p_norm(anchor - positive + eps, p), p_norm(anchor - negative + eps, p)
    if swap:
        far = jnp.minimum(far, p_norm(positive - negative + eps, p))
    return reduced(hinge(_like(margin, near) + near - far), reduction)


@op(namespaces=F, elementwise=False)
def soft_margin_loss(input: Array, target: Array, reduction: str = "mean"):
    """``log(1 + exp(-y x))``; infinite where the exponential is too large for the dtype, with a finite gradient."""
    broadcast_shapes(input.shape, target.shape)
    require_float("soft_margin_loss", input)
    margin = target * input
    overflow = jnp.where(jnp.isinf(jnp.exp(-margin)), jnp.inf, 0).astype(margin.dtype)
    return reduced((lax.stop_gradient(overflow) - logsigmoid(margin)).astype(input.dtype), reduction)


def _expect_rows(name: str, input, reduction: str) -> None:
    """Raises:
    ValueError: ``reduction`` is unknown.
    RuntimeError: ``input`` is no non-empty vector or matrix of floats.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    require_float(name, input)
    if input.ndim > 2 or 0 in input.shape[-1:]:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )


def _expect_classes(target) -> None:
    if target.dtype != np.int64:
        raise RuntimeError(f"expected scalar type Long but found {type_name(target)}")


def _rows_and_targets(input, target, target_ndim: int):
    """Unbatched operands with a batch of one in front."""
    x = input.reshape(1, -1) if input.ndim < 2 else input
    y = target.reshape((x.shape[0],) + ((x.shape[1],) if target_ndim == 2 else ()))
    return x, y


def _check_classes(low: int):
    def check(input, target, *_, **__):
        return outside(target, input.shape[-1] if input.ndim else 1, low), "target out of range"

    return check


@op(namespaces=F, check=_check_classes(-1), error=RuntimeError)
def multilabel_margin_loss(input: Array, target: Array, reduction: str = "mean"):
    """``Σ_{j, i} max(0, 1 - (x[y_j] - x[i])) / C``, over target classes ``y_j`` (up to the first -1) and others ``i``.

    Shapes ``(C,)`` or ``(N, C)``, the target like the input.

    Raises:
        RuntimeError: the target is of another size, the input not 1-d or 2-d.
    """
    _expect_rows("multilabel_margin_loss", input, reduction)
    if target.shape != input.shape:
        raise RuntimeError(f"inconsistent target size: {size(target)} for input of size: {size(input)}")
    _expect_classes(target)
    x, y = _rows_and_targets(input, target, 2)
    classes = x.shape[1]
    used = jnp.cumprod(y >= 0, 1).astype(bool)
    is_target = jnp.any((y[:, :, None] == jnp.arange(classes)) & used[:, :, None], 1)
    picked = jnp.take_along_axis(x, jnp.clip(y, 0, classes - 1), 1)
    gap = 1 - picked[:, :, None] + x[:, None, :]
    counts = used[:, :, None] & ~is_target[:, None, :] & (gap > 0)
    loss = jnp.sum(jnp.where(counts, gap, 0), (1, 2)) / classes
    return reduced(loss[0] if input.ndim < 2 else loss, reduction)


@op(namespaces=F, check=_check_classes(0), error=RuntimeError)
def multi_margin_loss(
    input: Array,
    target: Array,
    p: int = 1,
    margin: float = 1.0,
    weight: Array | None = None,
    reduction: str = "mean",
):
    """``Σ_{i ≠ y} w_y max(0, margin - x[y] + x[i])ᵖ / C`` with ``p`` 1 or 2, for ``(N, C)`` and ``(N,)`` or a sample.

    Raises:
        ValueError: ``p`` is neither 1 nor 2, or ``weight`` has no single dimension.
        RuntimeError: the target or weight is of another size, or of a type that is not of classes.
    """
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError(f"weight must be one-dimensional, got {size(weight)}")
    _expect_rows("multi_margin_loss", input, reduction)
    if target.size != (input.shape[0] if input.ndim == 2 else 1):
        raise RuntimeError(f"inconsistent target size, expected {input.shape[:-1]} but got {size(target)}")
    x, y = _rows_and_targets(input, target, 1)
    classes = x.shape[1]
    if weight is not None and weight.size != classes:
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got {size(weight)}")
    _expect_classes(target)
    y = jnp.clip(y, 0, classes - 1)
    gap = margin - jnp.take_along_axis(x, y[:, None], 1) + x
    gap = jnp.where((jnp.arange(classes) != y[:, None]) & (gap > 0), gap, 0)
    gap = gap * gap if p == 2 else gap
    if weight is not None:
        gap = gap * weight[y][:, None]
    loss = jnp.sum(gap, 1) / classes
    return reduced(loss.reshape(target.shape) if input.ndim < 2 else loss, reduction)


@op(namespaces=F, promote="default", elementwise=False, grad_name="MeanBackward0")
def multilabel_soft_margin_loss(
    input: Array, target: Array | Number, weight: Array | Number | None = None, reduction: str = "mean"
):
    """``-Σ_c w_c (y log σ(x) + (1 - y) log σ(-x)) / C`` over the last dimension."""
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(jnp.sum(loss, -1) / input.shape[-1], reduction)
