"""Recurrent layers and cells as ``torch.*`` exports them: functions of a flat list of weights."""

from __future__ import annotations

from ..ops.registry import OPS
from ..tensor.dispatch import dispatch
from .modules.module import Module
from .modules.rnn import RNNBase
from .utils.rnn import PackedSequence


def _stack(mode: str, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) -> RNNBase:
    """A layer whose weights are these tensors."""
    layer = object.__new__(RNNBase)
    Module.__init__(layer)
    layer.mode, layer.num_layers, layer.bias, layer.dropout = mode, num_layers, bool(has_biases), dropout
    layer.batch_first, layer.bidirectional, layer.training = batch_first, bidirectional, train
    count = len(params) // (num_layers * (2 if bidirectional else 1))
    names = [f"w{i}" for i in range(len(params))]
    layer._all_weights = [names[i : i + count] for i in range(0, len(names), count)]
    layer.__dict__.update(zip(names, params, strict=True))
    layer.input_size, layer.hidden_size = params[0].shape[1], params[0].shape[0] // _ROWS[mode]
    layer.proj_size = params[count - 1].shape[0] if count in (3, 5) else 0
    return layer


_ROWS = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _layer(mode: str, name: str):
    def run(input, *args, **kwargs):
        names = ["hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first"]
        packed = len(args) > 1 and hasattr(args[0], "dim") and args[0].dim() == 1 and not isinstance(args[1], bool)
        if packed:  # (data, batch_sizes, hx, ...)
            input, args = PackedSequence(input, args[0].cpu()), args[1:]
            names = names[:-1]
        given = dict(zip(names, args, strict=False)) | kwargs
        hx, params = given.pop("hx"), given.pop("params")
        given.setdefault("batch_first", False)
        out, state = _stack(mode, list(params), **given)(input, hx)
        out = out.data if packed else out
        return (out, *state) if mode == "LSTM" else (out, state)

    run.__name__ = run.__qualname__ = name
    run.__module__ = "jtorch"
    state = "h, c" if mode == "LSTM" else "h"
    run.__doc__ = (
        f"``{name}(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)``: "
        f"``(output, {state})``; packed, ``{name}(data, batch_sizes, hx, params, ...)`` without ``batch_first``."
    )
    return run


def _cell(op_name: str, name: str, *statics):
    op = OPS[op_name]
    if op_name == "_lstm_cell":

        def cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
            return tuple(dispatch(op, (input, *hx, w_ih, w_hh, b_ih, b_hh), statics))
    else:

        def cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
            return dispatch(op, (input, hx, w_ih, w_hh, b_ih, b_hh), statics)

    cell.__name__ = cell.__qualname__ = name
    cell.__module__ = "jtorch"
    cell.__doc__ = "One step of the layer: the next state (of an LSTM, the next h and c)."
    return cell


FUNCTIONS = {
    name: _layer(mode, name)
    for name, mode in (("lstm", "LSTM"), ("gru", "GRU"), ("rnn_tanh", "RNN_TANH"), ("rnn_relu", "RNN_RELU"))
} | {
    "lstm_cell": _cell("_lstm_cell", "lstm_cell"),
    "gru_cell": _cell("_gru_cell", "gru_cell"),
    "rnn_tanh_cell": _cell("_rnn_cell", "rnn_tanh_cell", "RNN_TANH"),
    "rnn_relu_cell": _cell("_rnn_cell", "rnn_relu_cell", "RNN_RELU"),
}
