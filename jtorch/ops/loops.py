"""Loops, which stay loops, and loops over time that work in place.

The body of an operation is traced with JAX's own functions inlined (see :class:`jtorch.trace.call.Call`), which would
unroll a loop: those of this module stay.
"""

from __future__ import annotations

from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax import lax


def staged(function):
    """A function of JAX's that is a loop, or contains one, as it is where nothing is inlined."""

    @wraps(function)
    def wrapper(*args, **kwargs):
        with jax.disable_jit(False):
            return function(*args, **kwargs)

    return wrapper


scan, map_over, fori_loop, while_loop, cond = map(staged, (lax.scan, lax.map, lax.fori_loop, lax.while_loop, lax.cond))


@partial(jax.custom_jvp, nondiff_argnums=(0, 5))
def scan_over(step, constants, init, over, xs, reverse: bool):
    """``lax.scan`` whose first output takes the place of its first input.

    ``step(constants, carry, (o, x)) -> carry, (new o, y)`` is applied along the leading axis of the array ``over`` and
    of every array of ``xs``; the result is ``(carry, (new over, ys))``.

    XLA never lets a scan's outputs share memory with its inputs: it fills each output with zeros first, and copies
    those zeros when two outputs look alike. That traffic cost an LSTM a tenth of its step on CPU. The derivative is
    the plain scan's, which does not save the whole of ``over`` at every step.
    """
    length = over.shape[0]
    at_first = jax.tree.map(lambda x: x[0], (over, xs))
    _, (_, ys) = jax.eval_shape(lambda c, k, x: step(k, c, x), init, constants, at_first)
    # what is filled differently is not merged into one array, of which every output would then need a copy
    ys, tree = jax.tree.flatten(ys)
    ys = tree.unflatten([jnp.full((length, *y.shape), n, y.dtype) for n, y in enumerate(ys)])

    def body(t, state):
        carry, written = state
        t = length - 1 - t if reverse else t
        now = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, t, keepdims=False), (written[0], xs))
        carry, new = step(constants, carry, now)
        return carry, jax.tree.map(lambda x, y: lax.dynamic_update_index_in_dim(x, y, t, 0), written, new)

    return fori_loop(0, length, body, (init, (over, ys)))


@scan_over.defjvp
def _scan_over_jvp(step, reverse, primals, tangents):
    def plain(constants, init, over, xs):
        return scan(lambda carry, now: step(constants, carry, now), init, (over, xs), reverse=reverse)

    return jax.jvp(plain, primals, tangents)
