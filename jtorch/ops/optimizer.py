"""Update rules of the optimizers, each one fused op over all parameters of a group.

The rules are gradient transformations in optax's sense (``init``, ``update``), so they chain with optax's own, which
are used where their arithmetic is PyTorch's bit for bit (weight decay, momentum, scaling). Adam, RMSprop and Adagrad
are written here because PyTorch orders and rounds differently: ``lerp`` for the first moment, bias corrections in
double precision, ``eps`` added after the corrected root.

Hyper-parameters are run-time operands and "the first step" is the step count, never another program. A step with
a weight decay of 0 adds ``0 p``. float16 and bfloat16 parameters are computed in float32 and rounded when stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import backend
from .lazily import lazily
from .loops import while_loop
from .registry import Array, Arrays, Hyper, op
from .softmax import widened

optax = lazily("optax")


def _leaf_update(transform: Callable[..., optax.GradientTransformation], hypers, failed, p, g, *state):
    """One parameter through ``transform(*hypers)``: the new parameter and the new state.

    Hyper-parameters are rounded to the type the parameter is computed in; complex numbers are pairs of reals.
    A rule's ``update`` takes ``kept`` (:func:`_keeping`) besides, and goes on with state that it was applied to: XLA
    would else compute the new state once for the parameter, and once to choose.
    """
    stored = (p, *state)
    if jnp.iscomplexobj(p):
        p, g, *state = (_pair(x) for x in (p, g, *state))
    p, g, *state = (widened(x) for x in (p, g, *state))
    kept = _keeping(failed)
    updates, state = transform(*(h.astype(p.dtype) for h in hypers)).update(g, tuple(state), p, kept)
    new = (kept(optax.apply_updates(p, updates), p), *state)
    if jnp.iscomplexobj(stored[0]):
        new = tuple(jax.lax.complex(x[0], x[1]) for x in new)
    return tuple(x.astype(old.dtype) for x, old in zip(new, stored, strict=True))


def _pair(x):
    return jnp.stack([x.real, x.imag])


def _apply(transform, hypers, failed, params, grads, *states):
    """``_leaf_update`` of every parameter: all new parameters, then all of each state; unused states are left out."""
    states = [s for s in states if s]
    # traced once per shape, not once per parameter: models have hundreds of parameters and few shapes
    update = jax.jit(partial(_leaf_update, transform))
    new = [update(hypers, failed, *leaf) for leaf in zip(params, grads, *states, strict=True)]
    return tuple(x for column in zip(*new, strict=True) for x in column)


def _one_after(grads):
    """1, known only when every gradient is; XLA cannot see that it is 1.

    New state divided by it is written in the old state's place. Without that XLA saves a copy of every donated array
    first: parameters may still be read by the backward pass when their update starts, and averages are computed twice,
    for themselves and within the parameter's update. A division is not computed twice.

    It comes out of a loop (of no turns), which XLA's CPU compiler does not fuse: as an expression it would be
    repeated in every parameter's update, and so compiled as often as the square of their number.
    """
    seen = sum(g.reshape(-1)[0].real.astype(jnp.float64) for g in grads if g.size)
    one = jnp.where(seen * 0 > 1, 2.0, 1.0)
    if backend.platform() != "cpu":  # where the host would wait for the loop's condition
        return jax.lax.optimization_barrier(one)
    return while_loop(lambda x: x > 2, lambda x: x / 2, one)


def _ascent(grads, maximize: bool):
    return tuple(-g for g in grads) if maximize else grads


def _keeping(failed):
    """``kept(new, old)``: the old value where ``failed`` is true; of None that is nowhere."""
    return lambda new, old: new if failed is None else jnp.where(failed, old, new)


def _counted(step, failed):
    return _keeping(failed)(step + 1, step)


def _shrunk(params, factor, failed):
    """Every parameter times ``factor``: weight decay apart from the gradient."""
    factor = _keeping(failed)(factor, 1.0)
    return tuple((widened(p) * factor.astype(widened(p).real.dtype)).astype(p.dtype) for p in params)


def _no_state(params):
    return ()


def _lerp(start, end, weight):
    """``start + weight (end - start)``, from the nearer end, as ``torch.lerp``."""
    near = jnp.abs(weight) < 0.5
    return jnp.where(near, start, end) + jnp.where(near, weight, weight - 1) * (end - start)


# --- SGD -----------------------------------------------------------------------------------------------------------


def sgd(lr, weight_decay, momentum=None, damped=None, nesterov: bool = False) -> optax.GradientTransformation:
    """optax's own parts, chained: decay, momentum of the gradient times ``damped = 1 - dampening``, descent."""
    decay, scale = optax.add_decayed_weights(weight_decay), optax.scale(-lr)
    if momentum is None:
        inner = optax.chain(decay, scale)
    else:
        inner = optax.chain(decay, optax.scale(damped), optax.trace(momentum, nesterov), scale)

    def update(g, state, p, kept):
        full = inner.init(p) if momentum is None else (*inner.init(p)[:2], optax.TraceState(*state), optax.EmptyState())
        updates, full = inner.update(g, full, p)
        return updates, () if momentum is None else (kept(full[2].trace, state[0]),)

    return optax.GradientTransformation(_no_state, update)


@op(namespaces=(), each=True, keeps=("params", "momentum_buffer"))
def _sgd_step(
    params: Arrays,
    grads: Arrays,
    momentum_buffer: Arrays,
    lr: Hyper,
    weight_decay: Hyper,
    momentum: Hyper,
    dampening: Hyper,
    failed: Array | None = None,
    *,
    nesterov: bool = False,
    maximize: bool = False,
):
    """``b = μ b + (1 - dampening) g``, ``p = p - lr b``: the new parameters, then the new buffers.

    ``momentum_buffer`` is empty for plain descent, else one buffer per parameter, zeros before its first use.
    """
    if not momentum_buffer:
        return _apply(sgd, (lr, weight_decay), failed, params, _ascent(grads, maximize))
    hypers = (lr, weight_decay, momentum, 1 - dampening)
    return _apply(partial(sgd, nesterov=nesterov), hypers, failed, params, _ascent(grads, maximize), momentum_buffer)


# --- Adam and AdamW ------------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Adam's running averages; ``largest`` only with amsgrad."""

    mean: object
    square: object
    largest: object = None


def adam(
    step_size, root, mean_weight, beta2, square_weight, eps, decay, one, decoupled
) -> optax.GradientTransformation:
    """Adam on one array, with the step's bias corrections given.

    Args:
        step_size: ``lr / (1 - beta1^t)``.
        root: ``sqrt(1 - beta2^t)``.
        mean_weight, square_weight: ``1 - beta1`` and ``1 - beta2``.
        decay: the weight decay, or, when ``decoupled``, ``lr`` times it.
        one: see :func:`_one_after`.
    """

    def update(g, state, p, kept):
        state = Moments(*state)
        if not decoupled:
            g = g + decay * p
        mean = kept(_lerp(state.mean, g, mean_weight), state.mean) / one
        square = kept(state.square * beta2 + square_weight * g * g, state.square) / one
        largest = None if state.largest is None else jnp.maximum(state.largest, square)
        denominator = jnp.sqrt(square if largest is None else largest) / root + eps
        updates = -step_size * mean / denominator
        return updates, tuple(x for x in (mean, square, largest) if x is not None)

    return optax.GradientTransformation(_no_state, update)


@op(namespaces=(), each=True, keeps=("params", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"))
def _adam_step(
    params: Arrays,
    grads: Arrays,
    exp_avg: Arrays,
    exp_avg_sq: Arrays,
    max_exp_avg_sq: Arrays,
    step: Array,
    lr: Hyper,
    beta1: Hyper,
    beta2: Hyper,
    eps: Hyper,
    weight_decay: Hyper,
    failed: Array | None = None,
    *,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
):
    """One step of Adam, or of AdamW when decoupled.

    ``step`` is the number of steps taken before. Returns the new parameters, the new ``exp_avg``, the new
    ``exp_avg_sq``, with ``amsgrad`` the new ``max_exp_avg_sq``, and ``step + 1``.
    """
    lr, beta1, beta2, decay = (h.astype(jnp.float64) for h in (lr, beta1, beta2, weight_decay))
    count = step.astype(jnp.float64) + 1
    grads = _ascent(grads, maximize)
    if decoupled_weight_decay:
        params = _shrunk(params, 1 - lr * decay, failed)
    hypers = (
        lr / (1 - beta1**count),
        jnp.sqrt(1 - beta2**count),
        1 - beta1,
        beta2,
        1 - beta2,
        eps,
        decay,
        _one_after(grads),
    )
    states = (exp_avg, exp_avg_sq, max_exp_avg_sq if amsgrad else ())
    return (
        *_apply(lambda *h: adam(*h, decoupled_weight_decay), hypers, failed, params, grads, *states),
        _counted(step, failed),
    )


# --- RMSprop and Adagrad -------------------------------------------------------------------------------------------


def rmsprop(lr, alpha, square_weight, eps, decay, momentum, *, centered: bool, moving: bool):
    """RMSprop on one array; the state is the mean square, then the momentum buffer, then the mean gradient."""

    def update(g, state, p, kept):
        square, *rest = state
        g = g + decay * p
        square = kept(square * alpha + square_weight * g * g, square)
        variance, mean = square, ()
        if centered:
            mean = (kept(_lerp(rest[-1], g, square_weight), rest[-1]),)
            variance = square - mean[0] * mean[0]
        root = jnp.sqrt(variance) + eps
        if not moving:
            return -lr * g / root, (square, *mean)
        buffer = kept(rest[0] * momentum + g / root, rest[0])
        return -lr * buffer, (square, buffer, *mean)

    return optax.GradientTransformation(_no_state, update)


@op(namespaces=(), each=True, keeps=("params", "square_avg", "momentum_buffer", "grad_avg", "step"))
def _rmsprop_step(
    params: Arrays,
    grads: Arrays,
    square_avg: Arrays,
    momentum_buffer: Arrays,
    grad_avg: Arrays,
    step: Array,
    lr: Hyper,
    alpha: Hyper,
    eps: Hyper,
    weight_decay: Hyper,
    momentum: Hyper,
    failed: Array | None = None,
    *,
    maximize: bool = False,
):
    """One step of RMSprop; ``momentum_buffer`` is empty without momentum, ``grad_avg`` unless centered.

    Returns the new parameters, ``square_avg``, those of ``momentum_buffer`` and ``grad_avg`` in use, and ``step + 1``.
    """
    centered, moving = bool(grad_avg), bool(momentum_buffer)
    hypers = (lr, alpha, 1 - alpha, eps, weight_decay, momentum)
    rule = lambda *h: rmsprop(*h, centered=centered, moving=moving)  # noqa: E731
    states = (square_avg, momentum_buffer, grad_avg)
    return (*_apply(rule, hypers, failed, params, _ascent(grads, maximize), *states), _counted(step, failed))


def adagrad(step_size, eps, decay) -> optax.GradientTransformation:
    """Adagrad on one array; the state is the sum of squares."""

    def update(g, state, p, kept):
        g = g + decay * p
        total = kept(state[0] + g * g, state[0])
        return -step_size * g / (jnp.sqrt(total) + eps), (total,)

    return optax.GradientTransformation(_no_state, update)


@op(namespaces=(), each=True, keeps=("params", "sum", "step"))
def _adagrad_step(
    params: Arrays,
    grads: Arrays,
    sum: Arrays,
    step: Array,
    lr: Hyper,
    lr_decay: Hyper,
    eps: Hyper,
    weight_decay: Hyper,
    failed: Array | None = None,
    *,
    maximize: bool = False,
):
    """One step of Adagrad; ``step`` counts the steps before. Returns the parameters, the sums, and ``step + 1``."""
    lr, lr_decay = lr.astype(jnp.float64), lr_decay.astype(jnp.float64)
    step_size = lr / (1 + step.astype(jnp.float64) * lr_decay)
    hypers = (step_size, eps, weight_decay)
    return (*_apply(adagrad, hypers, failed, params, _ascent(grads, maximize), sum), _counted(step, failed))
