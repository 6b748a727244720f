"""``torch._dynamo._trace_wrapped_higher_order_op``: what masks written with ``vmap`` need of it."""

import contextlib


class TransformGetItemToIndex(contextlib.nullcontext):
    """``with`` this, ``table[i]`` takes a tensor ``i`` of one number under ``vmap``: in jtorch it always does."""


__all__ = ["TransformGetItemToIndex"]
