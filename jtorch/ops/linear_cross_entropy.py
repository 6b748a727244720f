"""Cross entropy of a linear map, without the whole matrix of logits.

The rows are taken in chunks, one after the other, and each chunk's logits are computed again in the backward pass, so
that memory holds one chunk's logits at a time (the idea of Wijmans et al., "Cut your losses in large-vocabulary
language models", 2024, without its kernels). The result may be differentiated any number of times.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .classification import _entropies, _mean_over, _range_check, _target_weight
from .linear import affine
from .loops import map_over
from .registry import Array, op


def _in_range(input, linear_weight, target, *_, ignore_index=-100, **statics):
    logits = jax.ShapeDtypeStruct((input.shape[0], linear_weight.shape[0]), input.dtype)
    return _range_check(logits, target, ignore_index)


@op(namespaces=(), check=_in_range, grad_name="LinearCrossEntropyBackward0")
def _linear_cross_entropy(
    input: Array,
    linear_weight: Array,
    target: Array,
    linear_bias: Array | None,
    weight: Array | None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    chunk: int = 1,
    dtype=None,
):
    """``cross_entropy(x Aᵀ + b, y, weight)`` for ``(N, K)``, ``(C, K)``, classes ``(N,)``, by ``chunk`` rows.

    Logits and losses are computed in ``dtype`` (default: the input's).
    """
    rows, wide = input.shape[0], input.dtype if dtype is None else dtype.np
    if target.shape != (rows,):
        raise ValueError(f"Expected input batch_size ({rows}) to match target batch_size ({target.shape[0]}).")
    if weight is not None and weight.shape != linear_weight.shape[:1]:
        raise RuntimeError(
            f"weight tensor should be defined either for all {linear_weight.shape[0]} classes or no classes but got "
            f"weight tensor of shape: {list(weight.shape)}"
        )
    spare = -rows % chunk
    x = jnp.pad(input, ((0, spare), (0, 0))).reshape(-1, chunk, input.shape[1])
    y = jnp.pad(target, (0, spare), constant_values=ignore_index).reshape(-1, chunk)
    matrix, offset = linear_weight.astype(wide), None if linear_bias is None else linear_bias.astype(wide)

    @jax.checkpoint
    def losses(piece):
        x, y = piece
        return _entropies(affine(x.astype(wide), matrix, offset), y, weight, ignore_index, 0.0)

    loss = map_over(losses, (x, y)).reshape(-1)[:rows]
    return _mean_over(loss, _target_weight(target, weight, ignore_index, loss.dtype), reduction).astype(input.dtype)
