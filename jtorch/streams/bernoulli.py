"""Coin flips. A float ``p`` meets a 53-bit uniform, a float32 (or shorter) tensor ``p`` a 24-bit one."""

from __future__ import annotations

import math

import numpy as np

from jtorch.streams.exact import DIGITS, F32, F64, scalar_name
from jtorch.streams.layout import BLOCK, as_shape, gather, place, sampler
from jtorch.streams.mt19937 import HostStream
from jtorch.streams.uniform import unit32

BOOL = np.dtype(np.bool_)


@sampler
def bernoulli_mask(stream: HostStream, n: int, p: float) -> np.ndarray:
    """Booleans, each True with probability ``p``: the mask of ``bernoulli_(p)`` and of dropout with ``1 - p``.

    Raises:
        RuntimeError: ``p`` is outside [0, 1].
    """
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    threshold = np.array(math.ceil(p * 2.0**53), np.int64)  # u < p, for u a multiple of 2**-53
    if n <= BLOCK:
        return stream.bits53(n) < threshold
    mask = np.empty(n, bool)
    for i in range(0, n, BLOCK):
        part = mask[i : i + BLOCK]
        np.less(stream.bits53(part.size), threshold, out=part)
    return mask


def _check_output(dtype: np.dtype, kernel: str) -> None:
    if dtype not in DIGITS and dtype != BOOL and dtype.name not in ("int64", "int32", "int16", "int8", "uint8"):
        raise NotImplementedError(f'"{kernel}" not implemented for {scalar_name(dtype)!r}')


def bernoulli(stream, shape, p: float = 0.5, *, dtype=F32, strides=None) -> np.ndarray:
    """``Tensor.bernoulli_(p)`` with a float ``p``: zeros and ones.

    Raises:
        RuntimeError: ``p`` is outside [0, 1].
        NotImplementedError: ``dtype`` is complex.
    """
    dtype = np.dtype(dtype)
    _check_output(dtype, "bernoulli_scalar_cpu_")
    mask = bernoulli_mask(stream, shape, p, strides=strides)
    return mask if dtype == BOOL else mask.astype(dtype)


def bernoulli_tensor(stream, p: np.ndarray, shape=None, *, dtype=None, strides=None) -> np.ndarray:
    """``bernoulli(p)``, ``Tensor.bernoulli_(p)`` with an array ``p``, broadcast to ``shape``, of p's type by default.

    Raises:
        RuntimeError: some probability is outside [0, 1].
        NotImplementedError: ``p`` is not floating, or ``dtype`` is complex.
    """
    dtype = p.dtype if dtype is None else np.dtype(dtype)
    if p.dtype not in DIGITS:
        raise NotImplementedError(f'"bernoulli_tensor_cpu_p_" not implemented for {scalar_name(p.dtype)!r}')
    _check_output(dtype, "bernoulli_tensor_cpu_self_")
    shape = p.shape if shape is None else as_shape(shape)
    wide = p if p.dtype == F64 else p.astype(np.float32)
    if not ((wide >= 0) & (wide <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false: a probability is outside [0, 1]")
    chances = gather(np.broadcast_to(wide, shape), strides)
    mask = np.empty(chances.size, bool)
    draw = stream.doubles if p.dtype == F64 else lambda n: unit32(stream, n)
    with stream.lock:
        for i in range(0, mask.size, BLOCK):
            part = mask[i : i + BLOCK]
            np.less(draw(part.size), chances[i : i + BLOCK], out=part)
    mask = place(mask, shape, strides)
    return mask if dtype == BOOL else mask.astype(dtype)
