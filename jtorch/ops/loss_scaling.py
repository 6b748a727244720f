"""What ``GradScaler`` computes on the device: gradients unscaled and looked at, and the next factor."""

from __future__ import annotations

import jax.numpy as jnp

from .registry import Array, Arrays, Scalar, op


@op(namespaces=(), differentiable=False)
def _amp_unscaled(grads: Arrays, factor: Array):
    """Every gradient times ``factor``, then 1 if an element of one was infinite or NaN, else 0 (float32)."""
    finite = jnp.stack([jnp.isfinite(g).all() for g in grads]).all()
    return (*(_times(g, factor) for g in grads), 1 - finite.astype(jnp.float32))


def _times(g, factor):
    return (g * factor.astype(jnp.promote_types(g.dtype, jnp.float32))).astype(g.dtype)


@op(namespaces=(), differentiable=False)
def _amp_scale(
    scale: Array, tracker: Array, found: Array, growth_factor: Scalar, backoff_factor: Scalar, growth_interval: Scalar
):
    """The factor after a step, and the number of finite steps in a row.

    Less by ``backoff_factor`` where ``found`` is not 0; more by ``growth_factor`` after ``growth_interval`` finite
    steps, unless it would be infinite.
    """
    good = tracker + 1
    ripe = good == growth_interval.astype(tracker.dtype)
    grown = scale * growth_factor.astype(scale.dtype)
    grown = jnp.where(ripe & jnp.isfinite(grown), grown, scale)
    bad = found.reshape(()) != 0
    return jnp.where(bad, scale * backoff_factor.astype(scale.dtype), grown), jnp.where(bad | ripe, 0, good)
