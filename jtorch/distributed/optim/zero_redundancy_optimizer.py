"""Optimizers whose state is divided among the processes."""

from __future__ import annotations

from ...optim import Optimizer
from ...tape.modes import no_grad
from .. import distributed_c10d as dist
from ..collectives import broadcast_all


def _on_cpu(x):
    return x.detach().cpu() if hasattr(x, "detach") else x


class ZeroRedundancyOptimizer(Optimizer):
    """An optimizer of every rank's own part of the parameters; after each step the parts are exchanged.

    So each process keeps the state (momenta, ...) of about ``1/n`` of the elements. Parameters are dealt out whole, the
    largest first, each to the rank that has the fewest elements so far. Rajbhandari et al., "ZeRO" (2019), stage 1.

    Args:
        params: as of every optimizer.
        optimizer_class: the optimizer of a part.
        process_group: the ranks that share (default: all).
        parameters_as_bucket_view: accepted: parameters are exchanged packed into buckets in any case.
        overlap_with_ddp: not supported.
        defaults: options of ``optimizer_class``.

    Raises:
        NotImplementedError: ``overlap_with_ddp``.
    """

    def __init__(
        self, params, optimizer_class, process_group=None, parameters_as_bucket_view: bool = False,
        overlap_with_ddp: bool = False, **defaults,
    ):  # fmt: skip
        if overlap_with_ddp:
            raise NotImplementedError(
                "ZeroRedundancyOptimizer(overlap_with_ddp=True): the step runs after the gradients' reduction. Leave "
                "the option out; the numbers are the same"
            )
        self.process_group = process_group or dist.group.WORLD
        self.rank, self.world_size = dist.get_rank(self.process_group), dist.get_world_size(self.process_group)
        self.parameters_as_bucket_view = parameters_as_bucket_view
        self._owner: dict = {}
        self._collected: list[dict] | None = None
        self.optim: Optimizer | None = None
        super().__init__(params, defaults)
        for group in self.param_groups:
            self._deal(group["params"])
        self.optim = optimizer_class([self._part(group) for group in self.param_groups], **defaults)
        self._set_options(self.param_groups, self.optim.param_groups)
        self.state = self.optim.state

    def _deal(self, params) -> None:
        loads = [0] * self.world_size
        for p, rank in self._owner.items():
            loads[rank] += p.numel()
        for p in sorted(params, key=lambda p: -p.numel()):
            rank = self._owner[p] = loads.index(min(loads))
            loads[rank] += p.numel()

    def _part(self, group: dict) -> dict:
        return {**group, "params": [p for p in group["params"] if self._owner[p] == self.rank]}

    @staticmethod
    def _set_options(groups, like) -> None:
        """The options of one list of groups as the other has them: schedules write to this one, steps to the part's."""
        for group, other in zip(groups, like, strict=True):
            group.update({name: value for name, value in other.items() if name != "params"})

    def add_param_group(self, param_group: dict) -> None:
        """See :meth:`Optimizer.add_param_group`."""
        super().add_param_group(param_group)
        if self.optim is not None:
            self._deal(self.param_groups[-1]["params"])
            self.optim.add_param_group(self._part(self.param_groups[-1]))

    def step(self, closure=None, **kwargs):
        """Update this rank's parameters, and fetch the others' new ones."""
        self._set_options(self.optim.param_groups, self.param_groups)
        loss = self.optim.step(closure, **kwargs) if closure is not None else self.optim.step(**kwargs)
        self._set_options(self.param_groups, self.optim.param_groups)
        if self.world_size > 1:
            with no_grad():
                for rank in range(self.world_size):
                    params = [p for p in self._params() if self._owner[p] == rank]
                    if params:
                        broadcast_all(params, rank, self.process_group, "ZeroRedundancyOptimizer's exchange")
        return loss

    # --- saving and loading

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Collect the state of all ranks on one, whose :meth:`state_dict` is then whole. Called on all ranks."""
        number = {p: i for i, p in enumerate(self._params())}
        part = {number[p]: {k: _on_cpu(v) for k, v in values.items()} for p, values in self.optim.state.items()}
        parts: list = [None] * self.world_size
        dist.all_gather_object(parts, part, group=self.process_group)
        self._collected = parts if self.rank == to else None

    def state_dict(self) -> dict:
        """The state of all ranks, in the form of the undivided optimizer.

        Raises:
            RuntimeError: :meth:`consolidate_state_dict` was not called, or for another rank.
        """
        if self._collected is None:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. Please call "
                f"`consolidate_state_dict(to={self.rank})` on all ranks beforehand."
            )
        found = super().state_dict()
        found["state"] = {i: values for part in self._collected for i, values in sorted(part.items())}
        return found

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over options, and of the state what belongs to this rank's parameters."""
        super().load_state_dict(state_dict)
        self.optim.state.clear()
        self.optim.state.update({p: v for p, v in self.state.items() if self._owner.get(p) == self.rank})
        self.state = self.optim.state
        self._set_options(self.optim.param_groups, self.param_groups)


__all__ = ["ZeroRedundancyOptimizer"]
