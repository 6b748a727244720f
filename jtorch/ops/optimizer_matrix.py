"""Update rules that look at a parameter as a matrix (Adafactor, Muon) or at all as one vector (L-BFGS)."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from .loops import scan
from .optimizer import _ascent, _lerp
from .registry import Array, Arrays, Hyper, op
from .softmax import widened

# --- Adafactor -----------------------------------------------------------------------------------------------------


def _norm(x, **axes):
    return jnp.sqrt(jnp.sum(x * x, **axes))


def _adafactor_leaf(hypers, p, g, *state):
    """One parameter; ``state`` is its row and column variances, or, for vectors, its variance."""
    lr, count, beta2_decay, eps1, eps2, threshold, decay = hypers
    stored = (p, *state)
    p, g, *state = (widened(x) for x in (p, g, *state))
    size, weight = math.sqrt(p.size), (count**beta2_decay).astype(p.dtype)
    rms = _norm(p).astype(jnp.float64) / size
    rate = jnp.maximum(eps2, rms) * jnp.minimum(lr, 1 / jnp.sqrt(count))
    p = p * (1 - lr * decay).astype(p.dtype)
    if len(state) == 2:
        means = (_norm(g, axis=axis, keepdims=True) ** 2 / g.shape[axis] for axis in (-1, -2))
        state = tuple(_lerp(old, mean, weight) for old, mean in zip(state, means, strict=True))
        row, column = state
        variance = row * column / jnp.maximum(jnp.mean(row, axis=-2, keepdims=True), eps1.astype(p.dtype))
    else:
        state = (_lerp(state[0], g * g, weight),)
        variance = state[0]
    update = lax.rsqrt(jnp.maximum(variance, (eps1 * eps1).astype(p.dtype))) * g
    clipped = rate / jnp.maximum(1.0, _norm(update).astype(jnp.float64) / (size * threshold))
    new = (p - clipped.astype(p.dtype) * update, *state)
    return tuple(x.astype(old.dtype) for x, old in zip(new, stored, strict=True))


@op(namespaces=(), differentiable=False)
def _adafactor_step(
    params: Arrays,
    grads: Arrays,
    row_var: Arrays,
    col_var: Arrays,
    variance: Arrays,
    step: Array,
    lr: Hyper,
    beta2_decay: Hyper,
    eps2: Hyper,
    d: Hyper,
    weight_decay: Hyper,
    *,
    eps1: float | None = None,
    maximize: bool = False,
):
    """One step of Adafactor.

    ``row_var`` and ``col_var`` belong to the parameters of two and more dimensions, ``variance`` to the others, each
    in the parameters' order. Returns the new parameters, then the three in this order, then ``step + 1``.
    """
    count, *numbers = (h.astype(jnp.float64) for h in (step + 1, lr, beta2_decay, eps2, d, weight_decay))
    lr, beta2_decay, eps2, d, weight_decay = numbers
    update = jax.jit(_adafactor_leaf)
    rows, columns, vectors = iter(row_var), iter(col_var), iter(variance)
    new_params, new_rows, new_columns, new_vectors = [], [], [], []
    for p, g in zip(params, _ascent(grads, maximize), strict=True):
        small = jnp.float64(jnp.finfo(p.dtype).eps if eps1 is None else eps1)
        hypers = (lr, count, beta2_decay, small, eps2, d, weight_decay)
        if p.ndim > 1:
            new, row, column = update(hypers, p, g, next(rows), next(columns))
            new_rows.append(row)
            new_columns.append(column)
        else:
            new, vector = update(hypers, p, g, next(vectors))
            new_vectors.append(vector)
        new_params.append(new)
    return (*new_params, *new_rows, *new_columns, *new_vectors, step + 1)


# --- Muon ----------------------------------------------------------------------------------------------------------


def _bfloat16(x):
    """Rounded for certain: XLA drops a conversion to bfloat16 that is followed by one back."""
    return lax.reduce_precision(x.astype(jnp.float32), exponent_bits=8, mantissa_bits=7).astype(jnp.bfloat16)


def orthogonalized(g, coefficients, steps: int, eps):
    """``g`` with its singular values brought near 1: a quintic Newton-Schulz iteration, in bfloat16."""
    a, b, c = coefficients
    wide = partial(lax.convert_element_type, new_dtype=jnp.float32)
    matmul = partial(jnp.matmul, preferred_element_type=jnp.float32)
    x = _bfloat16(g.T if g.shape[0] > g.shape[1] else g)
    x = _bfloat16(wide(x) / wide(jnp.maximum(_bfloat16(_norm(wide(x))), eps.astype(x.dtype))))
    for _ in range(steps):
        gram = _bfloat16(matmul(x, x.T))
        polynomial = _bfloat16(b * wide(gram) + c * matmul(gram, gram))
        x = _bfloat16(a * wide(x) + matmul(polynomial, x))
    return x.T if g.shape[0] > g.shape[1] else x


def _muon_leaf(hypers, p, g, buffer, *, coefficients, steps, nesterov, ratio):
    lr, kept, momentum, new_weight, eps = hypers
    stored, p, g, buffer = p.dtype, widened(p), widened(g), widened(buffer)
    buffer = _lerp(buffer, g, new_weight.astype(p.dtype))
    update = _lerp(g, buffer, momentum.astype(p.dtype)) if nesterov else buffer
    update = orthogonalized(update, coefficients, steps, eps).astype(p.dtype)
    new = p * kept.astype(p.dtype) - (lr * ratio).astype(p.dtype) * update
    return new.astype(stored), buffer.astype(stored)


@op(namespaces=(), differentiable=False)
def _muon_step(
    params: Arrays,
    grads: Arrays,
    momentum_buffer: Arrays,
    lr: Hyper,
    weight_decay: Hyper,
    momentum: Hyper,
    eps: Hyper,
    *,
    nesterov: bool = True,
    ns_coefficients: tuple = (3.4445, -4.7750, 2.0315),
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
):
    """One step of Muon: the new parameters, then the new momentum buffers."""
    lr, weight_decay, momentum, eps = (h.astype(jnp.float64) for h in (lr, weight_decay, momentum, eps))
    hypers = (lr, 1 - lr * weight_decay, momentum, 1 - momentum, eps)
    new = []
    for p, g, buffer in zip(params, grads, momentum_buffer, strict=True):
        rows, columns = p.shape
        like_adamw = adjust_lr_fn == "match_rms_adamw"
        ratio = 0.2 * math.sqrt(max(rows, columns)) if like_adamw else math.sqrt(max(1, rows / columns))
        options = {"coefficients": ns_coefficients, "steps": ns_steps, "nesterov": nesterov, "ratio": ratio}
        new.append(_muon_leaf(hypers, p, g, buffer, **options))
    return tuple(x for column in zip(*new, strict=True) for x in column)


# --- L-BFGS --------------------------------------------------------------------------------------------------------


def _reals(x):
    """A complex array as twice as many real numbers."""
    return jnp.stack([x.real, x.imag], -1) if jnp.iscomplexobj(x) else x


@op(namespaces=(), differentiable=False)
def _lbfgs_gather(arrays: Arrays):
    """All elements of ``arrays`` as one real vector, of their widest type, and the largest magnitude in it."""
    flat = [_reals(x).ravel() for x in arrays]
    dtype = jnp.result_type(*flat)
    whole = jnp.concatenate([x.astype(dtype) for x in flat])
    return whole, jnp.max(jnp.abs(whole), initial=0)


@op(namespaces=(), differentiable=False)
def _lbfgs_move(params: Arrays, direction: Array, length: Hyper):
    """Every parameter plus ``length`` times its part of the vector ``direction``."""
    new, start = [], 0
    for p in params:
        reals = _reals(p)
        part = direction[start : start + reals.size].reshape(reals.shape).astype(reals.dtype)
        moved = reals + length.astype(reals.dtype) * part
        new.append(moved[..., 0] + 1j * moved[..., 1] if jnp.iscomplexobj(p) else moved)
        start += reals.size
    return tuple(x.astype(p.dtype) for x, p in zip(new, params, strict=True))


@op(namespaces=(), differentiable=False)
def _lbfgs_change(grad: Array, previous_grad: Array, direction: Array, length: Hyper):
    """``y``, the change of the gradient, ``s``, that of the position, ``y s``, ``1 / y s``, and ``y s / y y``."""
    y, s = grad - previous_grad, direction * length.astype(direction.dtype)
    curvature = jnp.dot(y, s)
    return y, s, curvature, 1 / curvature, curvature / jnp.dot(y, y)


@op(namespaces=(), differentiable=False)
def _lbfgs_direction(grad: Array, old_dirs: Arrays, old_stps: Arrays, ro: Arrays, h_diag: Hyper):
    """Minus the approximate inverse Hessian times ``grad``, by the two-loop recursion (Nocedal, 1980).

    Also its product with ``grad`` and its largest magnitude. The history is oldest first; entries that are all zero,
    with ``ro`` 0, change nothing.
    """
    history = (jnp.stack(old_dirs), jnp.stack(old_stps), jnp.stack(ro))

    def backward(q, entry):
        y, s, r = entry
        weight = jnp.dot(s, q) * r
        return q - weight * y, weight

    def forward(d, entry):
        y, s, r, weight = entry
        return d + (weight - jnp.dot(y, d) * r) * s, None

    q, weights = scan(backward, -grad, history, reverse=True)
    d = scan(forward, q * h_diag.astype(q.dtype), (*history, weights))[0]
    return d, jnp.dot(grad, d), jnp.max(jnp.abs(d), initial=0)
