"""jtorch and JAX in one program: arrays both ways without a copy, functions both ways."""

from __future__ import annotations

import jax

import jtorch
from jtorch import from_jax, jax_function, to_jax


def as_jax_function(fn):
    """``fn``, a function of Tensors without hidden state, as a function of jax arrays (run eagerly)."""

    def function(*arrays):
        with jtorch.no_grad():
            out = fn(*(from_jax(a) for a in arrays))
        return jax.tree.map(to_jax, out, is_leaf=lambda t: isinstance(t, jtorch.Tensor))

    return function


__all__ = ["as_jax_function", "from_jax", "jax_function", "to_jax"]
