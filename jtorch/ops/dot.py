"""Products of two matrices, and of two batches of matrices, in the spelling that the processor runs fast.

Processors with AMX multiply bfloat16 several times faster than float32. XLA's CPU library uses that for products of
bfloat16 with a float32 result, of operands that lie row by row, and contracted over the last dim of the first; other
products of bfloat16 are widened to float32 first. Layouts are XLA's to choose, and it may fail to run such a product
where an operand comes to it transposed or the result is wanted so, so all three are pinned.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from .. import config
from . import backend


def dot2d(a, b, contract: tuple[int, int], dtype=None):
    """The product of two matrices, or vectors, over one dim of each, of ``a``'s dtype or the one given; the free dim of
    ``a`` comes first."""
    return _dot(a, b, contract, 0, dtype or a.dtype)


def dot3d(a, b, contract: tuple[int, int], dtype=None):
    """The products of two batches of matrices over a dim (1 or 2) of each, of ``a``'s dtype or the one given."""
    return _dot(a, b, contract, 1, dtype or a.dtype)


def takes_bfloat16(a, b) -> bool:
    """Whether these operands are multiplied as bfloat16: float32 is at a precision of products of "medium"."""
    lowered = a.dtype == jnp.float32 and config.float32_matmul_precision == "medium"
    return a.dtype == b.dtype and (lowered or a.dtype == jnp.bfloat16) and backend.multiplies_bfloat16()


def widened(a, b) -> tuple:
    """Operands of half precision as float32 where the program will run on a processor, others as they are.

    XLA does so by itself, but for products whose result is turned: from jax 0.12 on it adds those up in bfloat16 on
    processors with AVX-512's instructions for that (an error of 0.27 among results up to 17, for 0.04).
    """
    half = a.dtype == b.dtype and a.dtype in (jnp.bfloat16, jnp.float16)
    return tuple(x.astype(jnp.float32) for x in (a, b)) if half and backend.platform() == "cpu" else (a, b)


def _dot(a, b, contract, batch: int, dtype):
    if takes_bfloat16(a, b) and a.ndim == b.ndim == batch + 2:
        return _narrow(a, b, contract, batch).astype(dtype)
    a, b = widened(a, b)
    wide = jnp.promote_types(a.dtype, dtype)
    out = lax.dot_general(a, b, _dims(contract, batch), preferred_element_type=None if wide == a.dtype else wide)
    return out.astype(dtype)


def _dims(contract, batch: int):
    return ((contract[0],), (contract[1],)), ((0,), (0,)) if batch else ((), ())


def _narrow(a, b, contract, batch: int):
    """The float32 product of bfloat16. One row is widened to float32 by XLA, ten times slower at 4096 features, and so
    is one column; it is multiplied as two rows."""
    rows, columns = (x.shape[2 * batch + 1 - c] for x, c in zip((a, b), contract, strict=True))
    if contract == (batch, batch):  # one of them is copied: that which is smaller, the result counted with it
        other = columns * a.shape[batch] + 2 * rows * columns < rows * a.shape[batch]
    else:
        other = columns == 1 < rows
    if other:
        return jnp.swapaxes(_narrow(b, a, contract[::-1], batch), -1, -2)
    if contract[0] == batch:
        a, contract = jnp.swapaxes(a, -1, -2), (batch + 1, contract[1])
    if rows == 1:
        a = jnp.pad(a, ((0, 0),) * batch + ((0, 1), (0, 0)))
    a, b = (_by_rows(x.astype(jnp.bfloat16)) for x in (a, b))
    out = lax.dot_general(a, b, _dims(contract, batch), preferred_element_type=jnp.float32)
    return _by_rows(out)[..., :rows, :]


def _by_rows(x):
    from jax.experimental.layout import Layout, with_layout_constraint

    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))
