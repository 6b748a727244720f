"""Losses, and the optimizers of ONNX's training domain."""

from __future__ import annotations

import jtorch
from jtorch.nn import functional as F

from .registry import handles


def _picked(n, log_prob, target, weight):
    ignored = n.get("ignore_index")
    target = target.to(jtorch.int64)
    keep = jtorch.ones_like(target, dtype=jtorch.bool) if ignored is None else target != ignored
    safe = jtorch.where(keep, target, jtorch.zeros_like(target))
    each = -jtorch.gather(log_prob, 1, safe.unsqueeze(1)).squeeze(1)
    scale = jtorch.ones_like(each) if weight is None else weight[safe]
    scale = jtorch.where(keep, scale, jtorch.zeros_like(scale))
    each = each * scale
    kind = n.get("reduction", "mean")
    if kind == "none":
        return each
    return each.sum() if kind == "sum" else each.sum() / scale.sum()


@handles("NegativeLogLikelihoodLoss")
def nll(n, log_prob, target, weight=None):
    return _picked(n, log_prob, target, weight)


@handles("SoftmaxCrossEntropyLoss")
def cross_entropy(n, scores, target, weight=None):
    log_prob = F.log_softmax(scores, 1)
    return _picked(n, log_prob, target, weight), log_prob


_TRAINING = "ai.onnx.preview.training"


@handles("Momentum", domain=_TRAINING)
def momentum(n, rate, step, *tensors):
    count = len(tensors) // 3
    first = (step == 0).to(jtorch.float32)
    alpha, beta, decay = n.get("alpha"), n.get("beta"), n.get("norm_coefficient", 0.0)
    new_x, new_v = [], []
    for x, g, v in zip(tensors[:count], tensors[count : 2 * count], tensors[2 * count :], strict=True):
        g = g + decay * x
        v = alpha * v + g * (first + (1 - first) * beta)
        new_v.append(v)
        new_x.append(x - rate * (g + alpha * v if n.get("mode") == "nesterov" else v))
    return (*new_x, *new_v)


@handles("Adagrad", domain=_TRAINING)
def adagrad(n, rate, step, *tensors):
    count = len(tensors) // 3
    rate = rate / (1 + step * n.get("decay_factor", 0.0))
    new_x, new_h = [], []
    for x, g, h in zip(tensors[:count], tensors[count : 2 * count], tensors[2 * count :], strict=True):
        g = g + n.get("norm_coefficient", 0.0) * x
        h = h + g * g
        new_x.append(x - rate * g / (jtorch.sqrt(h) + n.get("epsilon", 1e-6)))
        new_h.append(h)
    return (*new_x, *new_h)


@handles("Adam", domain=_TRAINING)
def adam(n, rate, step, *tensors):
    count = len(tensors) // 4
    alpha, beta, eps = n.get("alpha", 0.9), n.get("beta", 0.999), n.get("epsilon", 1e-6)
    corrected = rate * jtorch.where(step > 0, jtorch.sqrt(1 - beta**step) / (1 - alpha**step), jtorch.ones_like(rate))
    parts = [tensors[i * count : (i + 1) * count] for i in range(4)]
    new_x, new_v, new_h = [], [], []
    for x, g, v, h in zip(*parts, strict=True):
        g = g + n.get("norm_coefficient", 0.0) * x
        v, h = alpha * v + (1 - alpha) * g, beta * h + (1 - beta) * g * g
        new_x.append((x - corrected * v / (jtorch.sqrt(h) + eps)) * (1 - n.get("norm_coefficient_post", 0.0)))
        new_v.append(v)
        new_h.append(h)
    return (*new_x, *new_v, *new_h)
