"""Recurrent layers and cells."""

from __future__ import annotations

import math
import numbers
import warnings

import jtorch

from ...ops.registry import OPS
from ...tensor.dispatch import dispatch
from .. import functional as F
from .. import init
from ..parameter import Parameter
from ..utils.rnn import PackedSequence, Packing
from .module import Module

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_LAYER = {"LSTM": OPS["_lstm_layer"], "GRU": OPS["_gru_layer"], "RNN_TANH": OPS["_rnn_layer"],
          "RNN_RELU": OPS["_rnn_layer"]}  # fmt: skip


def _check_dtypes(tensors, dtype) -> None:
    """Raises:
    RuntimeError: one is of another type than ``dtype``, and autocast does not change that.
    """
    for x in tensors:
        if x.dtype is not dtype and (x.dtype is jtorch.float64 or not jtorch.is_autocast_enabled(x.device.type)):
            raise RuntimeError(
                f"mat1 and mat2 must have the same dtype, but got {x.dtype.legacy_name} and {dtype.legacy_name}"
            )


class RNNBase(Module):
    """Stacked recurrent layers, one- or two-directional; see :class:`RNN`, :class:`GRU` and :class:`LSTM`."""

    __constants__ = [
        "mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional",
        "proj_size",
    ]  # fmt: skip

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if not isinstance(input_size, int):
            raise TypeError(f"input_size should be of type int, got: {type(input_size).__name__}")
        if input_size <= 0:
            raise ValueError("input_size must be greater than zero")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        gates, out_size = _GATES[mode] * hidden_size, proj_size or hidden_size
        self._all_weights: list[list[str]] = []  # of each layer and direction, in the order of registration
        for layer in range(num_layers):
            into = input_size if layer == 0 else out_size * self._directions
            for suffix in ("", "_reverse")[: self._directions]:
                shapes = {"weight_ih": (gates, into), "weight_hh": (gates, out_size)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = []
                for name, shape in shapes.items():
                    name = f"{name}_l{layer}{suffix}"
                    setattr(self, name, Parameter(jtorch.empty(shape, device=device, dtype=dtype)))
                    names.append(name)
                self._all_weights.append(names)
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [w for weights in self.all_weights for w in weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    def reset_parameters(self) -> None:
        """Draw new initial values, uniform on ±1/√hidden_size."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing to do: XLA lays out weights by itself."""

    def extra_repr(self) -> str:
        s = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            s += f", proj_size={self.proj_size}"
        for name, default in (
            ("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0), ("bidirectional", False),
        ):  # fmt: skip
            if getattr(self, name) != default:
                s += f", {name}={getattr(self, name)}"
        return s

    def __setstate__(self, state) -> None:
        super().__setstate__(state)
        for name in ("_flat_weights", "_flat_weights_names", "_flat_weight_refs"):
            self.__dict__.pop(name, None)  # PyTorch pickles what is computed here
        self.__dict__.setdefault("proj_size", 0)

    # --- checks

    def _operand_type(self):
        """What input and states have to be of."""
        return getattr(self, self._all_weights[0][0]).dtype

    def check_input(self, input, batch_sizes=None) -> None:
        """The size of the input's features, and their type.

        Raises:
            ValueError: it is not the weights', and autocast does not make it so.
            RuntimeError: the size is not ``input_size``.
        """
        wanted = self._operand_type()
        if input.dtype is not wanted and not jtorch.is_autocast_enabled(input.device.type):
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({wanted}). Convert input: "
                f"input.to({wanted}), or convert model: model.to({input.dtype})"
            )
        expected = 2 if batch_sizes is not None else 3
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )

    def check_hidden_size(self, hx, expected_hidden_size, msg: str = "Expected hidden size {}, got {}") -> None:
        """The size of an initial state.

        Raises:
            RuntimeError: it is another.
        """
        if tuple(hx.shape) != tuple(expected_hidden_size):
            raise RuntimeError(msg.format(tuple(expected_hidden_size), list(hx.shape)))

    def _batch(self, input, batch_sizes) -> int:
        return int(batch_sizes[0]) if batch_sizes is not None else input.shape[0 if self.batch_first else 1]

    def get_expected_hidden_size(self, input, batch_sizes) -> tuple:
        """The size of the initial ``h`` for an input (packed, if there are ``batch_sizes``)."""
        return self._state_sizes(self._batch(input, batch_sizes))[0]

    def check_forward_args(self, input, hidden, batch_sizes) -> None:
        """:meth:`check_input`, and the sizes of the initial state.

        Raises:
            RuntimeError: one is another.
        """
        self.check_input(input, batch_sizes)
        self._check_states(hidden, self._state_sizes(self._batch(input, batch_sizes)))

    def _check_states(self, hidden, sizes) -> None:
        states = hidden if self.mode == "LSTM" else [hidden]
        for i, (s, size) in enumerate(zip(states, sizes, strict=True)):
            which = f"hidden[{i}]" if self.mode == "LSTM" else "hidden"
            self.check_hidden_size(s, size, f"Expected {which} size {{}}, got {{}}")

    def permute_hidden(self, hx, permutation):
        """The state with its batch in another order; itself for None."""
        if permutation is None:
            return hx
        if self.mode == "LSTM":
            return tuple(s.index_select(1, permutation) for s in hx)
        return hx.index_select(1, permutation)

    def _state_sizes(self, batch: int) -> list[tuple]:
        n = self.num_layers * self._directions
        sizes = [(n, batch, self.proj_size or self.hidden_size)]
        return [*sizes, (n, batch, self.hidden_size)] if self.mode == "LSTM" else sizes

    def _initial(self, hx, batched: bool, batch: int, like, permutation) -> list:
        """The initial states, each ``(layers, B, H)`` and in the order of the batch."""
        sizes = self._state_sizes(batch)
        if hx is None:
            return [jtorch.zeros(size, dtype=like.dtype, device=like.device) for size in sizes]
        states = list(hx) if self.mode == "LSTM" else [hx]
        dims = [s.dim() for s in states]
        if any(d != (3 if batched else 2) for d in dims):
            kind, d = ("batched 3-D", 3) if batched else ("unbatched 2-D", 2)
            raise RuntimeError(
                f"For {kind} input, hx and cx should also be {d}-D but got ({', '.join(f'{n}-D' for n in dims)}) "
                "tensors"
                if self.mode == "LSTM"
                else f"For {kind} input, hx should also be {d}-D but got {dims[0]}-D tensor"
            )
        if not batched:
            states = [s.unsqueeze(1) for s in states]
        self._check_states(states if self.mode == "LSTM" else states[0], sizes)
        _check_dtypes(states, like.dtype)
        if permutation is not None:
            states = [s.index_select(1, permutation) for s in states]
        return states

    # --- running

    def _direction(self, input, states, names, lengths, reverse: bool):
        """One layer in one direction over ``(T, B, I)``: the output and the final states."""
        weights = [getattr(self, name) for name in names]
        w_ih, w_hh = weights[:2]
        b_ih, b_hh = weights[2:4] if self.bias else (None, None)
        op = _LAYER[self.mode]
        if self.mode == "LSTM":
            w_hr = weights[-1] if self.proj_size else None
            return dispatch(op, (input, *states, w_ih, w_hh, b_ih, b_hh, w_hr, lengths), (reverse,))
        if self.mode == "GRU":
            return dispatch(op, (input, *states, w_ih, w_hh, b_ih, b_hh, lengths), (reverse,))
        return dispatch(op, (input, *states, w_ih, w_hh, b_ih, b_hh, lengths), (self.mode, reverse))

    def _layers(self, x, states, packing: Packing | None):
        """All layers over ``(T, B, I)``; ``packing`` says which positions exist."""
        lengths = None if packing is None else packing.lengths(x.device)
        finals: list[list] = [[] for _ in states]
        for layer in range(self.num_layers):
            outs = []
            for direction in range(self._directions):
                i = layer * self._directions + direction
                out, *last = self._direction(x, [s[i] for s in states], self._all_weights[i], lengths, direction == 1)
                outs.append(out)
                for final, s in zip(finals, last, strict=True):
                    final.append(s)
            x = outs[0] if len(outs) == 1 else jtorch.cat(outs, -1)
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout) if packing is None else packing.dropout(x, self.dropout)
        return x, [jtorch.stack(f) for f in finals]

    def forward(self, input, hx=None):
        """The outputs of the last layer, and the final state of every layer and direction."""
        if isinstance(input, PackedSequence):
            _, batch_sizes, sorted_indices, unsorted_indices = tuple.__iter__(input)
            packing, grid = Packing.of(batch_sizes), input._grid
            if grid is None:
                self.check_input(input.data, batch_sizes)
                grid = packing.pad(input.data)
            self.check_input(grid)
            states = self._initial(hx, True, packing.batch, grid, sorted_indices)
            out, finals = self._layers(grid, states, packing)
            out = PackedSequence._of_grid(out, batch_sizes, sorted_indices, unsorted_indices)
            if unsorted_indices is not None:
                finals = [f.index_select(1, unsorted_indices) for f in finals]
            return out, self._packed_state(finals)
        if input.dim() not in (2, 3):
            raise ValueError(f"{self._kind()}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        self.check_input(x)
        states = self._initial(hx, batched, x.shape[1], x, None)
        out, finals = self._layers(x, states, None)
        if not batched:
            out, finals = out.squeeze(1), [f.squeeze(1) for f in finals]
        elif self.batch_first:
            out = out.transpose(0, 1)
        return out, self._packed_state(finals)

    def _packed_state(self, finals):
        return tuple(finals) if self.mode == "LSTM" else finals[0]

    def _kind(self) -> str:
        return "RNN" if self.mode.startswith("RNN") else self.mode


class RNN(RNNBase):
    """``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)`` (or relu), stacked.

    Args:
        input_size, hidden_size: sizes of ``x_t`` and ``h_t``.
        num_layers: how many layers, each over the outputs of the one before.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether there are ``b_ih`` and ``b_hh``.
        batch_first: inputs and outputs are ``(N, L, *)`` rather than ``(L, N, *)``.
        dropout: between layers, in training.
        bidirectional: run each layer in both directions and concatenate.

    Shape:
        Input ``(L, N, I)``, ``(L, I)`` or a PackedSequence, and ``h_0 (layers · directions, N, H)`` (default zero);
        output ``(L, N, directions · H)`` and ``h_n``.
    """

    def __init__(self, *args, **kwargs):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity, args = args[3], (*args[:3], *args[4:])
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class GRU(RNNBase):
    """Gated recurrent units: ``h_t = (1 - z) n + z h_{t-1}``, ``n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))``.

    Arguments and shapes are :class:`RNN`'s (without ``nonlinearity``); gates lie in the order r, z, n.
    """

    def __init__(self, *args, **kwargs):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class LSTM(RNNBase):
    """Long short-term memory: ``c_t = f c_{t-1} + i g``, ``h_t = o tanh(c_t)``.

    Arguments and shapes are :class:`RNN`'s (without ``nonlinearity``); the state is the pair ``(h, c)``, gates lie in
    the order i, f, g, o, and ``proj_size`` projects ``h`` to that size.
    """

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input, batch_sizes) -> tuple:
        """The size of the initial ``c`` for an input (packed, if there are ``batch_sizes``)."""
        return self._state_sizes(self._batch(input, batch_sizes))[1]


# --- cells ---------------------------------------------------------------------------------------------------------


class RNNCellBase(Module):
    """One step of a recurrent layer.

    Attributes:
        weight_ih, weight_hh, bias_ih, bias_hh: uniform on ±1/√hidden_size.
    """

    __constants__ = ["input_size", "hidden_size", "bias"]

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device=None, dtype=None):
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(jtorch.empty((rows, input_size), device=device, dtype=dtype))
        self.weight_hh = Parameter(jtorch.empty((rows, hidden_size), device=device, dtype=dtype))
        if bias:
            self.bias_ih = Parameter(jtorch.empty(rows, device=device, dtype=dtype))
            self.bias_hh = Parameter(jtorch.empty(rows, device=device, dtype=dtype))
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _prepared(self, input, states):
        """Input and states (zeros when None), checked."""
        name = self._get_name()
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]} expected {self.input_size}")
        _check_dtypes([input, *(states or ())], self._operand_type())
        if states is None:
            shape = (*input.shape[:-1], self.hidden_size)
            return [jtorch.zeros(shape, dtype=input.dtype, device=input.device) for _ in range(self._n_states)]
        for i, h in enumerate(states):
            if h.dim() not in (1, 2):
                which = "hidden" if self._n_states == 1 else f"hx[{i}]"
                raise ValueError(f"{name}: Expected {which} to be 1D or 2D, got {h.dim()}D instead")
            if tuple(h.shape) != (*input.shape[:-1], self.hidden_size):
                raise RuntimeError(
                    f"hidden{i} of shape {tuple(h.shape)} does not fit an input of shape {tuple(input.shape)}: "
                    f"expected {(*input.shape[:-1], self.hidden_size)}"
                )
        return list(states)

    _n_states = 1

    def _operand_type(self):
        return self.weight_ih.dtype

    @property
    def _weights(self):
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def extra_repr(self) -> str:
        s = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            s += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            s += f", nonlinearity={self.nonlinearity}"
        return s


class RNNCell(RNNCellBase):
    """One step of :class:`RNN`: ``(N, I)`` and ``h (N, H)`` to the next ``h``; without ``N`` as well."""

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]
    _op = OPS["_rnn_cell"]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device=None, dtype=None
    ):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        (h,) = self._prepared(input, None if hx is None else (hx,))
        return dispatch(self._op, (input, h, *self._weights), (f"RNN_{self.nonlinearity.upper()}",))


class LSTMCell(RNNCellBase):
    """One step of :class:`LSTM`: ``(N, I)`` and ``(h, c)`` to the next ``(h, c)``; without ``N`` as well."""

    _op = OPS["_lstm_cell"]
    _n_states = 2

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input, hx=None):
        h, c = self._prepared(input, hx)
        return tuple(dispatch(self._op, (input, h, c, *self._weights), ()))


class GRUCell(RNNCellBase):
    """One step of :class:`GRU`: ``(N, I)`` and ``h (N, H)`` to the next ``h``; without ``N`` as well."""

    _op = OPS["_gru_cell"]

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input, hx=None):
        (h,) = self._prepared(input, None if hx is None else (hx,))
        return dispatch(self._op, (input, h, *self._weights), ())
