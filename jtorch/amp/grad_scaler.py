"""``GradScaler``: keeps float16 gradients from underflowing by scaling the loss (Micikevicius et al., 2018)."""

from __future__ import annotations

import enum
import warnings
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from .. import dtypes
from ..functions.internal import _amp_update_scale_
from ..tape import modes
from ..tensor import dispatch as _dispatch
from ..tensor.tensor import Tensor
from ..trace.value import put


class OptState(enum.Enum):
    """How far an optimizer's step has come since the last :meth:`GradScaler.update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _ready() -> dict:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


def _gradients(optimizer) -> dict:
    """The gradients of an optimizer's parameters, by device."""
    found: dict = defaultdict(list)
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                found[p.device].append(p.grad)
    return found


def _looked_at(grads: list[Tensor], factor: Tensor) -> tuple:
    """Each gradient times ``factor``, and 1 if an element of one was infinite or NaN, else 0."""
    if all(g._handler is None for g in grads):
        *new, found = _dispatch.call("_amp_unscaled", tuple(grads), factor)
        return new, found
    bad = [_dispatch.call("isfinite", g).all().logical_not().float() for g in grads]
    return [g * factor for g in grads], _any(bad)


def _any(found) -> Tensor:
    """1 if one of these is not 0; where the first of them is."""
    first, *rest = found.values() if isinstance(found, dict) else found
    for x in rest:
        first = first.maximum(x.to(first.device))
    return first


class GradScaler:
    """Scale the loss by a factor that grows while gradients stay finite and shrinks when they do not.

    Args:
        device: the type of device (``"cuda"``).
        init_scale: the first factor, 2**16.
        growth_factor, backoff_factor: what it is multiplied by after ``growth_interval`` finite steps, and after a
            step with an infinite or NaN gradient, which is skipped.
        enabled: False makes every method a plain call; so does, with a warning, the device ``"cuda"`` where there is
            none.

    The factor is a tensor. jtorch's optimizers skip a step on the device: nothing is read on the host, and a step with
    a scaler stays one program. Of other optimizers, and where a step has hooks, whether to skip is read once per step.
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
        self._growth_factor, self._backoff_factor, self._growth_interval = (
            growth_factor,
            backoff_factor,
            growth_interval,
        )
        self._init_scale, self._init_growth_tracker = init_scale, 0
        self._scale: Tensor | None = None  # made where the first loss is
        self._growth_tracker: Tensor | None = None
        self._per_optimizer_states: dict[int, dict] = defaultdict(_ready)

    def _state(self, what: str) -> tuple[Tensor, Tensor]:
        """The factor and the number of finite steps in a row.

        Raises:
            AssertionError: nothing was scaled yet.
        """
        if self._scale is None or self._growth_tracker is None:
            missing = "_scale" if self._scale is None else "_growth_tracker"
            raise AssertionError(
                f"Attempted {what} but {missing} is None.  This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )
        return self._scale, self._growth_tracker

    # --- the loop

    def scale(self, outputs):
        """``outputs`` (a tensor, or a structure of them) times the factor."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                # from arrays that exist: the first step is then the same program as all others
                numbers = np.float32(self._init_scale), np.int32(self._init_growth_tracker)
                made = [_dispatch.wrap(put(np.array(n), outputs.device)) for n in numbers]
                self._scale, self._growth_tracker = made
            return outputs * self._scale.to(outputs.device)
        if not isinstance(outputs, Iterable):
            raise ValueError("outputs must be a Tensor or an iterable of Tensors")
        scaled = map(self.scale, outputs)
        if not isinstance(outputs, (list, tuple)):
            return scaled
        return type(outputs)(*scaled) if hasattr(outputs, "_fields") else type(outputs)(scaled)

    def unscale_(self, optimizer) -> None:
        """Divide the gradients of ``optimizer``'s parameters by the factor, and note whether all are finite.

        Raises:
            AssertionError: nothing was scaled yet.
            RuntimeError: it was called already since :meth:`update`, or after :meth:`step`.
            ValueError: a gradient is float16 itself.
        """
        if not self._enabled:
            return
        scale, _ = self._state("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is not OptState.READY:
            raise RuntimeError(
                "unscale_() is being called after step()." if state["stage"] is OptState.STEPPED
                else "unscale_() has already been called on this optimizer since the last update()."
            )  # fmt: skip
        gradients, found = _gradients(optimizer), {}
        if any(g.dtype is dtypes.float16 for grads in gradients.values() for g in grads):
            raise ValueError("Attempting to unscale FP16 gradients.")
        with modes.no_grad():
            factor = scale.double().reciprocal().float()
            for device, grads in gradients.items():
                new, found[device] = _looked_at(grads, factor.to(device))
                for g, unscaled in zip(grads, new, strict=True):
                    g._store(unscaled, "unscale_")
        state.update(stage=OptState.UNSCALED, found_inf_per_device=found)

    def step(self, optimizer, *args, **kwargs):
        """Unscale if that was not done, then ``optimizer.step(...)`` unless a gradient is infinite or NaN.

        Raises:
            AssertionError: nothing was scaled yet, or no parameter has a gradient.
            RuntimeError: called twice since :meth:`update`, or with a closure.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._state("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        if not state["found_inf_per_device"]:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = self._maybe_opt_step(optimizer, state, *args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def _maybe_opt_step(self, optimizer, optimizer_state: dict, *args, **kwargs):
        found = optimizer_state["found_inf_per_device"]
        if getattr(optimizer, "_step_supports_amp_scaling", False):  # it looks for itself, at these
            optimizer.grad_scale, optimizer.found_inf = None, _any(found)
            try:
                return optimizer.step(*args, **kwargs)
            finally:
                del optimizer.grad_scale, optimizer.found_inf
        if getattr(optimizer, "can_skip", bool)():
            with optimizer.skipping(_any(found)):
                return optimizer.step(*args, **kwargs)
        return None if any(x.item() for x in found.values()) else optimizer.step(*args, **kwargs)

    def update(self, new_scale=None) -> None:
        """Adapt the factor to what the steps since the last call found, or set it.

        Raises:
            AssertionError: nothing was scaled yet; no gradient was looked at since the last call; or ``new_scale`` is
                neither a number nor a tensor of one element without ``requires_grad``.
        """
        if not self._enabled:
            return
        scale, tracker = self._state("update")
        with modes.no_grad():
            if isinstance(new_scale, Tensor):
                if new_scale.numel() != 1 or new_scale.requires_grad:
                    raise AssertionError(
                        "new_scale should be a float or a 1-element torch.cuda.FloatTensor or torch.FloatTensor with "
                        "requires_grad=False."
                    )
                scale.copy_(new_scale)
            elif new_scale is not None:
                scale.fill_(new_scale)
            else:
                found = [x for s in self._per_optimizer_states.values() for x in s["found_inf_per_device"].values()]
                if not found:
                    raise AssertionError("No inf checks were recorded prior to update.")
                _amp_update_scale_(
                    scale, tracker, _any(found).to(scale.device), self._growth_factor, self._backoff_factor,
                    self._growth_interval,
                )  # fmt: skip
        self._per_optimizer_states.clear()

    def _check_inf_per_device(self, optimizer) -> dict:
        """Note whether the gradients are finite, without changing them."""
        scale, _ = self._state("_check_inf_per_device")
        one = scale.new_ones(())
        found = {device: _looked_at(grads, one)[1] for device, grads in _gradients(optimizer).items()}
        self._per_optimizer_states[id(optimizer)]["found_inf_per_device"] = found
        return found

    def _found_inf_per_device(self, optimizer) -> dict:
        """By device, 1 where a gradient of the optimizer's was infinite or NaN at :meth:`unscale_`, else 0."""
        return self._per_optimizer_states[id(optimizer)]["found_inf_per_device"]

    # --- what it is set to

    def get_scale(self) -> float:
        """The factor, 1.0 when disabled. Waits for the device."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

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
        tracker = self._growth_tracker
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, 
            "_growth_tracker": self._init_growth_tracker if tracker is None else int(tracker.item()),
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
        self._init_scale, self._init_growth_tracker = state_dict["scale"], state_dict["_growth_tracker"]
        if self._scale is not None and self._growth_tracker is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]


__all__ = ["GradScaler"]
