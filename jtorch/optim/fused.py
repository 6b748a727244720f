"""Optimizers whose step is one recorded call per parameter group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from jtorch.optim.optimizer import Optimizer, is_tensor
from jtorch.tape.modes import enable_grad, no_grad
from jtorch.tensor import dispatch
from jtorch.trace.value import put, shard


@dataclass
class Part:
    """The parameters of a group that one call updates: on one device and equally often stepped."""

    params: list = field(default_factory=list)
    grads: list = field(default_factory=list)
    states: list[dict] = field(default_factory=list)
    fresh: bool = False  # whether this is their first step

    @property
    def step(self):
        """The step count they share."""
        return self.states[0]["step"]

    def leave(self) -> None:
        """Take a step count of their own: parameters that shared it do not step this time."""
        step = dispatch.wrap(self.step._value())
        for state in self.states:
            state["step"] = step

    def column(self, name: str) -> tuple:
        """One entry of the states, of all parameters that have it; empty when this group does not use it."""
        return tuple(state[name] for state in self.states if name in state)

    def write(self, results, names: tuple[str, ...]) -> None:
        """Store a call's results: the new parameters, then the new value of each named (used) entry, in order."""
        results = iter(results)
        for p in self.params:
            _rebind(p, next(results))
        for name in names:
            for tensor in self.column(name):
                _rebind(tensor, next(results))
        for new_step in results:
            _rebind(self.step, new_step)


def _rebind(tensor, new) -> None:
    if tensor._lens is None:
        dispatch.rebind(tensor, new)
    else:  # a view of something larger, which must see the change
        tensor.copy_(new)


class FusedOptimizer(Optimizer):
    """Subclasses say what a parameter's state is, and record the call.

    State is made before the first step is recorded, from arrays that exist: so the first step is the same program as
    all later ones. The step count is one tensor, shared by all parameters that have been stepped equally often.
    """

    counts = True  # whether the state has a step count

    @no_grad()
    def step(self, closure: Callable[[], float] | None = None):
        """Update the parameters that have gradients. Returns what ``closure`` returned, if there is one."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for part in self._parts(group):
                self._update(group, part)
        return loss

    def _new_state(self, p, group: dict) -> dict:
        """The state of a parameter that was never stepped, without its step count."""
        raise NotImplementedError

    def _update(self, group: dict, part: Part) -> None:
        """Record the step of these parameters and write the results."""
        raise NotImplementedError

    def _parts(self, group: dict) -> Iterator[Part]:
        parts: dict[tuple, Part] = {}
        counts: dict = {}
        left_behind = set()
        for p in group["params"]:
            if p.grad is None:
                left_behind.add(id(self.state.get(p, {}).get("step")))
                continue
            fresh = not self.state.get(p)
            state = self._start(p, group, counts) if fresh else self.state[p]
            key = (p.device, id(state.get("step")), fresh)
            part = parts.get(key)
            if part is None:
                part = parts[key] = Part(fresh=fresh)
            part.params.append(p)
            part.grads.append(p.grad)
            part.states.append(state)
        for part in parts.values():
            if self.counts and id(part.step) in left_behind:
                part.leave()
            yield part

    def _start(self, p, group: dict, counts: dict) -> dict:
        """Make the state of ``p``. ``counts``: by device, the step count that parameters started together share."""
        state = {}
        if self.counts:
            if p.device not in counts:
                counts[p.device] = count(0, p.device)
            state["step"] = counts[p.device]
        state.update(self._new_state(p, group))
        if state:
            self.state[p] = state
        return state

    def _saved(self, param, values: dict) -> dict:
        """With a step count of the parameter's own, on the CPU, as PyTorch keeps it."""
        if "step" not in values:
            return values
        return values | {"step": dispatch.wrap(values["step"].cpu()._value())}

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        # Equal step counts become one tensor again (numbers, in old files, become tensors).
        for group in self.param_groups:
            for name, value in self._older_defaults.items():
                group.setdefault(name, value)
            counts: dict = {}
            for p in group["params"]:
                if "step" in (own := self.state.get(p, {})):
                    value = float(own["step"])
                    key = (value, p.device)
                    if key not in counts:
                        counts[key] = count(value, p.device)
                    own["step"] = counts[key]

    #: Options that files of earlier versions lack.
    _older_defaults = {"maximize": False, "foreach": None, "differentiable": False, "fused": None}


def full_like(p, value=0):
    """A tensor in the shape, dtype and place of ``p`` that exists already, as recorded ones do not."""
    made, layout = put(np.full(tuple(p.shape), value, p.dtype.np), p.device), p._value().sharding
    return dispatch.wrap(made if layout is None else shard(made, layout))


def count(value: float, device):
    """A step count that exists already."""
    return dispatch.wrap(put(np.array(value, np.float32), device))


# --- checks the constructors share


def check_lr(lr) -> None:
    """Raises:
    ValueError: ``lr`` is negative or NaN, or a tensor of more than one element.
    """
    if is_tensor(lr) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_not_negative("learning rate", lr)


def check_not_negative(what: str, value, form: str = "Invalid {}: {}") -> None:
    """Raises:
    ValueError: ``value`` is negative or NaN.
    """
    if not 0.0 <= value:
        raise ValueError(form.format(what, value))


def check_implementation(foreach: bool | None, fused: bool | None, differentiable: bool) -> None:
    """``foreach`` and ``fused`` choose among PyTorch's implementations; here there is one, and it is fused.

    Raises:
        RuntimeError: both are asked for.
        NotImplementedError: ``differentiable``.
    """
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if differentiable:
        raise NotImplementedError(
            "differentiable=True is not supported: step() is not recorded by autograd. Write the update with tensor "
            "operations, for example p - lr * g with g from torch.autograd.grad(..., create_graph=True)."
        )
