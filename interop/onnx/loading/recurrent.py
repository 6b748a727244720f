"""RNN, GRU and LSTM. The usual forms run as jtorch's own layers; peepholes and other activations step by step."""

from __future__ import annotations

import jtorch
from jtorch.nn import functional as F

from .registry import handles

_ACTIVATIONS = {
    "sigmoid": lambda x, a, b: jtorch.sigmoid(x),
    "tanh": lambda x, a, b: jtorch.tanh(x),
    "relu": lambda x, a, b: jtorch.relu(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: F.leaky_relu(x, a),
    "thresholdedrelu": lambda x, a, b: jtorch.where(x > a, x, jtorch.zeros_like(x)),
    "scaledtanh": lambda x, a, b: a * jtorch.tanh(b * x),
    "hardsigmoid": lambda x, a, b: jtorch.clamp(a * x + b, 0, 1),
    "elu": lambda x, a, b: F.elu(x, a),
    "softsign": lambda x, a, b: F.softsign(x),
    "softplus": lambda x, a, b: F.softplus(x),
}
_DEFAULTS = {"affine": (1.0, 0.0), "leakyrelu": (0.01, 0.0), "thresholdedrelu": (1.0, 0.0), "scaledtanh": (1.0, 1.0),
             "hardsigmoid": (0.2, 0.5), "elu": (1.0, 0.0)}  # fmt: skip


def _activations(n, default: list[str], directions: int) -> list[list]:
    names = [a.lower() for a in n.get("activations") or default * directions]
    alpha, beta = list(n.get("activation_alpha") or []), list(n.get("activation_beta") or [])
    out = []
    for name in names:
        a, b = _DEFAULTS.get(name, (0.0, 0.0))
        if name in _DEFAULTS:
            a = alpha.pop(0) if alpha else a
            b = beta.pop(0) if beta and name in ("affine", "scaledtanh", "hardsigmoid") else b
        out.append(lambda x, fn=_ACTIVATIONS[name], a=a, b=b: fn(x, a, b))
    each = len(default)
    return [out[i * each : (i + 1) * each] for i in range(directions)]


def _run(n, x, w, r, bias, lengths, states, step, default: list[str]):
    """All directions over ``(T, B, I)``; ``step(z parts, states, activations, direction) -> new states``.

    Returns ``Y (T, D, B, H)`` and the last states ``(D, B, H)``.
    """
    batch_first = n.get("layout", 0)
    if batch_first:
        x = x.transpose(0, 1)
        states = [None if s is None else s.transpose(0, 1) for s in states]
    directions, hidden = w.shape[0], r.shape[2]
    T, B = x.shape[0], x.shape[1]
    clip, kind = n.get("clip"), n.get("direction", "forward")
    acts = _activations(n, default, directions)
    valid = None
    if lengths is not None:
        valid = (jtorch.arange(T, device=x.device).reshape(T, 1) < lengths).unsqueeze(-1)
    outs, lasts = [], []
    for d in range(directions):
        current = [jtorch.zeros(B, hidden, dtype=x.dtype, device=x.device) if s is None else s[d] for s in states]
        backwards = kind == "reverse" or d == 1
        steps = reversed(range(T)) if backwards else range(T)
        seen = [None] * T
        projected = jtorch.matmul(x, w[d].t())
        if clip:
            acts[d] = [lambda z, fn=fn: fn(jtorch.clamp(z, -clip, clip)) for fn in acts[d]]
        for t in steps:
            new = step(projected[t], current, acts[d], d)
            if valid is not None:
                seen[t] = jtorch.where(valid[t], new[0], jtorch.zeros_like(new[0]))
                new = [jtorch.where(valid[t], a, b) for a, b in zip(new, current, strict=True)]
            else:
                seen[t] = new[0]
            current = new
        outs.append(jtorch.stack(seen))
        lasts.append(current)
    y = jtorch.stack(outs, 1)
    finals = [jtorch.stack([last[i] for last in lasts]) for i in range(len(lasts[0]))]
    if batch_first:
        y, finals = y.permute(2, 0, 1, 3), [f.transpose(0, 1) for f in finals]
    return (y, *finals)


def _plain(n, **refused) -> bool:
    """Whether a node is what jtorch's layers compute."""
    return not n.get("clip") and not n.get("layout", 0) and all(v is None for v in refused.values())


def _native(n, kind: str, order, x, w, r, bias, lengths, states, usual: list[str]):
    """The node as jtorch's own layer, whose scan compiles to one loop; None where it is another function."""
    directions, hidden = w.shape[0], r.shape[2]
    given = [a.lower() for a in n.get("activations") or usual * directions]
    if not _plain(n) or given != usual * directions or lengths is not None:
        return None

    def reordered(v):
        parts = v.split(hidden, 0)
        return jtorch.cat([parts[i] for i in order])

    gates, outs, finals = len(order) * hidden, [], []
    for d in range(directions):
        layer = _LAYERS[kind](x.shape[2], hidden, bias=bias is not None)
        weights = {"weight_ih_l0": reordered(w[d]), "weight_hh_l0": reordered(r[d])}
        if bias is not None:
            weights |= {"bias_ih_l0": reordered(bias[d][:gates]), "bias_hh_l0": reordered(bias[d][gates:])}
        first = [
            jtorch.zeros(x.shape[1], hidden, dtype=x.dtype, device=x.device) if s is None else s[d] for s in states
        ]
        first = [s.unsqueeze(0) for s in first]
        backwards = n.get("direction", "forward") == "reverse" or d == 1
        y, last = jtorch.func.functional_call(
            layer, weights, (x.flip(0) if backwards else x, tuple(first) if kind == "LSTM" else first[0])
        )
        outs.append(y.flip(0) if backwards else y)
        finals.append(last if isinstance(last, tuple) else (last,))
    return (jtorch.stack(outs, 1), *(jtorch.cat([f[i] for f in finals]) for i in range(len(states))))


_LAYERS = {"LSTM": jtorch.nn.LSTM, "GRU": jtorch.nn.GRU, "RNN": jtorch.nn.RNN}


def _bias(bias, d: int, gates: int):
    return (None, None) if bias is None else (bias[d][:gates], bias[d][gates:])


@handles("RNN")
def rnn(n, x, w, r, bias=None, lengths=None, h0=None):
    out = _native(n, "RNN", (0,), x, w, r, bias, lengths, [h0], ["tanh"])
    if out is not None:
        return out
    hidden = r.shape[2]

    def step(xp, states, acts, d):
        z = xp + jtorch.matmul(states[0], r[d].t())
        b_w, b_r = _bias(bias, d, hidden)
        return [acts[0](z if b_w is None else z + b_w + b_r)]

    return _run(n, x, w, r, bias, lengths, [h0], step, ["tanh"])


@handles("GRU")
def gru(n, x, w, r, bias=None, lengths=None, h0=None):
    after = n.get("linear_before_reset", 0)
    if after:
        out = _native(n, "GRU", (1, 0, 2), x, w, r, bias, lengths, [h0], ["sigmoid", "tanh"])
        if out is not None:
            return out
    hidden = r.shape[2]

    def step(xp, states, acts, d):
        h, (f, g) = states[0], acts
        b_w, b_r = _bias(bias, d, 3 * hidden)
        zero = jtorch.zeros(3 * hidden, dtype=x.dtype, device=x.device)
        b_w, b_r = (zero, zero) if b_w is None else (b_w, b_r)
        xz, xr, xn = (xp + b_w).split(hidden, -1)
        rz, rr, rn = r[d].split(hidden, 0)
        bz, br, bn = b_r.split(hidden)
        z = f(xz + jtorch.matmul(h, rz.t()) + bz)
        reset = f(xr + jtorch.matmul(h, rr.t()) + br)
        inner = reset * (jtorch.matmul(h, rn.t()) + bn) if after else jtorch.matmul(reset * h, rn.t()) + bn
        new = g(xn + inner)
        return [(1 - z) * new + z * h]

    return _run(n, x, w, r, bias, lengths, [h0], step, ["sigmoid", "tanh"])


@handles("LSTM")
def lstm(n, x, w, r, bias=None, lengths=None, h0=None, c0=None, peephole=None):
    if peephole is None and not n.get("input_forget", 0):
        out = _native(n, "LSTM", (0, 2, 3, 1), x, w, r, bias, lengths, [h0, c0], ["sigmoid", "tanh", "tanh"])
        if out is not None:
            return out
    hidden = r.shape[2]

    def step(xp, states, acts, d):
        h, c = states
        f, g, out = acts
        z = xp + jtorch.matmul(h, r[d].t())
        b_w, b_r = _bias(bias, d, 4 * hidden)
        zi, zo, zf, zc = (z if b_w is None else z + b_w + b_r).split(hidden, -1)
        pi, po, pf = peephole[d].split(hidden) if peephole is not None else (0.0, 0.0, 0.0)
        i = f(zi + pi * c)
        forget = 1 - i if n.get("input_forget", 0) else f(zf + pf * c)
        new = forget * c + i * g(zc)
        return [f(zo + po * new) * out(new), new]

    return _run(n, x, w, r, bias, lengths, [h0, c0], step, ["sigmoid", "tanh", "tanh"])
