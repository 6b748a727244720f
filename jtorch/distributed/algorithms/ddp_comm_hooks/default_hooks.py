"""The plain average, and averages of gradients rounded to 16 bits."""

from __future__ import annotations

import jtorch

from ...collectives import all_reduce


def _average(group, t):
    from ...group import resolve

    group = resolve(group)
    t = t / group.size()
    return all_reduce(t, group=group, async_op=True).get_future()


def allreduce_hook(process_group, bucket):
    """The average over the ranks."""
    return _average(process_group, bucket.buffer()).then(lambda f: f.value()[0])


def fp16_compress_hook(process_group, bucket):
    """The average of the gradients rounded to float16."""
    dtype = bucket.buffer().dtype
    return _average(process_group, bucket.buffer().to(jtorch.float16)).then(lambda f: f.value()[0].to(dtype))


def bf16_compress_hook(process_group, bucket):
    """The average of the gradients rounded to bfloat16."""
    dtype = bucket.buffer().dtype
    return _average(process_group, bucket.buffer().to(jtorch.bfloat16)).then(lambda f: f.value()[0].to(dtype))


def fp16_compress_wrapper(hook):
    """``hook`` on gradients rounded to float16."""
    return _rounded(hook, jtorch.float16)


def bf16_compress_wrapper(hook):
    """``hook`` on gradients rounded to bfloat16."""
    return _rounded(hook, jtorch.bfloat16)


def _rounded(hook, dtype):
    def rounded(state, bucket):
        before = bucket.buffer().dtype
        bucket.set_buffer(bucket.buffer().to(dtype))
        return hook(state, bucket).then(lambda f: _first(f.value()).to(before))

    return rounded


def _first(x):
    return x[0] if isinstance(x, (list, tuple)) else x
