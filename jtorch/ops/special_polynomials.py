"""Orthogonal polynomials of a degree given for each element, by their three-term recurrences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .elementwise import in_float32, same_shape
from .loops import while_loop
from .registry import Array, Number, op


def forward_differentiable(f):
    """``f(x, n)``, elementwise in x, with every order of derivative taken in forward mode.

    The loop of a recurrence has no fixed length, so that reverse mode cannot go through it.
    """

    @jax.custom_jvp
    def value(x, n):
        return f(x, n)

    def slope(x, n):
        return jax.jvp(lambda y: f(y, n), (x,), (jnp.ones_like(x),))[1]

    value.defjvps(lambda dx, out, x, n: forward_differentiable(slope)(x, n) * dx, None)
    return value


def _recurrence(first, following):
    """The polynomial p_n(x) with p_0 = 1, p_1 = ``first(x)`` and p_{k+1} = ``following(k, x, p_k, p_{k-1})``."""

    def evaluate(x, n):
        def step(state):
            k, now, before = state
            after = following(k.astype(x.dtype), x, now, before)
            return k + 1, jnp.where(k < n, after, now), jnp.where(k < n, now, before)

        start = (jnp.asarray(1, n.dtype), first(x), jnp.ones_like(x))
        _, found, _ = while_loop(lambda state: state[0] < jnp.max(n, initial=0), step, start)
        return jnp.where(n < 0, 0, jnp.where(n == 0, 1, found))

    return forward_differentiable(evaluate)


def _declare(name: str, doc: str, first, following, *, shift: bool = False, overflow: bool = False) -> None:
    polynomial = _recurrence(first, following)

    @in_float32
    def body(x: Array | Number, n: Array | Number):
        x, degree = same_shape(x, n)
        degree = degree.astype(np.int64)
        y = polynomial(2 * x - 1 if shift else x, degree)
        # PyTorch gives up where the values leave the range of the type
        limit = 512 if x.dtype == np.float64 else 128
        return jnp.where(degree > limit, jnp.nan, y) if overflow else y

    body.__name__ = name
    body.__doc__ = doc + " A negative degree gives 0."
    op(promote="float", namespaces=("special",))(body)


def _chebyshev(k, x, now, before):
    return 2 * x * now - before


for _kind, _what, _first in (
    ("t", "first", lambda x: x),
    ("u", "second", lambda x: 2 * x),
    ("v", "third", lambda x: 2 * x - 1),
    ("w", "fourth", lambda x: 2 * x + 1),
):
    _declare(
        f"chebyshev_polynomial_{_kind}", f"The Chebyshev polynomial of the {_what} kind, of degree ``n``.", _first,
        _chebyshev,
    )  # fmt: skip
    _declare(
        f"shifted_chebyshev_polynomial_{_kind}",
        f"The Chebyshev polynomial of the {_what} kind, of degree ``n``, at ``2 input - 1``.",
        _first, _chebyshev, shift=True,
    )  # fmt: skip

_declare(
    "hermite_polynomial_h", "The physicists' Hermite polynomial of degree ``n``.", lambda x: 2 * x,
    lambda k, x, now, before: 2 * (x * now - k * before), overflow=True,
)  # fmt: skip
_declare(
    "hermite_polynomial_he", "The probabilists' Hermite polynomial of degree ``n``.", lambda x: x,
    lambda k, x, now, before: x * now - k * before, overflow=True,
)  # fmt: skip
_declare(
    "laguerre_polynomial_l", "The Laguerre polynomial of degree ``n``.", lambda x: 1 - x,
    lambda k, x, now, before: ((2 * k + 1 - x) * now - k * before) / (k + 1),
)  # fmt: skip
_declare(
    "legendre_polynomial_p", "The Legendre polynomial of degree ``n``.", lambda x: x,
    lambda k, x, now, before: ((2 * k + 1) * x * now - k * before) / (k + 1),
)  # fmt: skip
