"""PyTorch's CPU random streams, bit for bit, on NumPy alone.

From the bottom up:

    capability.py    which of PyTorch's two x86 roundings this machine would get
    mt19937.py       HostStream: the engine, its seed, words, doubles and 5056-byte state
    exact.py         fused multiply-add, the C library's functions, rounding to an element type
    layout.py        the order in which a tensor's memory is filled
    samplers.py      the public list: uniform, normal, randint, randperm, bernoulli, ... gathered from the files below
      uniform.py, normal.py (box_muller.py), integers.py, permutation.py, bernoulli.py, continuous.py, categorical.py,
      gamma.py, truncated.py

A sampler has the form ``f(stream, shape, ..., dtype=..., strides=None)`` and returns a NumPy array. ``strides`` are the
element strides of the destination (contiguous when None): PyTorch draws in memory order, so they decide which element
gets which draw. Every sampler holds the stream's lock while it draws.
"""

from jtorch.streams.mt19937 import DEFAULT_SEED, HostStream
