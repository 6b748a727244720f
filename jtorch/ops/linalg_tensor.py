"""Linear algebra on tensors read as matrices, and Vandermonde matrices."""

from __future__ import annotations

import math

import jax.numpy as jnp

from .elementwise import is_bool
from .linalg import ONLY, inv, solve
from .registry import Array, op


@op(namespaces=ONLY)
def tensorinv(input: Array, ind: int = 2):
    """The inverse of ``input`` read as a map from its last dims to its first ``ind`` ones.

    Raises:
        RuntimeError: ``ind`` is not positive, or the two groups of dims have different numbers of elements.
    """
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    first, last = input.shape[:ind], input.shape[ind:]
    if math.prod(first) != math.prod(last):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{math.prod(last)} != {math.prod(first)}"
        )
    return inv(input.reshape(math.prod(first), math.prod(last))).reshape(last + first)


@op(namespaces=ONLY)
def tensorsolve(input: Array, other: Array, dims: tuple[int, ...] | None = None):
    """The X with ``tensordot(A, X, X.ndim) = B``; ``dims`` of ``input`` are moved to its end first.

    Raises:
        RuntimeError: the sizes do not fit.
    """
    if dims is not None:
        input = jnp.moveaxis(input, dims, tuple(range(input.ndim - len(dims), input.ndim)))
    last = input.shape[other.ndim :]
    if math.prod(last) != other.size or input.size != other.size * math.prod(last):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {math.prod(last)} != {math.prod(input.shape[: other.ndim])}"
        )
    return solve(input.reshape(other.size, other.size), other.reshape(-1)).reshape(last)


@op(name="linalg_vander", namespaces=(), promote="keep", inplace=False, out=True, elementwise=False)
def vander(x: Array, N: int | None = None):
    """The matrices with rows ``1, x_i, x_i^2, ... x_i^(N-1)``; ``N`` defaults to the length of ``x``.

    Raises:
        RuntimeError: ``N`` is less than 2, or ``x`` is of bools.
    """
    x = x[None] if x.ndim == 0 else x
    n = x.shape[-1] if N is None else N
    if n < 2:
        raise RuntimeError("N must be greater than 1.")
    if is_bool(x):
        raise RuntimeError("linalg.vander supports floating point, complex, and integer tensors, but got Bool")
    if jnp.issubdtype(x.dtype, jnp.integer):
        x = x.astype(jnp.int64)
    columns = [jnp.ones_like(x)]
    for _ in range(n - 1):
        columns.append(columns[-1] * x)
    return jnp.stack(columns, -1)
