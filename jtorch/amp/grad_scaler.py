"""``GradScaler``: keeps float16 gradients from underflowing by scaling the loss (Micikevicius et al., 2018)."""

from __future__ import annotations

import enum
import warnings
from collections import defaultdict

from .. import dtypes
from ..tape import modes
from ..tensor import dispatch as _dispatch
from ..tensor.tensor import Tensor


class OptState(enum.Enum):
    """How far an optimizer's step has come since the last :meth:`GradScaler.update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _ready() -> dict:
    return {"stage": OptState.READY, "infinite": None}  # the second: whether a gradient is infinite or NaN, once known


class GradScaler:
    """Scale the loss by a factor that grows while gradients stay finite and shrinks when they do not.

    Args:
        device: the type of device (``"cuda"``).
        init_scale: the first factor, 2**16.
        growth_factor, backoff_factor: what it is multiplied by after ``growth_interval`` finite steps, and after a
            step with an infinite or NaN gradient, which is skipped.
        enabled: False makes every method a plain call; so does, with a warning, the device ``"cuda"`` where there is
            none.

    Whether a step is skipped is read on the host, once per step.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        if enabled and device == "cuda":
            from ..cuda import is_available

            if not is_available():
                warnings.warn(
                    "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2
                )
                enabled = False
        self._device, self._enabled = device, enabled
        if enabled and growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if enabled and backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._scale, self._growth_factor, self._backoff_factor = float(init_scale), growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._per_optimizer_states: dict[int, dict] = defaultdict(_ready)

    # --- the loop

    def scale(self, outputs):
        """``outputs`` (a tensor, or a structure of them) times the factor."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            scaled = [self.scale(x) for x in outputs]
            return type(outputs)(*scaled) if hasattr(outputs, "_fields") else type(outputs)(scaled)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer) -> None:
        """Divide the gradients of ``optimizer``'s parameters by the factor, and note whether all are finite.

        Raises:
            RuntimeError: it was called already since :meth:`update`, or after :meth:`step`.
            ValueError: a gradient is float16 itself.
        """
        if not self._enabled:
            return
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is not OptState.READY:
            raise RuntimeError(
                "unscale_() is being called after step()." if state["stage"] is OptState.STEPPED
                else "unscale_() has already been called on this optimizer since the last update()."
            )  # fmt: skip
        bad = None
        with modes.no_grad():
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    if p.grad.dtype is dtypes.float16:
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    p.grad.mul_(1.0 / self._scale)
                    here = _dispatch.call("isfinite", p.grad).all().logical_not()
                    bad = here if bad is None else bad | here
        state.update(stage=OptState.UNSCALED, infinite=bad)

    def step(self, optimizer, *args, **kwargs):
        """Unscale if that was not done, then ``optimizer.step(...)`` unless a gradient is infinite or NaN.

        Raises:
            RuntimeError: called twice since :meth:`update`, with a closure, or without any gradient.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        if state["infinite"] is None:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        state.update(stage=OptState.STEPPED, infinite=bool(state["infinite"].item()))
        return None if state["infinite"] else optimizer.step(*args, **kwargs)

    def update(self, new_scale=None) -> None:
        """Adapt the factor to what the steps since the last call found, or set it.

        Raises:
            AssertionError: no gradient was looked at since the last call.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            states = self._per_optimizer_states.values()
            found = [state["infinite"] for state in states if state["infinite"] is not None]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            if any(bool(x) for x in found):
                self._scale *= self._backoff_factor
                self._growth_tracker = 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    self._scale *= self._growth_factor
                    self._growth_tracker = 0
        self._per_optimizer_states.clear()

    # --- what it is set to

    def get_scale(self) -> float:
        """The factor, 1.0 when disabled."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_growth_factor(self) -> float:
        """What the factor grows by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the factor grows by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the factor shrinks by."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the factor shrinks by."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many finite steps the factor grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many finite steps the factor grows."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict:
        """The factor and its settings, under PyTorch's keys; empty when disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over a :meth:`state_dict`.

        Raises:
            RuntimeError: it is empty: it came from a disabled scaler.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale = float(state_dict["scale"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval, self._growth_tracker = state_dict["growth_interval"], state_dict["_growth_tracker"]


__all__ = ["GradScaler"]
