"""Losses over classes: cross entropy in its forms, Kullback-Leibler divergence, CTC."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import dtypes
from .activation import logsigmoid
from .elementwise import require_type, type_name
from .loops import scan
from .loss import F, reduced, require_float, size
from .registry import Array, op
from .softmax import log_softmax_along, widened

# --- class indices -------------------------------------------------------------------------------------------------


def _class_dim(x) -> int:
    return 1 if x.ndim > 1 else 0


def _is_class(target, x):
    """``(N, C, ...)``: whether the target at a position is that class."""
    dim = _class_dim(x)
    return jnp.expand_dims(target, dim) == lax.broadcasted_iota(target.dtype, x.shape, dim)


def _at_class(x, target):
    dim = _class_dim(x)
    index = jnp.expand_dims(jnp.clip(target, 0, x.shape[dim] - 1), dim)
    return jnp.take_along_axis(x, index, dim, mode="clip").squeeze(dim)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _picked(x, target, shape):
    """``x`` at the target class. Own gradient: a comparison in place of a scatter, which is serial on CPU."""
    return _at_class(x, target)


def _picked_bwd(shape, target, g):
    like = jax.ShapeDtypeStruct(shape, g.dtype)
    return jnp.where(_is_class(target, like), jnp.expand_dims(g, _class_dim(like)), 0), None


_picked.defvjp(lambda x, target, shape: (_at_class(x, target), target), _picked_bwd)


def _check_sizes(input, target, weight) -> None:
    if input.ndim == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if input.ndim == 1 and target.shape not in ((), (1,)):
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {target.shape[0]}")
    rows = target.shape[0] if target.ndim else 0
    if input.ndim > 1 and input.shape[0] != rows:
        raise ValueError(f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({rows}).")
    expected = target.shape if input.ndim == 1 else (input.shape[0], *input.shape[2:])
    if target.shape != expected:
        if target.ndim == len(expected):
            raise RuntimeError(f"Expected target size {list(expected)}, got {list(target.shape)}")
        if input.ndim == 4:
            raise RuntimeError(
                f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {target.ndim}"
            )
        raise RuntimeError(
            f"0D or 1D target tensor expected, multi-target not supported: an input of shape {list(input.shape)} takes "
            f"a target of shape {list(expected)}, got {list(target.shape)}"
        )
    if target.dtype not in (np.int64, np.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {type_name(target)}: use target.long()")
    classes = input.shape[_class_dim(input)]
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(weight.shape)}"
        )
    require_type(input, weight)


def _range_check(input, target, ignore_index=-100, **_):
    """Whether a target is neither a class nor the ignored index."""
    if jnp.issubdtype(target.dtype, jnp.floating):
        return jnp.zeros((), bool), ""
    classes = input.shape[_class_dim(input)]
    bad = ((target < 0) | (target >= classes)) & (target != ignore_index)
    return jnp.any(bad), (
        f"Target is out of bounds: class indices lie in [0, {classes - 1}] (or are ignore_index={ignore_index})."
    )


def _target_weight(target, weight, ignore_index: int, dtype):
    """The weight of each target's class; 0 where the target is ignored."""
    valid = target != ignore_index
    if weight is None:
        return valid.astype(dtype)
    return jnp.where(valid, _at_class_weight(weight, target), 0).astype(dtype)


def _at_class_weight(weight, target):
    return jnp.take(lax.stop_gradient(weight), jnp.clip(target, 0, weight.shape[0] - 1), mode="clip")


def _mean_over(loss, weights, reduction: str):
    if reduction == "mean":
        return jnp.sum(loss) / jnp.sum(weights)
    return reduced(loss, reduction)


@op(namespaces=F, check=_range_check)
def nll_loss(
    input: Array, target: Array, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
):
    """``-w[y] x[y]`` for log-probabilities ``(C,)``, ``(N, C)`` or ``(N, C, d...)`` and classes without the C.

    The mean divides by the sum of the weights; targets equal to ``ignore_index`` do not count.

    Raises:
        ValueError, RuntimeError: the sizes do not match.
        IndexError: a target is not a class.
    """
    _check_sizes(input, target, weight)
    require_float("nll_loss_out_frame", input)
    if input.ndim == 1:
        target = target.reshape(())
    x = widened(input)
    weights = _target_weight(target, weight, ignore_index, x.dtype)
    loss = jnp.where(weights == 0, 0, -_picked(x, target, x.shape) * weights)
    return _mean_over(loss, weights, reduction).astype(input.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _entropies(x, target, weight, ignore_index, smoothing):
    """Weighted cross entropy of each position.

    Own gradient, ``softmax(x) - target`` from the logits and their log-sum-exp: the log-probabilities are never
    stored, and no scatter is needed.
    """
    return _entropies_fwd(x, target, weight, ignore_index, smoothing)[0]


def _entropies_fwd(x, target, weight, ignore_index, smoothing):
    dim = _class_dim(x)
    x32 = widened(x)
    lse = jax.nn.logsumexp(x32, axis=dim)
    weights = _target_weight(target, weight, ignore_index, x32.dtype)
    loss = jnp.where(weights == 0, 0, (lse - _at_class(x32, target)) * weights)
    if smoothing:
        w = _along_classes(weight, x32)
        over_classes = jnp.sum(w * (jnp.expand_dims(lse, dim) - x32), dim)
        smooth = jnp.where(target == ignore_index, 0, over_classes)
        loss = (1 - smoothing) * loss + smoothing / x.shape[dim] * smooth
    return loss, (x, lse, target, weight)


def _along_classes(weight, x):
    """The class weights, (or ones), shaped to multiply ``(N, C, ...)``."""
    if weight is None:
        return jnp.ones((1,) * x.ndim, x.dtype)
    shape = [1] * x.ndim
    shape[_class_dim(x)] = -1
    return weight.astype(x.dtype).reshape(shape)


def _entropies_bwd(ignore_index, smoothing, saved, g):
    x, lse, target, weight = saved
    dim = _class_dim(x)
    x32 = widened(x)
    classes = x.shape[dim]
    weights = _target_weight(target, weight, ignore_index, x32.dtype)
    hit = jnp.where(weights == 0, 0, g * weights * (1 - smoothing))  # the mean of nothing has an infinite g
    spread, even = hit, None
    if smoothing:
        total = classes if weight is None else jnp.sum(weight.astype(x32.dtype))
        even = jnp.where(target == ignore_index, 0, g * (smoothing / classes))
        spread = hit + even * total
    p = jnp.exp(x32 - jnp.expand_dims(lse, dim))
    dx = p * jnp.expand_dims(spread, dim) - jnp.where(_is_class(target, x), jnp.expand_dims(hit, dim), 0)
    if smoothing:
        dx = dx - _along_classes(weight, x32) * jnp.expand_dims(even, dim)
    return dx.astype(x.dtype), None, None


_entropies.defvjp(_entropies_fwd, _entropies_bwd)


@op(namespaces=F, check=_range_check, grad_name="NllLossBackward0")
def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
):
    """``-w[y] log softmax(x)[y]`` for logits ``(C,)``, ``(N, C)``, ``(N, C, d...)``.

    The target holds classes (an integer tensor without the class dimension), or probabilities (a floating tensor like
    the input). ``label_smoothing`` mixes the target with the uniform distribution. The mean divides by the sum of the
    weights for classes, and by the number of positions for probabilities.

    Raises:
        ValueError, RuntimeError: the sizes do not match, or ``label_smoothing`` is outside [0, 1].
        IndexError: a target is not a class.
    """
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    require_float("log_softmax_lastdim_kernel_impl", input)
    if input.shape == target.shape and jnp.issubdtype(target.dtype, jnp.floating):
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing, ignore_index)
    _check_sizes(input, target, weight)
    if input.ndim == 1:
        target = target.reshape(())
    loss = _entropies(input, target, weight, ignore_index, label_smoothing)
    weights = _target_weight(target, weight, ignore_index, loss.dtype)
    return _mean_over(loss, weights, reduction).astype(input.dtype)


def _cross_entropy_of_probabilities(x, target, weight, reduction, smoothing, ignore_index):
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    if x.ndim == 0:
        raise RuntimeError("input tensor should be 1D or more")
    dim = _class_dim(x)
    x32 = widened(x)
    wide = jnp.promote_types(x.dtype, target.dtype)  # the result's
    target = target.astype(jnp.promote_types(x32.dtype, target.dtype))
    if smoothing:
        target = target * (1 - smoothing) + smoothing / x.shape[dim]
    loss = -jnp.sum(log_softmax_along(x32, dim) * target * _along_classes(weight, x32), dim)
    if reduction == "mean":
        positions = x.size // max(x.shape[dim], 1)
        return (jnp.sum(loss) / positions).astype(wide)
    return reduced(loss, reduction).astype(wide)


# --- probabilities -------------------------------------------------------------------------------------------------


@jax.custom_vjp
def _binary_entropy(p, y):
    """Own gradient: PyTorch's bound on ``p (1 - p)``, in place of the logarithms' infinite slopes at 0 and 1."""
    return (y - 1) * jnp.maximum(jnp.log1p(-p), -100) - y * jnp.maximum(jnp.log(p), -100)


def _binary_entropy_bwd(saved, g):
    p, y = saved
    slope = jnp.maximum(jnp.log1p(-p), -100) - jnp.maximum(jnp.log(p), -100)
    return g * (p - y) / jnp.maximum((1 - p) * p, 1e-12), g * slope


_binary_entropy.defvjp(lambda p, y: (_binary_entropy(p, y), (p, y)), _binary_entropy_bwd)


def _probability_check(input, target, *_, **__):
    """Whether something is no probability; NaN is none."""
    outside = [jnp.any(~((x >= 0) & (x <= 1))) for x in (input, target)]
    return outside[0] | outside[1], (
        "all elements of input should be between 0 and 1, and all elements of target should be between 0 and 1 as well"
    )


def _probability_types(common, input, target, *weights) -> None:
    if target.dtype != input.dtype:
        raise RuntimeError(f"Found dtype {type_name(target)} but expected {type_name(input)}: use target.to(input)")


def _logit_types(common, input, target, *weights) -> None:
    if target.dtype.category < dtypes.FLOAT:
        raise RuntimeError(
            f"result type {type_name(input)} can't be cast to the desired output type {type_name(target)}: use "
            "target.float()"
        )


@op(
    namespaces=F, promote="default", elementwise=False, check=_probability_check, error=RuntimeError,
    types=_probability_types,
)  # fmt: skip
def binary_cross_entropy(input: Array, target: Array, weight: Array | None = None, reduction: str = "mean"):
    """``-w (y log x + (1 - y) log(1 - x))`` for probabilities; the logarithms are bounded below by -100.

    Raises:
        ValueError: the sizes differ.
        RuntimeError: an element of ``input`` or ``target`` is outside [0, 1], or they are of different types.
    """
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({size(target)}) that is different to the input size ({size(input)}) is deprecated. "
            "Please ensure they have the same size."
        )
    require_float("binary_cross_entropy", input)
    loss = _binary_entropy(widened(input), widened(target)).astype(input.dtype)
    return reduced(loss if weight is None else loss * weight, reduction)


@op(namespaces=F, promote="default", elementwise=False, types=_logit_types)
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
):
    """``-w (pos_weight y log σ(x) + (1 - y) log σ(-x))``, without overflow.

    Raises:
        ValueError: the sizes differ.
        RuntimeError: ``target`` is of integers.
    """
    if input.shape != target.shape:
        raise ValueError(f"Target size ({size(target)}) must be the same as input size ({size(input)})")
    require_float("binary_cross_entropy_with_logits", input)
    x, y = widened(input), widened(target)
    positive = 1 if pos_weight is None else 1 + (widened(pos_weight) - 1) * y
    loss = ((1 - y) * x - positive * logsigmoid(x)).astype(input.dtype)
    return reduced(loss if weight is None else loss * weight, reduction)


@op(namespaces=F, promote="default", elementwise=False)
def kl_div(input: Array, target: Array, reduction: str = "mean", log_target: bool = False):
    """``y (log y - x)`` for log-probabilities ``x``; ``log_target``: the target is a logarithm as well.

    ``reduction`` may be ``"batchmean"``: the sum over the first size.
    """
    require_float("kl_div", input)
    if log_target:
        loss = jnp.exp(target) * (target - input)
    else:
        # the gradient of a target that is 0 is NaN, as PyTorch's is
        loss = jnp.where(target == 0, 0, target * jnp.log(target)) - target * input
    if reduction == "batchmean":
        total = reduced(loss, "sum")
        return total / input.shape[0] if input.ndim else total
    return reduced(loss, reduction)


# --- connectionist temporal classification -------------------------------------------------------------------------

_NEVER = -1e30  # log of zero that survives subtraction


def _log_sum(*terms):
    top = lax.stop_gradient(jnp.stack(terms).max(0))
    return top + jnp.log(sum(jnp.exp(t - top) for t in terms))


def _alignment_nll(log_probs, labels, input_lengths, target_lengths, blank: int):
    """``-log p(labels)`` per sequence, by the forward recursion of Graves et al. (2006) over blank-extended labels."""
    steps, batch, _ = log_probs.shape
    longest = labels.shape[1]
    extended = jnp.full((batch, 2 * longest + 1), blank, labels.dtype).at[:, 1::2].set(labels)
    before = jnp.pad(extended, ((0, 0), (2, 0)), constant_values=blank)[:, :-2]
    may_skip = (extended != blank) & (extended != before)
    index = jnp.broadcast_to(extended[None], (steps, *extended.shape))
    emitted = jnp.maximum(jnp.take_along_axis(log_probs, index, 2, mode="clip"), _NEVER)

    state = jnp.arange(2 * longest + 1)
    first = jnp.where((state == 0) | ((state == 1) & (target_lengths[:, None] > 0)), emitted[0], _NEVER)

    def shifted(alpha, by):
        return jnp.pad(alpha, ((0, 0), (by, 0)), constant_values=_NEVER)[:, : alpha.shape[1]]

    def advance(alpha, now):
        t, emission = now
        two = jnp.where(may_skip, shifted(alpha, 2), _NEVER)
        following = jnp.maximum(_log_sum(alpha, shifted(alpha, 1), two) + emission, _NEVER)
        return jnp.where((t < input_lengths)[:, None], following, alpha), None

    alpha, _ = scan(advance, first, (jnp.arange(1, steps), emitted[1:]))
    end = 2 * target_lengths[:, None]
    last = jnp.take_along_axis(alpha, end, 1, mode="clip")[:, 0]
    previous = jnp.take_along_axis(alpha, jnp.maximum(end - 1, 0), 1, mode="clip")[:, 0]
    nll = -_log_sum(last, jnp.where(target_lengths > 0, previous, _NEVER))
    nll = jnp.where(nll > -0.5 * _NEVER, jnp.inf, nll)
    return jnp.where(input_lengths > 0, nll, jnp.where(target_lengths > 0, jnp.inf, 0.0))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _ctc(log_probs, labels, input_lengths, target_lengths, blank):
    """Own gradient: PyTorch's is that of the logits behind ``log_probs``, ``exp(x) - posterior``.

    Behind a ``log_softmax`` the two are the same.
    """
    return _alignment_nll(log_probs, labels, input_lengths, target_lengths, blank)


def _ctc_fwd(log_probs, labels, input_lengths, target_lengths, blank):
    nll, pullback = jax.vjp(lambda x: _alignment_nll(x, labels, input_lengths, target_lengths, blank), log_probs)
    return nll, (pullback, log_probs, input_lengths)


def _ctc_bwd(blank, saved, g):
    pullback, log_probs, input_lengths = saved
    running = (jnp.arange(log_probs.shape[0])[:, None] < input_lengths)[:, :, None]
    dx = pullback(g)[0] + jnp.where(running, jnp.exp(log_probs) * g[None, :, None], 0)
    return dx, None, None, None


_ctc.defvjp(_ctc_fwd, _ctc_bwd)


def _check_lengths(log_probs, targets, input_lengths, target_lengths, *_, **__):
    steps = log_probs.shape[0]
    return jnp.any(input_lengths > steps), f"Expected input_lengths to have value at most {steps} (in ctc_loss)"


@op(namespaces=F, check=_check_lengths, error=RuntimeError)
def ctc_loss(
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
):
    """The negative log-likelihood of label sequences under all alignments with ``log_probs``.

    ``log_probs`` is ``(T, N, C)`` or ``(T, C)``; ``targets`` ``(N, S)``, or all labels in one row ``(sum lengths,)``;
    the lengths ``(N,)`` or 0-d. The mean divides each loss by its target length first. ``zero_infinity`` sets the loss
    of targets that cannot be aligned, and its gradient, to 0.

    Raises:
        RuntimeError: sizes do not match, or ``blank`` is not a class.
    """
    require_float("ctc_loss", log_probs)
    if log_probs.ndim not in (2, 3):
        raise RuntimeError(f"log_probs must be (T, N, C) or (T, C), got {size(log_probs)}")
    batched = log_probs.ndim == 3
    x = widened(log_probs) if batched else widened(log_probs)[:, None]
    steps, batch, classes = x.shape
    if not x.size:
        raise RuntimeError("log_probs tensor must not be empty")
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    if input_lengths.size != batch or target_lengths.size != batch:
        raise RuntimeError("input_lengths must be of size batch_size" if input_lengths.size != batch
                           else "target_lengths must be of size batch_size")  # fmt: skip
    in_lengths = input_lengths.reshape(batch).astype(jnp.int64)
    lengths = target_lengths.reshape(batch).astype(jnp.int64)
    if targets.ndim == 2:
        if targets.shape[0] != batch:
            raise RuntimeError(f"Expected targets of size ({batch}, S), got {size(targets)}")
        labels = targets
    elif not batched or targets.size == 0:
        labels = targets.reshape(batch, -1)
    else:  # one row: the label s of sequence n stands behind those of the sequences before
        position = (jnp.cumsum(lengths) - lengths)[:, None] + jnp.arange(targets.shape[0])
        labels = jnp.take(targets, position, mode="clip")
    labels = jnp.where(jnp.arange(labels.shape[1]) < lengths[:, None], labels, blank).astype(jnp.int64)
    nll = _ctc(x, labels, in_lengths, lengths, blank)
    if zero_infinity:
        nll = jnp.where(jnp.isinf(nll), 0, nll)
    if reduction == "mean":
        nll = jnp.mean(nll / jnp.maximum(lengths, 1).astype(nll.dtype))
    else:
        nll = reduced(nll if batched else nll[0], reduction)
    return nll.astype(log_probs.dtype)
