"""Products of Householder reflectors: QR in LAPACK's packed form."""

from __future__ import annotations

import jax.numpy as jnp

from .elementwise import is_complex
from .linalg import ONLY, _matrix
from .loops import scan
from .registry import Array, op
from .shapes import broadcast_shapes


@op(returns=("a", "tau"), differentiable=False)
def geqrf(input: Array):
    """QR in packed form: R above the diagonal, the reflectors' vectors below it, and their factors ``tau``."""
    _matrix("geqrf", input)
    packed, tau = jnp.linalg.qr(input, mode="raw")
    return jnp.swapaxes(packed, -2, -1), tau


def _apply(V, tau, X, *, reverse: bool, conjugate: bool):
    """``H_1 ... H_k X`` (``reverse=False``: ``H_k ... H_1 X``), with ``H_i = 1 - tau_i v_i v_i^H``; batched.

    A loop of rank-one updates, so that it can be differentiated; XLA's own kernel cannot.
    """
    m, k = V.shape[-2], tau.shape[-1]
    vectors = jnp.tril(V[..., :k], -1) + jnp.eye(m, k, dtype=V.dtype)

    def reflect(X, now):
        v, t = now
        v, t = v[..., :, None], t[..., None, None]
        return X - (jnp.conj(t) if conjugate else t) * v * jnp.sum(jnp.conj(v) * X, -2, keepdims=True), None

    return scan(reflect, X, (jnp.moveaxis(vectors, -1, 0), jnp.moveaxis(tau, -1, 0)), reverse=reverse)[0]


@op(namespaces=ONLY)
def householder_product(input: Array, tau: Array):
    """The first n columns of ``H_1 ... H_k``: vectors below the diagonal of ``input`` (m, n), factors ``tau``.

    Raises:
        RuntimeError: more columns than rows, or more factors than columns.
    """
    _matrix("householder_product", input)
    m, n = input.shape[-2:]
    if m < n:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-2] must be greater than or equal to "
                           "input.shape[-1]")  # fmt: skip
    if tau.shape[-1] > n:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-1] must be greater than or equal to "
                           "tau.shape[-1]")  # fmt: skip
    eye = jnp.broadcast_to(jnp.eye(m, n, dtype=input.dtype), input.shape)
    return _apply(input, tau, eye, reverse=True, conjugate=False)


@op
def orgqr(input: Array, input2: Array):
    """Another name of :func:`jtorch.linalg.householder_product`."""
    return householder_product(input, input2)


@op
def ormqr(input: Array, input2: Array, input3: Array, left: bool = True, transpose: bool = False):
    """``Q other`` (``left=False``: ``other Q``; ``transpose``: with ``Q^H``), Q being the m×m product of reflectors.

    ``input``, ``tau = input2`` are what ``geqrf`` gives, and ``other`` is ``input3``.

    Raises:
        RuntimeError: the sizes do not fit.
    """
    tau, other = input2, input3
    side = -2 if left else -1
    if input.ndim < 2 or other.ndim < 2:
        raise RuntimeError(f"torch.ormqr: {'input' if input.ndim < 2 else 'other'} must have at least 2 dimensions.")
    if tau.ndim != input.ndim - 1:
        raise RuntimeError(
            f"torch.ormqr: Expected tau to have one dimension less than input, but got tau.ndim equal to "
            f"{tau.ndim} and input.ndim is equal to {input.ndim}"
        )
    if tau.shape[-1] != min(other.shape[side], input.shape[-1]):
        raise RuntimeError(f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{side}], input.shape[-1])")
    if other.shape[side] != input.shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{side}] must be equal to input.shape[-2]")
    _matrix("ormqr", input)
    batch = broadcast_shapes(input.shape[:-2], other.shape[:-2])
    V = jnp.broadcast_to(input, batch + input.shape[-2:])
    t = jnp.broadcast_to(tau, batch + tau.shape[-1:])
    X = jnp.broadcast_to(other, batch + other.shape[-2:])
    if left:
        return _apply(V, t, X, reverse=not transpose, conjugate=transpose)
    # X Q is (Q^H X^H)^H
    found = _apply(V, t, jnp.conj(jnp.swapaxes(X, -2, -1)), reverse=transpose, conjugate=not transpose)
    return jnp.conj(jnp.swapaxes(found, -2, -1)) if is_complex(X) else jnp.swapaxes(found, -2, -1)
