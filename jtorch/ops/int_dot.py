"""The exact product of 8-bit integer matrices, in the spelling for which XLA has the fastest kernel.

XLA's CPU kernels for int8 x int8 use AMX where there is any, and else plain AVX; those for uint8 x int8 use AMX, or
AVX512-VNNI, which multiplies unsigned by signed bytes four at a time (2.5 times faster than int8 x int8 on a processor
without AMX, 4 times faster than float32). ``jax.lax.dot_general`` widens operands of different types to 32 bits
before the product on CPU, so the mixed product has a primitive of its own here, which lowers to the same StableHLO
operation without the widening. Without VNNI the mixed product has no kernel worth the name, so there, and on
accelerators, both operands are int8.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import mlir

from . import backend
from .elementwise import c_type_name
from .registry import Array, op


@functools.cache
def _mixed_dot():
    """The primitive of a uint8 x int8 product."""
    from jax.extend.core import Primitive  # slow to import
    from jax.extend.mlir.dialects import stablehlo

    mixed_dot = Primitive("uint8_int8_dot")

    @mixed_dot.def_abstract_eval
    def result(a, w):
        return jax.core.ShapedArray((*a.shape[:-1], w.shape[-2]), np.dtype(np.int32))

    def lower(ctx, a, w):
        rank = len(ctx.avals_in[0].shape)
        batch, contract = list(range(rank - 2)), [rank - 1]
        numbers = stablehlo.DotDimensionNumbers.get(batch, batch, contract, contract)
        result = mlir.aval_to_ir_type(ctx.module_context, ctx.avals_out[0])
        return [stablehlo.dot_general(result, a, w, numbers)]

    mlir.register_lowering(mixed_dot, lower)
    return mixed_dot


@functools.cache
def _has_vnni() -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            return any(line.startswith("flags") and " avx512_vnni" in line for line in file)
    except OSError:
        return False


def takes_unsigned() -> bool:
    """Whether the left operand of :func:`int_dot` is best unsigned, on the platform being traced for."""
    return backend.platform() == "cpu" and _has_vnni()


def as_operand(x, zero_point):
    """8-bit activations and their zero point in the type :func:`int_dot` wants: uint8 or int8, shifted by 128."""
    zero_point = zero_point.reshape(()).astype(jnp.int32)
    wanted = np.uint8 if takes_unsigned() else np.int8
    if x.dtype == wanted:
        return x, zero_point
    shift = 128 if wanted is np.uint8 else -128
    return lax.bitcast_convert_type(x, wanted) ^ np.array(-128, np.int8).view(wanted), zero_point + shift


@op(differentiable=False, method=False)
def _int_mm(input: Array, mat2: Array):
    """The exact product of int8 (or uint8) matrices ``(M, K)`` and ``(K, N)``, in int32.

    Raises:
        RuntimeError: another dtype, or sizes that do not fit.
    """
    for name, x in (("self", input), ("mat2", mat2)):
        if x.ndim != 2:
            raise RuntimeError(f"_int_mm: Expected {name} to be of dimension 2 but got {x.ndim}")
        if x.dtype not in (np.int8, np.uint8):
            raise RuntimeError(f"_int_mm: Expected {name} dtype to be int8 or uint8 but got {c_type_name(x)}")
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"_int_mm: self.size(1) needs to match mat2.size(0) but got {input.shape[1]} and {mat2.shape[0]}"
        )
    if input.dtype == mat2.dtype == np.int8:
        return int_dot(input, mat2.T)
    return lax.dot(input.astype(np.int32), mat2.astype(np.int32))


def int_dot(a, w):
    """``a wᵀ`` of ``(..., M, K)`` and ``(..., N, K)`` 8-bit matrices, exactly, in int32; ``w`` is int8."""
    rows = a.shape[-2]
    if rows < 4 and backend.platform() == "cpu":  # a matrix-vector product misses XLA's integer kernels
        a = jnp.pad(a, (*((0, 0),) * (a.ndim - 2), (0, 4 - rows), (0, 0)))
    if a.dtype == np.uint8:
        y = _mixed_dot().bind(a, w)
    else:
        batch, last = tuple(range(a.ndim - 2)), a.ndim - 1
        y = lax.dot_general(a, w, (((last,), (last,)), (batch, batch)), preferred_element_type=jnp.int32)
    return y[..., :rows, :]
