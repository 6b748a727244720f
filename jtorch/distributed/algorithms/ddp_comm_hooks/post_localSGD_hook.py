"""Averaging gradients over all ranks at first, and within a part of them later (post-local SGD; Lin et al., 2018)."""

from __future__ import annotations

from .default_hooks import allreduce_hook


class PostLocalSGDState:
    """What :func:`post_localSGD_hook` knows.

    Args:
        process_group: the ranks that average at first (default: all).
        subgroup: those that average later.
        start_localSGD_iter: how many steps come before that.
        post_local_gradient_allreduce: whether gradients are averaged at all then.
    """

    def __init__(self, process_group, subgroup, start_localSGD_iter: int, post_local_gradient_allreduce: bool = True):
        self.process_group, self.subgroup = process_group, subgroup
        self.start_localSGD_iter = start_localSGD_iter
        self.post_local_gradient_allreduce = post_local_gradient_allreduce
        self.iter = 0

    def maybe_increase_iter(self, bucket) -> None:
        """Count a step when its last bucket has come."""
        self.iter += bucket.is_last()


def post_localSGD_hook(state: PostLocalSGDState, bucket):
    """The average over the ranks that average in this step."""
    from ....futures import Future

    early = state.iter < state.start_localSGD_iter
    state.maybe_increase_iter(bucket)
    if early or state.post_local_gradient_allreduce:
        return allreduce_hook(state.process_group if early else state.subgroup, bucket)
    future = Future()
    future.set_result(bucket.buffer())
    return future
