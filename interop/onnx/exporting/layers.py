"""Normalisation and recurrent layers."""

from __future__ import annotations

import numpy as np

from .builder import Value, short
from .table import refuse, static, translates


def _filled(g, x, size: int, number: float, dtype):
    """``x``, or a constant vector where a layer has none."""
    return x if x is not None else g.const(np.full(size, number), dtype)


@translates("_batch_norm_eval")
def _batch_norm(g, node, input, running_mean, running_var, weight, bias, eps):
    channels = input.shape[1]
    static(node, channels=channels)
    scale, shift = _filled(g, weight, channels, 1, input.dtype), _filled(g, bias, channels, 0, input.dtype)
    return g.BatchNormalization(input, scale, shift, running_mean, running_var, epsilon=float(eps))


@translates("_batch_norm_train")
def _batch_norm_train(g, node, **_):
    refuse(node, "the model normalises by the statistics of the batch; call model.eval() first, or export with "
                 "training=TrainingMode.EVAL")  # fmt: skip


@translates("layer_norm")
def _layer_norm(g, node, input, weight, bias, normalized_shape, eps):
    static(node, normalized_shape=normalized_shape)
    scale = weight if weight is not None else g.const(np.ones(normalized_shape), input.dtype)
    return g.LayerNormalization(input, scale, bias, axis=-len(normalized_shape), epsilon=float(eps))


@translates("rms_norm")
def _rms_norm(g, node, input, weight, normalized_shape, eps):
    import jtorch

    static(node, normalized_shape=normalized_shape)
    eps = jtorch.finfo(input.dtype).eps if eps is None else eps
    if g.opset >= 23:
        scale = weight if weight is not None else g.const(np.ones(normalized_shape), input.dtype)
        return g.RMSNormalization(input, scale, axis=-len(normalized_shape), epsilon=float(eps))
    wide = Value(g.cast(input, jtorch.float32), jtorch.float32) if short(input.dtype) != "float64" else input
    axes = list(range(-len(normalized_shape), 0))
    square = g.reduce("Mean", g.Mul(wide, wide), axes, True)
    out = g.Div(wide, g.Sqrt(g.Add(square, g.const(eps, wide.dtype))))
    if weight is not None:
        out = g.Mul(out, g.cast(weight, wide.dtype))
    return g.cast(Value(out, wide.dtype), input.dtype)


def _grouped(g, node, input, groups: int, weight, bias, eps):
    """Group norm as instance norm of the groups: ONNX's own needs opset 21."""
    channels = input.shape[1]
    static(node, channels=channels)
    if g.opset >= 21 and groups != channels:
        scale, shift = _filled(g, weight, channels, 1, input.dtype), _filled(g, bias, channels, 0, input.dtype)
        return g.GroupNormalization(input, scale, shift, num_groups=groups, epsilon=float(eps))
    ones, zeros = g.const(np.ones(groups), input.dtype), g.const(np.zeros(groups), input.dtype)
    if groups == channels and input.ndim > 2:
        scale, shift = _filled(g, weight, channels, 1, input.dtype), _filled(g, bias, channels, 0, input.dtype)
        return g.InstanceNormalization(input, scale, shift, epsilon=float(eps))
    x = g.Reshape(input, g.const(np.array([0, groups, -1], np.int64)))
    x = g.InstanceNormalization(x, ones, zeros, epsilon=float(eps))
    x = g.reshape(Value(x), input.shape)
    column = g.ints([-1] + [1] * (input.ndim - 2))
    if weight is not None:
        x = g.Mul(x, g.Reshape(weight, column))
    return x if bias is None else g.Add(x, g.Reshape(bias, column))


@translates("group_norm")
def _group_norm(g, node, input, weight, bias, num_groups, eps):
    return _grouped(g, node, input, num_groups, weight, bias, eps)


@translates("_instance_norm")
def _instance_norm(g, node, input, weight, bias, eps):
    return _grouped(g, node, input, input.shape[1], weight, bias, eps)


@translates("local_response_norm")
def _local_response_norm(g, node, input, size, alpha, beta, k):
    if size % 2 == 0:
        refuse(node, "an even size: ONNX centres the channels otherwise")
    if input.ndim == 3:
        x = g.unsqueeze(input, [3])
        return g.squeeze(g.LRN(x, alpha=float(alpha), beta=float(beta), bias=float(k), size=size), [3])
    return g.LRN(input, alpha=float(alpha), beta=float(beta), bias=float(k), size=size)


# --- recurrent layers ------------------------------------------------------------------------------------------------
# ONNX keeps the gates in another order, adds a leading dimension for directions, and one bias vector of both.

_LSTM, _GRU, _RNN = (0, 3, 1, 2), (1, 0, 2), (0,)  # where ONNX's gates stand in PyTorch's i f g o and r z n


def _gates(g, w, order, hidden: int):
    """Rows of a weight or bias, gate by gate, in ONNX's order, with the dimension of directions."""
    if order != tuple(range(len(order))):
        rows = np.concatenate([np.arange(i * hidden, (i + 1) * hidden) for i in order])
        w = g.Gather(w, g.const(rows.astype(np.int64)), axis=0)
    return g.unsqueeze(w, [0])


def _recurrent(g, node, op_type, order, outputs, input, states, w_ih, w_hh, b_ih, b_hh, lengths, reverse, **attributes):
    import jtorch

    hidden = w_hh.shape[-1]
    if w_hh.shape[0] != len(order) * hidden:
        refuse(node, "proj_size")
    bias = None
    if b_ih is not None or b_hh is not None:
        zeros = g.const(np.zeros(len(order) * hidden), input.dtype)
        halves = [_gates(g, zeros if b is None else b, order, hidden) for b in (b_ih, b_hh)]
        bias = g.Concat(*halves, axis=-1)
    if lengths is not None:
        lengths = g.cast(lengths, jtorch.int32)
    results = g.node(
        op_type,
        [input, _gates(g, w_ih, order, hidden), _gates(g, w_hh, order, hidden), bias, lengths,
         *(g.unsqueeze(s, [0]) for s in states)],
        outputs, hidden_size=hidden, direction="reverse" if reverse else None, **attributes,
    )  # fmt: skip
    out, *last = results
    return (g.squeeze(out, [1]), *(g.squeeze(s, [0]) for s in last))


@translates("_lstm_layer")
def _lstm(g, node, input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths, reverse):
    if w_hr is not None:
        refuse(node, "an LSTM with proj_size has no ONNX form")
    return _recurrent(g, node, "LSTM", _LSTM, 3, input, [h0, c0], w_ih, w_hh, b_ih, b_hh, lengths, reverse)


@translates("_gru_layer")
def _gru(g, node, input, h0, w_ih, w_hh, b_ih, b_hh, lengths, reverse):
    return _recurrent(g, node, "GRU", _GRU, 2, input, [h0], w_ih, w_hh, b_ih, b_hh, lengths, reverse,
                      linear_before_reset=1)  # fmt: skip


@translates("_rnn_layer")
def _rnn(g, node, input, h0, w_ih, w_hh, b_ih, b_hh, lengths, mode, reverse):
    activation = "Tanh" if mode == "RNN_TANH" else "Relu"
    return _recurrent(g, node, "RNN", _RNN, 2, input, [h0], w_ih, w_hh, b_ih, b_hh, lengths, reverse,
                      activations=[activation])  # fmt: skip


def _affine(g, x, w, b):
    if x.ndim == 2:
        return g.Gemm(x, w, b, transB=1)
    out = g.MatMul(x, g.transpose(w, [1, 0]))
    return out if b is None else g.Add(out, b)


def _parts(g, x, n: int):
    return g.Split(x, _outputs=n, axis=-1, num_outputs=n)


@translates("_rnn_cell")
def _rnn_cell(g, node, input, hx, w_ih, w_hh, b_ih, b_hh, mode):
    z = g.Add(_affine(g, input, w_ih, b_ih), _affine(g, hx, w_hh, b_hh))
    return g.Tanh(z) if mode == "RNN_TANH" else g.Relu(z)


@translates("_lstm_cell")
def _lstm_cell(g, node, input, hx, cx, w_ih, w_hh, b_ih, b_hh):
    i, f, n, o = _parts(g, g.Add(_affine(g, input, w_ih, b_ih), _affine(g, hx, w_hh, b_hh)), 4)
    c = g.Add(g.Mul(g.Sigmoid(f), cx), g.Mul(g.Sigmoid(i), g.Tanh(n)))
    return g.Mul(g.Sigmoid(o), g.Tanh(c)), c


@translates("_gru_cell")
def _gru_cell(g, node, input, hx, w_ih, w_hh, b_ih, b_hh):
    xr, xz, xn = _parts(g, _affine(g, input, w_ih, b_ih), 3)
    hr, hz, hn = _parts(g, _affine(g, hx, w_hh, b_hh), 3)
    z = g.Sigmoid(g.Add(xz, hz))
    n = g.Tanh(g.Add(xn, g.Mul(g.Sigmoid(g.Add(xr, hr)), hn)))
    return g.Add(n, g.Mul(z, g.Sub(hx, n)))
