"""Discrete Fourier transforms."""

from __future__ import annotations

from ..ops.fft import EXPORTS as _EXPORTS
from ..ops.registry import OPS as _OPS
from ..tensor.creation import dtype_of as _dtype_of
from ..tensor.creation import finish as _finish
from ..tensor.creation import tensor as _tensor
from ..tensor.export import function as _function

for _name, _op in _EXPORTS.items():
    globals()[_name] = _function(_OPS[_op])


def _frequencies(numbers, n, d, dtype, device, requires_grad, layout):
    return _finish(
        _tensor([k / (n * d) for k in numbers], dtype=_dtype_of(dtype), device=device), requires_grad, layout
    )


def fftfreq(n, d=1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of an ``n``-point transform with sample spacing ``d``."""
    half = (n - 1) // 2 + 1
    t = _frequencies([*range(half), *range(-(n // 2), 0)], n, d, dtype, device, requires_grad, layout)
    if out is not None:
        out._write_out(t)
        return out
    return t


def rfftfreq(n, d=1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of an ``n``-point real transform with sample spacing ``d``."""
    t = _frequencies(range(n // 2 + 1), n, d, dtype, device, requires_grad, layout)
    if out is not None:
        out._write_out(t)
        return out
    return t
