"""``Join``: ranks with fewer batches than others take part in the others' collectives until all are done."""

from __future__ import annotations

from typing import Any, NamedTuple

import jtorch

from ..collectives import all_reduce


class JoinHook:
    """What a rank that is done does in the others' stead: ``main_hook`` at each of their iterations, and at the end."""

    def main_hook(self) -> None:
        """Take part in the collectives of one iteration."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """All ranks are done; ``is_last_joiner``: this one was among the last."""


class _JoinConfig(NamedTuple):
    enable: bool = False
    throw_on_early_termination: bool = False
    is_first_joinable: bool = False


class Joinable:
    """Something whose iterations contain collectives. Subclasses give the three members below."""

    _join_config = _JoinConfig()

    def join_hook(self, **kwargs) -> JoinHook:
        raise NotImplementedError

    @property
    def join_device(self):
        raise NotImplementedError

    @property
    def join_process_group(self) -> Any:
        raise NotImplementedError


class Join:
    """A block in which the ranks may run different numbers of iterations.

    Args:
        joinables: what communicates in the iterations, in the order in which it does.
        enable: whether to do anything.
        throw_on_early_termination: raise on all ranks when the first one is done.

    Raises:
        ValueError: there are no joinables, or their groups or devices differ.
    """

    def __init__(self, joinables: list, enable: bool = True, throw_on_early_termination: bool = False, **kwargs):
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        self._hooks = [j.join_hook(**kwargs) for j in joinables]
        self._enable, self._throw = enable, throw_on_early_termination
        for i, j in enumerate(joinables):
            j._join_config = _JoinConfig(enable, throw_on_early_termination, i == 0)
        self._joinables = joinables
        if len({id(j.join_process_group) for j in joinables}) > 1:
            raise ValueError("Using join context manager with multiple process groups")
        if len({j.join_device for j in joinables}) > 1:
            raise ValueError("Multiple devices found across joinables")
        self._group, self._device = joinables[0].join_process_group, joinables[0].join_device

    def __enter__(self):
        return None

    def __exit__(self, kind, error, traceback):
        if not self._enable or kind is not None:
            return
        last = True
        while _total(0.0, self._device, self._group).item():  # somebody has begun another iteration
            if self._throw:
                _total(1.0, self._device, self._group)
                raise RuntimeError(f"Rank {self._group._job.rank} exhausted all inputs.")
            last = False
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(last)
        for j in self._joinables:
            j._join_config = _JoinConfig()

    @staticmethod
    def notify_join_context(joinable):
        """Tell the ranks that are done that this one begins an iteration; the number of those that do, as a tensor.

        Raises:
            RuntimeError: a rank is done, and ``throw_on_early_termination`` was asked for.
        """
        config = joinable._join_config
        if not (config.enable and config.is_first_joinable):
            return None
        device, group = joinable.join_device, joinable.join_process_group
        active = _total(1.0, device, group)
        if config.throw_on_early_termination and _total(0.0, device, group).item():
            raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")
        return active


def _total(x: float, device, group):
    t = jtorch.full((1,), x, device=device)
    all_reduce(t, group=group)
    return t
