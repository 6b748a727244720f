"""Losses with PyTorch's signatures: the ops, and the older ``size_average`` and ``reduce`` in their places."""

from __future__ import annotations

import warnings

import jtorch

from ...ops.registry import OPS
from ...tensor import Tensor
from ...tensor.dispatch import dispatch
from ...tensor.export import function
from .._reduction import legacy_get_string

#: Losses that take a target of another size.
_BROADCAST = frozenset(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"))


def _warn_of_sizes(input, target) -> None:
    warnings.warn(
        f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
        "lead to incorrect results due to broadcasting. Please ensure they have the same size.",
        stacklevel=3,
    )


def _loss(op_name: str, signature: str):
    """A loss with the parameters ``signature`` (PyTorch's), which may hold ``size_average`` and ``reduce``."""
    op = OPS[op_name]
    names = [p.split("=")[0].strip() for p in signature.split(",")]
    legacy = "reduce" in names
    own = {p.name for p in op.parameters}
    missing = own - set(names)
    if missing or set(names) - own - {"size_average", "reduce"}:
        raise TypeError(f"the parameters of {op_name} are {sorted(own)}, not {names}")
    lines = [f"def {op_name}({signature}):"]
    if legacy:
        lines.append("    if size_average is not None or reduce is not None:")
        lines.append("        reduction = legacy(size_average, reduce)")
    if op_name in _BROADCAST:
        lines.append("    if input.shape != target.shape:")
        lines.append("        warn_of_sizes(input, target)")
    operands = "".join(f"{n}, " for n in op.operand_names)
    statics = "".join(f"{n}, " for n in op.static_names)
    lines.append(f"    return dispatch(OP, ({operands}), ({statics}))")
    space = {"OP": op, "dispatch": dispatch, "legacy": legacy_get_string,
             "warn_of_sizes": _warn_of_sizes}  # fmt: skip
    exec(compile("\n".join(lines), f"<jtorch {op_name}>", "exec"), space)
    f = space[op_name]
    f.__doc__ = op.doc
    f.__module__ = "jtorch.nn.functional"
    return f


_OLD = "size_average=None, reduce=None, reduction='mean'"
nll_loss = _loss(
    "nll_loss", "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean'"
)
cross_entropy = _loss(
    "cross_entropy",
    "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', "
    "label_smoothing=0.0",
)
binary_cross_entropy = _loss("binary_cross_entropy", f"input, target, weight=None, {_OLD}")
binary_cross_entropy_with_logits = _loss(
    "binary_cross_entropy_with_logits", f"input, target, weight=None, {_OLD}, pos_weight=None"
)
mse_loss = _loss("mse_loss", f"input, target, {_OLD}, weight=None")
l1_loss = _loss("l1_loss", f"input, target, {_OLD}, weight=None")
smooth_l1_loss = _loss("smooth_l1_loss", f"input, target, {_OLD}, beta=1.0")
huber_loss = _loss("huber_loss", "input, target, reduction='mean', delta=1.0, weight=None")
poisson_nll_loss = _loss(
    "poisson_nll_loss",
    "input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction='mean'",
)
hinge_embedding_loss = _loss("hinge_embedding_loss", f"input, target, margin=1.0, {_OLD}")
margin_ranking_loss = _loss("margin_ranking_loss", f"input1, input2, target, margin=0, {_OLD}")
cosine_embedding_loss = _loss("cosine_embedding_loss", f"input1, input2, target, margin=0, {_OLD}")
triplet_margin_loss = _loss(
    "triplet_margin_loss", f"anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, {_OLD}"
)
soft_margin_loss = _loss("soft_margin_loss", f"input, target, {_OLD}")
multilabel_margin_loss = _loss("multilabel_margin_loss", f"input, target, {_OLD}")
multi_margin_loss = _loss("multi_margin_loss", f"input, target, p=1, margin=1.0, weight=None, {_OLD}")
multilabel_soft_margin_loss = _loss("multilabel_soft_margin_loss", f"input, target, weight=None, {_OLD}")
_kl_div = _loss("kl_div", f"input, target, {_OLD}, log_target=False")
_gaussian_nll_loss = function(OPS["gaussian_nll_loss"])
_ctc_loss = function(OPS["ctc_loss"])


def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """``y (log y - x)`` for log-probabilities ``x``; ``log_target``: the target is a logarithm as well.

    ``reduction="batchmean"`` is the sum over the first size, which is the mathematical definition.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. 'batchmean' divides "
            "only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    return _kl_div(input, target, None, None, reduction, log_target)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """``(log max(var, eps) + (x - y)² / max(var, eps)) / 2``, plus ``log(2 π) / 2`` with ``full``.

    Raises:
        ValueError: ``var`` is of a size that does not fit, or a negative number.
    """
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * jtorch.ones_like(input)
    return _gaussian_nll_loss(input, target, var, full, eps, reduction)


def ctc_loss(
    log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False
):  # fmt: skip
    """The negative log-likelihood of ``targets`` under all alignments (Graves et al., 2006).

    Args:
        log_probs: ``(T, N, C)`` or ``(T, C)``.
        targets: ``(N, S)``, or all targets one after another.
        input_lengths, target_lengths: tensors or sequences of ints.
        blank: the class that stands for no label.
        zero_infinity: replace infinite losses (and their gradients) by 0.

    Raises:
        RuntimeError: lengths are not integers, or ones given as a sequence are negative or longer than what is there.
    """
    most = {"input_lengths": log_probs.shape[0], "target_lengths": targets.shape[1] if targets.dim() == 2 else None}

    def lengths(name, x):
        if isinstance(x, Tensor):
            if x.is_floating_point() or x.is_complex():
                raise RuntimeError(f"{name} must be integral")
            return x
        for n in x:
            if n < 0 or most[name] is not None and n > most[name]:
                bound = "least 0" if n < 0 else f"most {most[name]}"
                raise RuntimeError(f"ctc_loss: expected {name} to have value at {bound}, but got value {n}")
        return jtorch.tensor(x, dtype=jtorch.int64, device=log_probs.device)

    found = lengths("input_lengths", input_lengths), lengths("target_lengths", target_lengths)
    return _ctc_loss(log_probs, targets, *found, blank, reduction, zero_infinity)


def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """``max(d(a, p) - d(a, n) + margin, 0)`` for a distance of your own (default: the Euclidean one).

    Raises:
        ValueError: the margin is not positive, or the reduction unknown.
        RuntimeError: the operands have different numbers of dimensions.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.dim()}D, positive {positive.dim()}D, and negative {negative.dim()}D inputs"
        )
    distance = jtorch.pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = jtorch.minimum(far, distance(positive, negative))
    loss = jtorch.clamp_min(margin + near - far, 0)
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss
