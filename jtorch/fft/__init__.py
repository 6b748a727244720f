"""Discrete Fourier transforms."""

from __future__ import annotations

from ..ops.fft import EXPORTS as _EXPORTS
from ..ops.registry import OPS as _OPS
from ..tensor.creation import dtype_of as _dtype_of
from ..tensor.creation import factory as _factory
from ..tensor.creation import tensor as _tensor
from ..tensor.export import function as _function

for _name, _op in _EXPORTS.items():
    globals()[_name] = _function(_OPS[_op])


def _frequencies(name, numbers, n, d, dtype, device):
    kind = _dtype_of(dtype)
    if not (kind.is_floating_point or kind.is_complex):
        raise RuntimeError(f"{name} requires a floating point or complex dtype")
    return _tensor([k / (n * d) for k in numbers], dtype=kind, device=device)


@_factory(out=True)
def fftfreq(n, d=1.0, *, dtype=None, device=None):
    """The frequencies of an ``n``-point transform with sample spacing ``d``."""
    half = (n - 1) // 2 + 1
    return _frequencies("fftfreq", [*range(half), *range(-(n // 2), 0)], n, d, dtype, device)


@_factory(out=True)
def rfftfreq(n, d=1.0, *, dtype=None, device=None):
    """The frequencies of an ``n``-point real transform with sample spacing ``d``."""
    return _frequencies("rfftfreq", range(n // 2 + 1), n, d, dtype, device)
