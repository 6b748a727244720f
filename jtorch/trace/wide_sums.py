"""Sums that JAX derives are added up in float32 where they are of float16 or bfloat16, as PyTorch adds them up.

The derivative of a broadcast is a sum in the operand's own type. In bfloat16 5000 ones gave 2304 (XLA rounds after each
addition, in windows), and on a CPU took twenty times as long as in float32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..ops.elementwise import is_half
from .jaxapi import evaluate


def with_wide_sums(fn, arrays):
    """``fn(*arrays)``, a tuple of arrays, with sums of half precision widened."""
    if not any(map(is_half, arrays)):
        return fn(*arrays)
    return tuple(evaluate(jax.make_jaxpr(fn)(*arrays), arrays, {"reduce_sum": _reduce_sum}))


def _reduce_sum(bind, x):
    return bind(x.astype(jnp.float32)).astype(x.dtype) if is_half(x) else bind(x)
