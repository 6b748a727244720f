"""Update rules of the less common optimizers; see ``optimizer.py`` for what they share.

Numbers that follow from the step count (bias corrections, schedules) are computed in double precision and rounded to
the parameters' type when used, as PyTorch does with Python numbers.
"""

from __future__ import annotations

import jax.numpy as jnp

from .lazily import lazily
from .optimizer import _apply, _ascent, _counted, _keeping, _leaf_update, _lerp, _no_state, _shrunk
from .registry import Array, Arrays, Hyper, op
from .softmax import widened

optax = lazily("optax")


def _rule(update) -> optax.GradientTransformation:
    return optax.GradientTransformation(_no_state, update)


def _double(*numbers):
    return tuple(x.astype(jnp.float64) for x in numbers)


def _columns(new) -> tuple:
    """Results by parameter to results by kind: all parameters, then all of each state."""
    return tuple(x for column in zip(*new, strict=True) for x in column)


# --- Adadelta, Adamax, Rprop ---------------------------------------------------------------------------------------


def adadelta(lr, rho, square_weight, eps, decay):
    def update(g, state, p, kept):
        square, accumulated = state
        g = g + decay * p
        square = kept(square * rho + square_weight * g * g, square)
        delta = jnp.sqrt(accumulated + eps) / jnp.sqrt(square + eps) * g
        return -lr * delta, (square, kept(accumulated * rho + square_weight * delta * delta, accumulated))

    return _rule(update)


@op(namespaces=(), keeps=("params", "square_avg", "acc_delta", "step"))
def _adadelta_step(
    params: Arrays,
    grads: Arrays,
    square_avg: Arrays,
    acc_delta: Arrays,
    step: Array,
    lr: Hyper,
    rho: Hyper,
    eps: Hyper,
    weight_decay: Hyper,
    failed: Array | None = None,
    *,
    maximize: bool = False,
):
    """One step of Adadelta: the new parameters, ``square_avg``, ``acc_delta``, and ``step + 1``."""
    hypers = (lr, rho, 1 - rho, eps, weight_decay)
    return (
        *_apply(adadelta, hypers, failed, params, _ascent(grads, maximize), square_avg, acc_delta),
        _counted(step, failed),
    )


def adamax(step_size, mean_weight, beta2, eps, decay):
    def update(g, state, p, kept):
        g = g + decay * p
        mean = kept(_lerp(state[0], g, mean_weight), state[0])
        largest = kept(jnp.maximum(state[1] * beta2, jnp.abs(g) + eps), state[1])
        return -step_size * mean / largest, (mean, largest)

    return _rule(update)


@op(namespaces=(), keeps=("params", "exp_avg", "exp_inf", "step"))
def _adamax_step(
    params: Arrays,
    grads: Arrays,
    exp_avg: Arrays,
    exp_inf: Arrays,
    step: Array,
    lr: Hyper,
    beta1: Hyper,
    beta2: Hyper,
    eps: Hyper,
    weight_decay: Hyper,
    failed: Array | None = None,
    *,
    maximize: bool = False,
):
    """One step of Adamax: the new parameters, ``exp_avg``, ``exp_inf``, and ``step + 1``."""
    lr, beta1, count = _double(lr, beta1, step + 1)
    hypers = (lr / (1 - beta1**count), 1 - beta1, beta2, eps, weight_decay)
    return (*_apply(adamax, hypers, failed, params, _ascent(grads, maximize), exp_avg, exp_inf), _counted(step, failed))


def rprop(eta_minus, eta_plus, smallest, largest):
    def update(g, state, p, kept):
        previous, size = state
        turn = jnp.sign(g * previous)
        factor = jnp.where(turn > 0, eta_plus, jnp.where(turn < 0, eta_minus, jnp.where(turn == 0, 1, turn)))
        size = kept(jnp.clip(size * factor, smallest, largest), size)
        g = jnp.where(turn < 0, 0, g)  # where the slope turned, stay, and forget the direction
        return -jnp.sign(g) * size, (kept(g, previous), size)

    return _rule(update)


@op(namespaces=(), keeps=("params", "prev", "step_size", "step"))
def _rprop_step(
    params: Arrays,
    grads: Arrays,
    prev: Arrays,
    step_size: Arrays,
    step: Array,
    eta_minus: Hyper,
    eta_plus: Hyper,
    smallest: Hyper,
    largest: Hyper,
    failed: Array | None = None,
    *,
    maximize: bool = False,
):
    """One step of Rprop: the new parameters, ``prev``, ``step_size``, and ``step + 1``."""
    hypers = (eta_minus, eta_plus, smallest, largest)
    return (*_apply(rprop, hypers, failed, params, _ascent(grads, maximize), prev, step_size), _counted(step, failed))


# --- ASGD ----------------------------------------------------------------------------------------------------------


def _asgd_leaf(hypers, p, g, average):
    """One parameter: the average wants the new value itself, not an update. All of it is right for complex numbers."""
    eta, kept, averaging, decay = hypers
    real = widened(p).real.dtype
    eta, kept, averaging, decay = (h.astype(real) for h in (eta, kept, averaging, decay))
    wide_p, wide_g, wide_average = widened(p), widened(g), widened(average)
    new = wide_p * kept - eta * (wide_g + decay * wide_p)
    average = jnp.where(averaging == 1, new, wide_average + (new - wide_average) * averaging)
    return new.astype(p.dtype), average.astype(p.dtype)


@op(namespaces=())
def _asgd_step(
    params: Arrays,
    grads: Arrays,
    ax: Arrays,
    eta: Arrays,
    mu: Arrays,
    step: Array,
    lr: Hyper,
    lambd: Hyper,
    alpha: Hyper,
    t0: Hyper,
    weight_decay: Hyper,
    *,
    maximize: bool = False,
):
    """One step of ASGD: the new parameters, averages ``ax``, rates ``eta`` and weights ``mu``, and ``step + 1``."""
    lr, lambd, alpha, t0, count = _double(lr, lambd, alpha, t0, step + 1)
    next_eta = lr / (1 + lambd * lr * count) ** alpha
    next_mu = 1 / jnp.maximum(1.0, count - t0)
    new = []
    for p, g, average, rate, weight in zip(params, _ascent(grads, maximize), ax, eta, mu, strict=True):
        (now,) = _double(rate)
        leaf = _asgd_leaf((now, 1 - lambd * now, weight, weight_decay), p, g, average)
        new.append((*leaf, next_eta.astype(rate.dtype), next_mu.astype(weight.dtype)))
    return (*_columns(new), step + 1)


# --- NAdam and RAdam -----------------------------------------------------------------------------------------------


def nadam(grad_size, mean_size, correction, mean_weight, beta2, square_weight, eps, decay):
    def update(g, state, p, kept):
        g = g + decay * p
        mean = kept(_lerp(state[0], g, mean_weight), state[0])
        square = kept(state[1] * beta2 + square_weight * g * g, state[1])
        root = jnp.sqrt(square / correction) + eps
        return -grad_size * g / root - mean_size * mean / root, (mean, square)

    return _rule(update)


@op(namespaces=(), keeps=("params", "exp_avg", "exp_avg_sq", "mu_product", "step"))
def _nadam_step(
    params: Arrays,
    grads: Arrays,
    exp_avg: Arrays,
    exp_avg_sq: Arrays,
    mu_product: Arrays,
    step: Array,
    lr: Hyper,
    beta1: Hyper,
    beta2: Hyper,
    eps: Hyper,
    weight_decay: Hyper,
    momentum_decay: Hyper,
    failed: Array | None = None,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
):
    """One step of NAdam: the new parameters, ``exp_avg``, ``exp_avg_sq``, ``mu_product``, and ``step + 1``."""
    lr, beta1, beta2, decay, count = _double(lr, beta1, beta2, weight_decay, step + 1)
    (momentum_decay,) = _double(momentum_decay)
    mu = beta1 * (1 - 0.5 * 0.96 ** (count * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((count + 1) * momentum_decay))
    if decoupled_weight_decay:
        params, decay = _shrunk(params, 1 - lr * decay, failed), jnp.zeros_like(decay)
    new = []
    columns = (params, _ascent(grads, maximize), exp_avg, exp_avg_sq, mu_product)
    for p, g, mean, square, product in zip(*columns, strict=True):
        old, product = product, product * mu.astype(product.dtype)
        (so_far,) = _double(product)
        sizes = (lr * (1 - mu) / (1 - so_far), lr * mu_next / (1 - so_far * mu_next))
        hypers = (*sizes, 1 - beta2**count, 1 - beta1, beta2, 1 - beta2, eps, decay)
        new.append((*_leaf_update(nadam, hypers, failed, p, g, mean, square), _keeping(failed)(product, old)))
    return (*_columns(new), _counted(step, failed))


def radam(lr, correction1, root, rectification, mean_weight, beta2, square_weight, eps, decay):
    """``rectification`` is 0 while the variance of the second moment is intractable: then only the mean counts."""

    def update(g, state, p, kept):
        g = g + decay * p
        mean = kept(_lerp(state[0], g, mean_weight), state[0])
        square = kept(state[1] * beta2 + square_weight * g * g, state[1])
        corrected = mean / correction1 * lr
        adapted = corrected * (root / (jnp.sqrt(square) + eps)) * rectification
        return -jnp.where(rectification > 0, adapted, corrected), (mean, square)

    return _rule(update)


@op(namespaces=(), keeps=("params", "exp_avg", "exp_avg_sq", "step"))
def _radam_step(
    params: Arrays,
    grads: Arrays,
    exp_avg: Arrays,
    exp_avg_sq: Arrays,
    step: Array,
    lr: Hyper,
    beta1: Hyper,
    beta2: Hyper,
    eps: Hyper,
    weight_decay: Hyper,
    failed: Array | None = None,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
):
    """One step of RAdam: the new parameters, ``exp_avg``, ``exp_avg_sq``, and ``step + 1``."""
    lr, beta1, beta2, decay, count = _double(lr, beta1, beta2, weight_decay, step + 1)
    if decoupled_weight_decay:
        params, decay = _shrunk(params, 1 - lr * decay, failed), jnp.zeros_like(decay)
    correction2 = 1 - beta2**count
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * count * beta2**count / correction2
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    rectification = jnp.where(length > 5, jnp.sqrt(ratio), 0)
    numbers = (lr, 1 - beta1**count, jnp.sqrt(correction2), rectification, 1 - beta1, beta2, 1 - beta2, eps, decay)
    return (
        *_apply(radam, numbers, failed, params, _ascent(grads, maximize), exp_avg, exp_avg_sq),
        _counted(step, failed),
    )
