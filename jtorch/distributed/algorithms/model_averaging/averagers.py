"""What averages parameters over the ranks."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod

from ....tape.modes import no_grad
from ....tensor import Tensor
from ...collectives import reduce_all
from ...constants import RedOpType
from ...group import resolve


class ModelAverager(ABC):
    """Counts steps in ``step``; subclasses say when to average.

    Args:
        process_group: the ranks that take part (default: all).
    """

    def __init__(self, process_group=None):
        self.process_group = resolve(process_group)
        self.step = 0

    @abstractmethod
    def average_parameters(self, params):
        """Average ``params`` if it is time."""
        raise NotImplementedError


class PeriodicModelAverager(ModelAverager):
    """Averages every ``period`` steps.

    Args:
        period: how many steps there are from one averaging to the next.
        warmup_steps: how many steps come before the first.

    Raises:
        ValueError: ``period`` is not positive, or ``warmup_steps`` negative.
    """

    def __init__(self, period: int, warmup_steps: int = 0, process_group=None):
        super().__init__(process_group)
        if warmup_steps < 0:
            raise ValueError("Arg ``warmup_steps`` must be a non-negative number.")
        if period < 1:
            raise ValueError("Arg ``period`` must be a positive value.")
        if period == 1:
            warnings.warn(
                "When period is 1, no need to use model averaging because the communication cost of all-reducing "
                "parameters will be no less than the cost of all-reducing gradients by DistributedDataParallel.",
                stacklevel=2,
            )
        self.period, self.warmup_steps = period, warmup_steps

    def average_parameters(self, params) -> None:
        """Count a step, and average parameters (or those of parameter groups) that have gradients if it is time."""
        if self.step >= self.warmup_steps and (self.step - self.warmup_steps) % self.period == 0:
            found = []
            for p in params:
                found += [p] if isinstance(p, Tensor) else p["params"]
            found = [p for p in found if p.grad is not None]
            if not found:
                raise ValueError("average_parameters: no parameter has a gradient, so none has been trained")
            with no_grad():
                reduce_all(found, [p.detach() for p in found], RedOpType.AVG, self.process_group, "average_parameters")
        self.step += 1
