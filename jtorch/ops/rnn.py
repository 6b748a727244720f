"""Recurrent layers: one layer in one direction is one op, over time-major input ``(T, B, I)``.

What does not depend on the recurrence is taken out of the scan: the input projection is one large product before it;
the backward scan carries only the state's gradient through ``w_hh``, with every factor that the saved pre-activations
determine computed for all steps at once before it, and the weight gradients are one large product each after it.
The derived gradient would accumulate the weights' gradients step by step.

``lengths`` ``(B,)`` gives the semantics of PyTorch's packed sequences: past the end of a sequence the state stays and
the output is 0, and the reverse direction starts at each sequence's own end.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .activation import relu
from .dot import dot2d
from .elementwise import type_name
from .linear import affine, conflicting, flatten_rows
from .loops import scan, scan_over
from .registry import Array, op

# --- shared pieces -------------------------------------------------------------------------------------------------


def _bias_sum(b_ih, b_hh):
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


def _valid(lengths, steps: int):
    """``(T, B, 1)``: whether a step lies inside its sequence (None when all do)."""
    return None if lengths is None else (jnp.arange(steps)[:, None] < lengths)[:, :, None]


def _keep(valid, new, old):
    return new if valid is None else jnp.where(valid, new, old)


def _previous(states, first, valid, reverse: bool):
    """The state before each step, from the state after each step."""
    if reverse:
        before = jnp.concatenate([states[1:], first[None]])
        if valid is None:
            return before
        inside = jnp.concatenate([valid[1:], jnp.zeros_like(valid[:1])])
        return jnp.where(inside, before, first[None])
    return jnp.concatenate([first[None], states[:-1]])


def _split(x, n: int):
    return jnp.split(x, n, -1)


def _weight_gradients(d, *inputs):
    """``Σ_t d_tᵀ x_t`` for each input, as one product over all steps and samples."""
    d = flatten_rows(d)
    inputs = [flatten_rows(x) for x in inputs]
    if any(conflicting(d, x) for x in inputs):  # what comes out of a loop cannot be fused into the transposed copy
        columns = lax.optimization_barrier(d.T)
        return [dot2d(columns, x, (1, 0)) for x in inputs]
    return [dot2d(d, x, (0, 0)) for x in inputs]


def _dot(state, w):
    return dot2d(state.astype(w.dtype), w, (1, 0))


def _input_gradient(d, w_ih, x):
    return dot2d(flatten_rows(d), w_ih, (1, 0)).reshape(x.shape)


def _bias_gradient(d, bias):
    return None if bias is None else flatten_rows(d).sum(0, dtype=d.dtype)


# --- plain recurrent layer -----------------------------------------------------------------------------------------


def _activate(mode: str, z):
    return jnp.tanh(z) if mode == "RNN_TANH" else relu(z)


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _rnn(x, h0, w_ih, w_hh, bias, valid, mode, reverse):
    return _rnn_forward(x, h0, w_ih, w_hh, bias, valid, mode, reverse)[0]


def _rnn_forward(x, h0, w_ih, w_hh, bias, valid, mode, reverse):
    def step(w, h, now):
        z, inside = now
        new = _activate(mode, z + _dot(h, w))
        return _keep(inside, new, h), (_keep(inside, new, 0), None)

    last, (out, _) = scan_over(step, w_hh.T, h0, affine(x, w_ih, bias), valid, reverse)
    return (out, last), (x, out, h0, w_ih, w_hh, bias, valid)


def _rnn_backward(mode, reverse, saved, g):
    x, out, h0, w_ih, w_hh, bias, valid = saved
    slope = 1 - out * out if mode == "RNN_TANH" else (out > 0).astype(out.dtype)

    def step(w, dh, now):
        slope, (g_out, inside) = now
        dz = _keep(inside, (dh + g_out) * slope, 0)
        return _keep(inside, _dot(dz, w), dh), (dz, None)

    dh0, (dz, _) = scan_over(step, w_hh, g[1], slope, (g[0], valid), not reverse)
    dw_ih, dw_hh = _weight_gradients(dz, x, _previous(out, h0, valid, reverse))
    return _input_gradient(dz, w_ih, x), dh0, dw_ih, dw_hh, _bias_gradient(dz, bias), None


_rnn.defvjp(_rnn_forward, _rnn_backward)


def _require_dtype(input, weight) -> None:
    """Raises:
    RuntimeError: they are of different types.
    """
    if input.dtype != weight.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {type_name(input)} and {type_name(weight)}"
        )


def _require_steps(input) -> None:
    """Raises:
    RuntimeError: there is no step of time.
    """
    if not input.shape[0]:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")


@op(namespaces=(), grad_name="RnnBackward0")
def _rnn_layer(
    input: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    lengths: Array | None,
    *,
    mode: str,
    reverse: bool = False,
):
    """``h_t = act(w_ih x_t + b_ih + w_hh h_{t-1} + b_hh)`` with tanh or relu: ``(out (T, B, H), h_T (B, H))``."""
    _require_steps(input)
    _require_dtype(input, w_ih)
    valid = _valid(lengths, input.shape[0])
    return _rnn(input, h0, w_ih, w_hh, _bias_sum(b_ih, b_hh), valid, mode, reverse)


# --- LSTM ----------------------------------------------------------------------------------------------------------


def _gates(z):
    """The gates i, f, g, o, side by side, from their pre-activations.

    With ``σ(x) = (1 + tanh(x / 2)) / 2`` one tanh over the whole row does for all four: XLA's CPU compiler makes one
    tight loop of it, and a slow one of four different slices.
    """
    hidden = z.shape[-1] // 4
    half = np.full(4 * hidden, 0.5)
    half[2 * hidden : 3 * hidden] = 1
    scale, shift = jnp.asarray(half, z.dtype), jnp.asarray(1 - half, z.dtype)
    return jnp.tanh(z * scale) * scale + shift


def _lstm_state(z, c):
    """The gates, the cell state and the unprojected output."""
    gates = _gates(z)
    i, f, g, o = _split(gates, 4)
    c = f * c + i * g
    return gates, c, o * jnp.tanh(c)


def _lstm_step(constants, carry, xp, inside):
    """``(h, c)``, and what a derivative needs besides the output: the gates."""
    w, w_hr = constants
    h, c = carry
    gates, new_c, new_h = _lstm_state(xp + _dot(h, w), c)
    if w_hr is not None:
        new_h = _dot(new_h, w_hr.T)
    return (_keep(inside, new_h, h), _keep(inside, new_c, c)), _keep(inside, new_h, 0), gates


@partial(jax.custom_vjp, nondiff_argnums=(8,))
def _lstm(x, h0, c0, w_ih, w_hh, bias, w_hr, valid, reverse):
    def step(carry, now):
        return _lstm_step(constants, carry, *now)[:2]

    constants = w_hh.T, w_hr
    (h, c), out = scan(step, (h0, c0), (affine(x, w_ih, bias), valid), reverse=reverse)
    return out, h, c


def _lstm_forward(x, h0, c0, w_ih, w_hh, bias, w_hr, valid, reverse):
    def step(constants, carry, now):
        carry, out, gates = _lstm_step(constants, carry, *now)
        return carry, (gates, (out, carry[1]))

    xp = affine(x, w_ih, bias)
    (h, c), (gates, (out, cells)) = scan_over(step, (w_hh.T, w_hr), (h0, c0), xp, valid, reverse)
    return (out, h, c), (x, out, cells, gates, h0, c0, w_ih, w_hh, bias, w_hr, valid)


def _lstm_backward(reverse, saved, g):
    x, out, cells, gates, h0, c0, w_ih, w_hh, bias, w_hr, valid = saved
    i, f, n, o = _split(gates, 4)
    t = jnp.tanh(cells)
    before = _previous(cells, c0, None, reverse)
    # with these, dc += dm * to_cell and dz = (dc, dc, dc, dm) * by
    to_cell = o * (1 - t * t)
    by = jnp.concatenate([n * i * (1 - i), before * f * (1 - f), i * (1 - n * n), t * o * (1 - o)], -1)

    def step(constants, carry, now):
        w_hh, w_hr = constants
        dh, dc = carry
        by, (g_out, to_cell, f, inside) = now
        dh_now = dh + g_out
        dm = dh_now if w_hr is None else _dot(dh_now, w_hr)
        dc_now = dc + dm * to_cell
        dz = _keep(inside, jnp.concatenate([dc_now, dc_now, dc_now, dm], -1) * by, 0)
        carry = _keep(inside, _dot(dz, w_hh), dh), _keep(inside, dc_now * f, dc)
        return carry, (dz, None if w_hr is None else _keep(inside, dh_now, 0))

    factors = g[0], to_cell, f, valid
    (dh0, dc0), (dz, dh) = scan_over(step, (w_hh, w_hr), (g[1], g[2]), by, factors, not reverse)
    dw_ih, dw_hh = _weight_gradients(dz, x, _previous(out, h0, valid, reverse))
    dw_hr = None if w_hr is None else _weight_gradients(dh, o * t)[0]
    return _input_gradient(dz, w_ih, x), dh0, dc0, dw_ih, dw_hh, _bias_gradient(dz, bias), dw_hr, None


_lstm.defvjp(_lstm_forward, _lstm_backward)


@op(namespaces=(), grad_name="LstmBackward0")
def _lstm_layer(
    input: Array,
    h0: Array,
    c0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    w_hr: Array | None,
    lengths: Array | None,
    *,
    reverse: bool = False,
):
    """``c_t = σ(f) c_{t-1} + σ(i) tanh(g)``, ``h_t = σ(o) tanh(c_t)`` (times ``w_hrᵀ``), gates in the order i, f, g, o.

    Returns ``(out (T, B, H or P), h_T, c_T)``.
    """
    _require_steps(input)
    _require_dtype(input, w_ih)
    valid = _valid(lengths, input.shape[0])
    return _lstm(input, h0, c0, w_ih, w_hh, _bias_sum(b_ih, b_hh), w_hr, valid, reverse)


# --- GRU -----------------------------------------------------------------------------------------------------------


def _gru_state(xp, hp, h):
    xr, xz, xn = _split(xp, 3)
    hr, hz, hn = _split(hp, 3)
    z = lax.logistic(xz + hz)
    n = jnp.tanh(xn + lax.logistic(xr + hr) * hn)
    return n + z * (h - n)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _gru_scan(xp, h0, w_hh, b_hh, valid, reverse):
    return _gru_forward(xp, h0, w_hh, b_hh, valid, reverse)[0]


def _gru_forward(xp, h0, w_hh, b_hh, valid, reverse):
    w = w_hh.T

    def step(h, now):
        xp, inside = now
        hp = _dot(h, w) if b_hh is None else _dot(h, w) + b_hh
        new = _gru_state(xp, hp, h)
        return _keep(inside, new, h), (_keep(inside, new, 0), hp)

    last, (out, hp) = scan(step, h0, (xp, valid), reverse=reverse)
    return (out, last), (xp, hp, out, h0, w_hh, b_hh, valid)


def _gru_backward(reverse, saved, g):
    xp, hp, out, h0, w_hh, b_hh, valid = saved
    before = _previous(out, h0, valid, reverse)
    xr, xz, xn = _split(xp, 3)
    hr, hz, hn = _split(hp, 3)
    r, z = lax.logistic(xr + hr), lax.logistic(xz + hz)
    n = jnp.tanh(xn + r * hn)
    by_n = (1 - z) * (1 - n * n)
    by_r = by_n * hn * r * (1 - r)
    by_z = (before - n) * z * (1 - z)
    factors = jnp.concatenate([by_r, by_z, by_n * r], -1)

    def step(dh, now):
        g_out, factors, z, inside = now
        dh_now = dh + g_out
        following = dh_now * z + _dot(factors * jnp.tile(dh_now, 3), w_hh)
        return _keep(inside, following, dh), _keep(inside, dh_now, 0)

    dh0, dh = scan(step, g[1], (g[0], factors, z, valid), reverse=not reverse)
    dhp = factors * jnp.tile(dh, 3)
    dxp = jnp.concatenate([dhp[..., : -h0.shape[-1]], by_n * dh], -1).astype(xp.dtype)
    dhp, before = dhp.astype(w_hh.dtype), before.astype(w_hh.dtype)
    db = None if b_hh is None else flatten_rows(dhp).sum(0)
    return dxp, dh0, *_weight_gradients(dhp, before), db, None


_gru_scan.defvjp(_gru_forward, _gru_backward)


@op(namespaces=(), grad_name="GruBackward0")
def _gru_layer(
    input: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    lengths: Array | None,
    *,
    reverse: bool = False,
):
    """``h_t = (1 - z) n + z h_{t-1}`` with ``n = tanh(x_n + r (w_hn h + b_hn))``, gates in the order r, z, n.

    Returns ``(out (T, B, H), h_T)``.
    """
    _require_steps(input)
    _require_dtype(input, w_ih)
    xp = affine(input, w_ih, b_ih)
    return _gru_scan(xp, h0, w_hh, b_hh, _valid(lengths, input.shape[0]), reverse)


# --- cells ---------------------------------------------------------------------------------------------------------


def _require_gates(input, hx, w_ih, w_hh, gates: int) -> None:
    """Raises:
    RuntimeError: the weights do not belong to ``gates`` gates of the hidden state's size, or the input's.
    """
    if input.shape[-1] != w_ih.shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]} expected {w_ih.shape[1]}")
    hidden = w_hh.shape[1]
    for name, w in (("weight_ih", w_ih), ("weight_hh", w_hh)):
        if w.shape[0] != gates * hidden:
            raise RuntimeError(
                f"{name} first dim must be {gates} * hidden_size = {gates * hidden}, but got {w.shape[0]}"
            )
    if hx.shape[-1] != hidden:
        raise RuntimeError(f"hidden0 has inconsistent hidden_size: got {hx.shape[-1]}, expected {hidden}")


@op(namespaces=(), grad_name="TanhBackward0")
def _rnn_cell(input: Array, hx: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None, *, mode: str):
    """One step of :func:`_rnn_layer` for ``(B, I)`` or ``(I,)``."""
    _require_gates(input, hx, w_ih, w_hh, 1)
    _require_dtype(input, w_ih)
    return _activate(mode, affine(input, w_ih, b_ih) + affine(hx, w_hh, b_hh))


@op(namespaces=(), grad_name="ThnnFusedLstmCellBackward0")
def _lstm_cell(input: Array, hx: Array, cx: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None):
    """One step of :func:`_lstm_layer`: ``(h, c)``."""
    _require_gates(input, hx, w_ih, w_hh, 4)
    _require_dtype(input, w_ih)
    _, c, h = _lstm_state(affine(input, w_ih, b_ih) + affine(hx, w_hh, b_hh), cx)
    return h, c


@op(namespaces=(), grad_name="ThnnFusedGruCellBackward0")
def _gru_cell(input: Array, hx: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None):
    """One step of :func:`_gru_layer`."""
    _require_gates(input, hx, w_ih, w_hh, 3)
    _require_dtype(input, w_ih)
    return _gru_state(affine(input, w_ih, b_ih), affine(hx.astype(w_hh.dtype), w_hh, b_hh), hx)
