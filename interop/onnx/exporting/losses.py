"""Losses, for models that compute theirs."""

from __future__ import annotations

from .builder import short
from .dims import Varying
from .table import refuse, translates


def _reduced(g, x, reduction: str):
    return x if reduction == "none" else g.reduce(reduction.capitalize(), x, None, False)


@translates("mse_loss", "l1_loss")
def _plain(g, node, input, target, weight, reduction):
    if weight is not None:
        refuse(node, "weight")
    gap = g.Sub(input, target)
    return _reduced(g, g.Mul(gap, gap) if node.name == "mse_loss" else g.Abs(gap), reduction)


@translates("smooth_l1_loss")
def _smooth_l1(g, node, input, target, reduction, beta):
    gap = g.Abs(g.Sub(input, target))
    if beta:
        near = g.Mul(g.Mul(gap, gap), g.scalar(0.5 / beta, input))
        gap = g.Where(g.Less(gap, g.scalar(beta, input)), near, g.Sub(gap, g.scalar(beta / 2, input)))
    return _reduced(g, gap, reduction)


@translates("huber_loss")
def _huber(g, node, input, target, weight, reduction, delta):
    if weight is not None:
        refuse(node, "weight")
    gap = g.Abs(g.Sub(input, target))
    far = g.Mul(g.scalar(delta, input), g.Sub(gap, g.scalar(delta / 2, input)))
    near = g.Mul(g.Mul(gap, gap), g.scalar(0.5, input))
    return _reduced(g, g.Where(g.LessOrEqual(gap, g.scalar(delta, input)), near, far), reduction)


@translates("nll_loss")
def _nll(g, node, input, target, weight, ignore_index, reduction):
    if input.ndim < 2:
        refuse(node, "a single sample")
    return g.NegativeLogLikelihoodLoss(input, target, weight, ignore_index=ignore_index, reduction=reduction)


@translates("cross_entropy")
def _cross_entropy(g, node, input, target, weight, ignore_index, reduction, label_smoothing):
    if label_smoothing or not short(target.dtype).startswith("int") or input.ndim < 2:
        refuse(node, "label smoothing, probabilities as targets, or a single sample")
    return g.SoftmaxCrossEntropyLoss(input, target, weight, ignore_index=ignore_index, reduction=reduction)


@translates("binary_cross_entropy")
def _bce(g, node, input, target, weight, reduction):
    one, floor = g.scalar(1, input), g.scalar(-100, input)
    yes, no = (g.Max(g.Log(p), floor) for p in (input, g.Sub(one, input)))
    loss = g.Neg(g.Add(g.Mul(target, yes), g.Mul(g.Sub(one, target), no)))
    return _reduced(g, loss if weight is None else g.Mul(loss, weight), reduction)


@translates("binary_cross_entropy_with_logits")
def _bce_logits(g, node, input, target, weight, pos_weight, reduction):
    one = g.scalar(1, input)
    yes, no = g.Softplus(g.Neg(input)), g.Softplus(input)  # -log σ(x) and -log σ(-x)
    yes = g.Mul(target, yes if pos_weight is None else g.Mul(yes, pos_weight))
    loss = g.Add(yes, g.Mul(g.Sub(one, target), no))
    return _reduced(g, loss if weight is None else g.Mul(loss, weight), reduction)


@translates("kl_div")
def _kl_div(g, node, input, target, reduction, log_target):
    if log_target:
        loss = g.Mul(g.Exp(target), g.Sub(target, input))
    else:
        zero = g.scalar(0, input)
        inside = g.Where(g.Greater(target, zero), target, g.scalar(1, input))
        loss = g.Sub(g.Where(g.Greater(target, zero), g.Mul(target, g.Log(inside)), zero), g.Mul(target, input))
    if reduction != "batchmean":
        return _reduced(g, loss, reduction)
    total, batch = g.reduce("Sum", loss, None, False), input.shape[0]
    return g.Div(total, g.const(batch if isinstance(batch, Varying) else float(batch), input.dtype))
