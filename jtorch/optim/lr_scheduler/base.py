"""What all schedules share."""

from __future__ import annotations

import warnings

from jtorch.optim.optimizer import Optimizer, is_tensor
from jtorch.trace import capture

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. "
    "Please use `scheduler.step()` to step the scheduler."
)


def copied(value):
    return value.clone() if is_tensor(value) else value


def current_lrs(optimizer: Optimizer) -> list:
    return [copied(group["lr"]) for group in optimizer.param_groups]


def assign(group: dict, lr) -> None:
    """Set the group's learning rate; a tensor is filled, so that whoever holds it sees the change."""
    if is_tensor(group["lr"]):
        group["lr"].copy_(lr) if is_tensor(lr) else group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def per_group(name: str, value, optimizer: Optimizer) -> list:
    """``value`` as a list with one entry per parameter group.

    Raises:
        ValueError: a list of another length.
    """
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [copied(value) for _ in range(groups)]
    if len(value) != groups:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
            f"param_groups has {groups}."
        )
    return [copied(v) for v in value]


def check_optimizer(optimizer) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


class LRScheduler:
    """Base of the schedules: subclasses define ``get_lr()``, which returns the learning rates of ``last_epoch``.

    ``step()`` goes to the next epoch (or batch: whatever the program steps by) and stores the new rates in the
    optimizer's groups; the constructor makes the step to epoch 0. With ``last_epoch`` other than -1 a schedule is
    resumed, and the groups must have their ``initial_lr`` already.

    Raises:
        TypeError: ``optimizer`` is none.
        KeyError: resumed without ``initial_lr``.
    """

    _get_lr_called_within_step = False
    _is_initial = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = capture.replayed(cls.__dict__["step"])

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        check_optimizer(optimizer)
        self.optimizer = optimizer
        optimizer._scheduled_step = vars(optimizer).get("step")
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    f"last_epoch >= 0; load the optimizer's state_dict first, or leave last_epoch at -1"
                )
        self.base_lrs = [copied(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict:
        """Everything but the optimizer."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict) -> None:
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list:
        """The learning rates that the latest step set, one per group."""
        return self._last_lr

    def get_lr(self) -> list:
        """The learning rates at ``last_epoch``. Only ``step()`` calls this; see :meth:`get_last_lr`."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr()")

    @capture.replayed
    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch, or (deprecated) to ``epoch``."""
        if self._step_count == 1 and vars(self.optimizer).get("step") is not self.optimizer._scheduled_step:
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. "
                "Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`. See more details at "
                "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate",
                UserWarning,
                stacklevel=2,
            )
        elif self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the opposite order: "
                "`optimizer.step()` before `lr_scheduler.step()`. Failure to do this skips the first value of the "
                "learning rate schedule. See more details at "
                "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed_form = getattr(self, "_get_closed_form_lr", None) if epoch is not None else None
        self._get_lr_called_within_step = True
        try:
            lrs = self.get_lr() if closed_form is None else closed_form()
        finally:
            self._get_lr_called_within_step = False
        self._set(lrs)

    def _set(self, lrs: list) -> None:
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            assign(group, lr)
        self._last_lr = current_lrs(self.optimizer)

    def _expect_in_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def _scaled(self, factor: float) -> list:
        return [group["lr"] * factor for group in self.optimizer.param_groups]
