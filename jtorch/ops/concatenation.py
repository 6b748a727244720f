"""Arrays one after the other."""

from __future__ import annotations

from functools import partial
from itertools import accumulate

import jax
import jax.numpy as jnp
from jax import lax

from . import backend
from .elementwise import is_half


def concatenated(arrays, dim: int):
    """``lax.concatenate``. XLA's CPU compiler widens half precision to join it, which takes three times as long as
    joining its bits."""
    if backend.platform() == "cpu" and all(is_half(x) for x in arrays):
        return _bits_concatenated(tuple(arrays), dim)
    return lax.concatenate(arrays, dim)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _bits_concatenated(arrays, dim: int):
    bits = [lax.bitcast_convert_type(x, jnp.uint16) for x in arrays]
    return lax.bitcast_convert_type(lax.concatenate(bits, dim), arrays[0].dtype)


def _backward(dim, arrays, g):
    ends = list(accumulate(x.shape[dim] for x in arrays))
    return (tuple(lax.slice_in_dim(g, a, b, axis=dim) for a, b in zip([0, *ends], ends, strict=False)),)


_bits_concatenated.defvjp(lambda arrays, dim: (_bits_concatenated(arrays, dim), arrays), _backward)
