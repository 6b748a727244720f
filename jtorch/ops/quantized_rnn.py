"""Recurrent layers with int8 weights: inputs and states are rounded by their own range, as PyTorch's dynamic ones are.

The input projection of all steps is one product, with one range for all of them; states are rounded at each step.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from .loops import scan
from .quantized import linear_dynamic
from .registry import Array, op
from .rnn import _keep, _split, _valid


def _lstm(xp, hp, h, c):
    i, f, g, o = _split(xp + hp, 4)
    c = lax.logistic(f) * c + lax.logistic(i) * jnp.tanh(g)
    return lax.logistic(o) * jnp.tanh(c), c


def _gru(xp, hp, h):
    (xr, xz, xn), (hr, hz, hn) = _split(xp, 3), _split(hp, 3)
    z = lax.logistic(xz + hz)
    n = jnp.tanh(xn + lax.logistic(xr + hr) * hn)
    return (n + z * (h - n),)


#: ``step(x's part, h's part, *states) -> new states`` of each kind.
STEPS = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN_TANH": lambda xp, hp, h: (jnp.tanh(xp + hp),),
    "RNN_RELU": lambda xp, hp, h: (jnp.maximum(xp + hp, 0),),
}


def _projection(weight, scale, bias):
    total = weight.sum(1, dtype=jnp.int32)
    return lambda x: linear_dynamic(x, weight, total, scale, bias, relu=False, reduce_range=True)


@op(namespaces=(), differentiable=False)
def _quantized_rnn_layer(
    input: Array,
    h0: Array,
    c0: Array | None,
    w_ih: Array,
    w_hh: Array,
    scale_ih: Array,
    scale_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    lengths: Array | None,
    mode: str,
    reverse: bool = False,
):
    """One layer in one direction over ``(T, B, I)``, with int8 weights: ``(out (T, B, H), *final states)``."""
    valid = _valid(lengths, input.shape[0])
    states = (h0,) if c0 is None else (h0, c0)
    of_input, of_state = _projection(w_ih, scale_ih, b_ih), _projection(w_hh, scale_hh, b_hh)

    def step(states, now):
        xp, inside = now
        new = STEPS[mode](xp, of_state(_keep(inside, states[0], 0)), *states)
        kept = tuple(_keep(inside, n, s) for n, s in zip(new, states, strict=True))
        return kept, _keep(inside, new[0], 0)

    last, out = scan(step, states, (of_input(input), valid), reverse=reverse)
    return (out, *last)


@op(namespaces=(), differentiable=False)
def _quantized_rnn_cell(
    input: Array,
    h: Array,
    c: Array | None,
    w_ih: Array,
    w_hh: Array,
    scale_ih: Array,
    scale_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    mode: str,
):
    """One step of :func:`_quantized_rnn_layer`: the new states."""
    of_input, of_state = _projection(w_ih, scale_ih, b_ih), _projection(w_hh, scale_hh, b_hh)
    return STEPS[mode](of_input(input), of_state(h), *((h,) if c is None else (h, c)))
