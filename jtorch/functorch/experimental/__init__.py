"""``functorch.experimental``: what has a place in :mod:`jtorch.func` by now, and ``chunk_vmap``."""

from __future__ import annotations

import functools

from ...func import functionalize, hessian, jacfwd, jvp, replace_all_batch_norm_modules_, vmap
from ...func.vmap import batched


def chunk_vmap(func, in_dims=0, out_dims=0, randomness: str = "error", chunks: int = 2):
    """:func:`~jtorch.func.vmap` in ``chunks`` parts of the batch, one after the other."""

    @functools.wraps(func)
    def wrapped(*args, **kwargs):
        size = batched(args, in_dims)[-1]
        part = vmap(func, in_dims, out_dims, randomness, chunk_size=-(-size // chunks))
        return part(*args, **kwargs)

    return wrapped


__all__ = ["chunk_vmap", "functionalize", "hessian", "jacfwd", "jvp", "replace_all_batch_norm_modules_"]
