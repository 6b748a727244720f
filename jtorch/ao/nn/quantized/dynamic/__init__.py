"""Modules with int8 weights that quantize their input by its own range: floats in, floats out."""

from .linear import Linear
from .rnn import GRU, LSTM, GRUCell, LSTMCell, RNNCell
