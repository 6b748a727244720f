"""Recurrent layers with int8 weights, between floats.

In a state dict each weight is ``int_weight_*`` (int8) and ``weight_scale_*``; biases keep their names.
"""

from __future__ import annotations

import jtorch
from jtorch import nn

from .....tensor.dispatch import call
from ..modules.weighted import quantize_weight


class _DynamicRecurrent:
    """Before a recurrent class of ``nn``: weights as integers and scales, and what runs them."""

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False):
        """What a float layer with a dynamic ``qconfig`` becomes.

        Raises:
            NotImplementedError: an LSTM with projections.
        """
        if getattr(mod, "proj_size", 0):
            raise NotImplementedError("dynamic quantization of an LSTM with proj_size is not implemented")
        if next(mod.parameters()).dtype is not jtorch.float32:
            raise RuntimeError(f"quantize_dynamic: expected float32 weights, got {next(mod.parameters()).dtype}")
        new = cls.__new__(cls)
        nn.Module.__init__(new)
        containers = ("_parameters", "_buffers", "_modules")
        skipped = (*containers, "_forward_hooks", "_forward_pre_hooks", "qconfig")
        new.__dict__.update({k: v for k, v in mod.__dict__.items() if k not in skipped})
        for name, p in mod.named_parameters(recurse=False):
            if not name.startswith("weight"):
                new.register_buffer(name, p.detach().clone())
                continue
            q = quantize_weight(p, mod.qconfig.weight())
            scale = jtorch.tensor(q.q_scale()) if q._axis is None else q.q_per_channel_scales()
            new.register_buffer(f"int_{name}", q.int_repr())
            new.register_buffer(name.replace("weight", "weight_scale"), scale.to(jtorch.float32))
        return new

    def _operands(self, suffix: str) -> list:
        """Weights, scales and biases, as the operations take them."""
        names = [f"{part}_{of}{suffix}" for part in ("int_weight", "weight_scale", "bias") for of in ("ih", "hh")]
        return [self._buffers.get(name) for name in names]

    def _operand_type(self):
        return jtorch.float32

    def _get_name(self) -> str:
        return f"DynamicQuantized{type(self).__name__}"


class _Layers(_DynamicRecurrent):
    def _direction(self, input, states, names, lengths, reverse: bool):
        h, *c = states
        operands = self._operands(names[0].removeprefix("weight_ih"))
        return call(
            "_quantized_rnn_layer", input, h, c[0] if c else None, *operands, lengths, mode=self.mode, reverse=reverse
        )


class LSTM(_Layers, nn.LSTM):
    """``nn.LSTM`` with int8 weights; inputs and states are rounded to 7 bits by their own range."""


class GRU(_Layers, nn.GRU):
    """``nn.GRU`` with int8 weights; inputs and states are rounded to 7 bits by their own range."""


class _Cell(_DynamicRecurrent):
    def forward(self, input, hx=None):
        states = self._prepared(input, hx if hx is None or self._n_states == 2 else (hx,))
        h, *c = states
        new = call("_quantized_rnn_cell", input, h, c[0] if c else None, *self._operands(""), mode=self._mode())
        return tuple(new) if c else new[0]


class LSTMCell(_Cell, nn.LSTMCell):
    """``nn.LSTMCell`` with int8 weights."""

    def _mode(self) -> str:
        return "LSTM"


class GRUCell(_Cell, nn.GRUCell):
    """``nn.GRUCell`` with int8 weights."""

    def _mode(self) -> str:
        return "GRU"


class RNNCell(_Cell, nn.RNNCell):
    """``nn.RNNCell`` with int8 weights."""

    def _mode(self) -> str:
        return f"RNN_{self.nonlinearity.upper()}"
