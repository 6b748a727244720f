"""Averages of a model's weights along its training: stochastic weight averaging, exponential moving averages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from copy import deepcopy

from jtorch.nn import Module
from jtorch.nn.modules.batchnorm import _BatchNorm
from jtorch.optim.lr_scheduler.base import LRScheduler, per_group
from jtorch.tape.modes import no_grad
from jtorch.tensor.creation import tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def _has_fractions(x) -> bool:
    return x.is_floating_point() or x.is_complex()


def get_ema_avg_fn(decay: float = 0.999) -> Callable:
    """``fn(average, current, num_averaged)``: ``decay average + (1 - decay) current``.

    Raises:
        ValueError: ``decay`` outside [0, 1].
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param, current_param, num_averaged):
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Callable:
    """``fn(average, current, num_averaged)``: the mean of ``num_averaged + 1`` values, from that of the others."""

    @no_grad()
    def swa_update(averaged_param, current_param, num_averaged):
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable:
    """As :func:`get_ema_avg_fn`, in place on lists of tensors.

    Raises:
        ValueError: ``decay`` outside [0, 1].
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param_list, current_param_list, _):
        for average, current in zip(ema_param_list, current_param_list, strict=True):
            if _has_fractions(average):
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(average * decay + current * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> Callable:
    """As :func:`get_swa_avg_fn`, in place on lists of tensors."""

    @no_grad()
    def swa_update(averaged_param_list, current_param_list, num_averaged):
        weight = 1 / (num_averaged + 1)
        for average, current in zip(averaged_param_list, current_param_list, strict=True):
            if _has_fractions(average):
                average.lerp_(current, weight.to(average.dtype) if hasattr(weight, "dtype") else weight)
            else:
                average.copy_(average + (current - average) * weight)

    return swa_update


class AveragedModel(Module):
    """A copy of ``model`` (in ``module``) whose parameters are averages of its parameters.

    Each ``update_parameters(model)`` takes the next values in: ``n_averaged`` counts them, and the first replace the
    copies. The average is ``avg_fn(average, current, n_averaged)``, or what ``multi_avg_fn(averages, currents,
    n_averaged)`` makes in place of lists; by default the mean of all. With ``use_buffers`` buffers are averaged too,
    else copied.

    Raises:
        AssertionError: both functions are given.
    """

    def __init__(
        self,
        model: Module,
        device=None,
        avg_fn: Callable | None = None,
        multi_avg_fn: Callable | None = None,
        use_buffers: bool = False,
    ):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the present parameters of ``model`` into the averages."""
        averages, currents = self._values(self.module), self._values(model)
        currents = [new.to(old.device) for old, new in zip(averages, currents, strict=True)]
        if self.n_averaged.item() == 0:
            for old, new in zip(averages, currents, strict=True):
                old.copy_(new)
        elif self.avg_fn is not None:
            for old, new in zip(averages, currents, strict=True):
                old.copy_(self.avg_fn(old, new, self.n_averaged.to(old.device)))
        else:
            average = get_swa_multi_avg_fn() if self.multi_avg_fn is None else self.multi_avg_fn
            alike: dict = {}  # what such a function gets is on one device and of one dtype
            for old, new in zip(averages, currents, strict=True):
                olds, news = alike.setdefault((old.device, old.dtype), ([], []))
                olds.append(old)
                news.append(new)
            for (device, _), (olds, news) in alike.items():
                average(olds, news, self.n_averaged.to(device))
        if not self.use_buffers:
            for old, new in zip(self.module.buffers(), model.buffers(), strict=True):
                old.detach().copy_(new.detach().to(old.device))
        self.n_averaged += 1

    def _values(self, model: Module) -> list:
        buffers = model.buffers() if self.use_buffers else ()
        return [x.detach() for x in itertools.chain(model.parameters(), buffers)]


@no_grad()
def update_bn(loader: Iterable, model: Module, device=None) -> None:
    """Compute the running statistics of ``model``'s batch norm layers anew, as means over one pass of ``loader``.

    A batch is the input, or a list or tuple that starts with it; with ``device`` it is moved there.
    """
    layers = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not layers:
        return
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    for batch in loader:
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(batch if device is None else batch.to(device))
    for layer, momentum in layers.items():
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    r"""Goes from the present learning rate to ``swa_lr`` (one, or one a group) in ``anneal_epochs``, and stays.

    .. math:: \gamma_t = a_t \gamma_\text{swa} + (1 - a_t) \gamma_0

    with :math:`a_t = t / T` (``"linear"``) or :math:`(1 - \cos(\pi t / T)) / 2` (``"cos"``), at most 1.

    Raises:
        ValueError: another ``anneal_strategy``, a negative ``anneal_epochs``, a list of another length.
    """

    def __init__(self, optimizer, swa_lr, anneal_epochs: int = 10, anneal_strategy: str = "cos", last_epoch: int = -1):
        for group, lr in zip(optimizer.param_groups, per_group("swa_lr", swa_lr, optimizer), strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list:
        self._expect_in_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = (self.anneal_func(max(0, min(1, t / max(1, self.anneal_epochs)))) for t in (step - 1, step))
        # where it came from follows from the present rate, which something else may have changed
        starts = [
            group["swa_lr"] if before == 1 else (group["lr"] - before * group["swa_lr"]) / (1 - before)
            for group in self.optimizer.param_groups
        ]
        groups = self.optimizer.param_groups
        return [group["swa_lr"] * now + lr * (1 - now) for group, lr in zip(groups, starts, strict=True)]
