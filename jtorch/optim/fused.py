"""Optimizers whose step is one recorded call per parameter group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from jtorch.ops.registry import OPS
from jtorch.optim import optimizer
from jtorch.optim.optimizer import Optimizer, is_tensor
from jtorch.tape.modes import enable_grad, no_grad
from jtorch.tensor import dispatch
from jtorch.trace import capture
from jtorch.trace.value import put, shard


@dataclass
class Part:
    """The parameters of a group that one call updates: on one device and equally often stepped."""

    params: list = field(default_factory=list)
    grads: list = field(default_factory=list)
    states: list[dict] = field(default_factory=list)
    fresh: bool = False  # whether this is their first step
    recorded: bool = False  # whether autograd records the step

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
        """One entry of the states, of all parameters that have it."""
        return tuple([own(state[name]) for state in self.states if name in state])

    def write(self, results, names) -> None:
        """Store a call's results: the new parameters, then the new value of each named (used) entry, in order."""
        targets = list(self.params)
        if not self.recorded:
            for name in names:
                targets += self.column(name)
        for tensor, new in zip(targets, results, strict=False):
            if tensor._lens is None and not self.recorded:
                tensor._storage.write(new._storage.value)
            else:  # a view of something larger, which must see the change; or autograd must
                tensor.copy_(new)
        rest = results[len(targets) :]
        if self.recorded:  # other tensors take the place of the old, which backward may still need
            for name in names:
                for state, new in zip([s for s in self.states if name in s], rest, strict=False):
                    state[name] = new
                rest = rest[len(self.states) :]
        for new_step in rest:
            dispatch.rebind(self.step, new_step)


class FusedOptimizer(Optimizer):
    """Subclasses name the op of a step (``_op``) and what it keeps of each parameter (``_entries``, see ``_names``).

    The op's operands are the parameters, their gradients, the entries, and then, by their names, the step count and the
    options of the group; its static attributes are options as well. It returns the new parameters, the new entries
    that are in use, and the new step count if it takes one.

    With ``differentiable=True`` the step is recorded by autograd, as in-place writes to the parameters: these must then
    be results of something, not leaves.

    State is made before the first step is recorded, from arrays that exist: so the first step is the same program as
    all later ones. The step count is one tensor, shared by all parameters that have been stepped equally often.
    """

    counts = True  # whether the state has a step count
    by_element = True  # whether an element's update depends on that element's gradients and state only

    _op: str
    _entries: tuple[str, ...] = ()
    _not_negative: tuple[str, ...] = ()  # options that are to be 0 or more

    def __init__(self, params, defaults: dict):
        """Check the options that optimizers have in common."""
        check_lr(defaults["lr"])
        check_betas(defaults.get("betas", ()))
        for name in self._not_negative:
            check_not_negative("epsilon" if name == "eps" else name, defaults[name], "Invalid {} value: {}")
        check_implementation(defaults.get("foreach"), defaults.get("fused"), defaults.get("differentiable", False))
        super().__init__(params, defaults)

    def step(self, closure: Callable[[], float] | None = None):
        """Update the parameters that have gradients. Returns what ``closure`` returned, if there is one."""
        recorded = self.defaults.get("differentiable", False)
        with enable_grad() if recorded else no_grad():
            loss = None
            if closure is not None:
                with enable_grad():
                    loss = closure()
            log = capture.current()
            for group in self.param_groups:
                if log is not None:
                    group = capture.SourcedGroup(group, log)
                for part in self._parts(group):
                    part.recorded = recorded
                    self._update(group, part)
        return loss

    _unless: object = None  # a truth value on the device: where it is true a step changes nothing

    def can_skip(self) -> bool:
        """Whether steps are skipped on the device (:meth:`skipping`): not where anything else happens in a step."""
        hooks = (
            self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks, optimizer._every_step_pre_hooks,
            optimizer._every_step_post_hooks,
        )  # fmt: skip
        plain = type(self).step is FusedOptimizer.step and "step" not in vars(self) and not any(hooks)
        tensors = (p for group in self.param_groups for p in group["params"])
        return plain and bool(OPS[self._op].keeps) and not self.defaults.get("differentiable", False) and all(
            p._handler is None for p in tensors
        )  # fmt: skip

    @contextmanager
    def skipping(self, found):
        """Steps inside the block change neither parameters nor state where ``found``, one number, is not 0."""
        self._unless = found != 0
        try:
            yield
        finally:
            del self._unless

    def _names(self, group: dict) -> tuple[str, ...]:
        """The entries of a parameter's state that this group uses."""
        return self._entries

    def _new_state(self, p, group: dict) -> dict:
        """The state of a parameter that was never stepped, without its step count."""
        return {name: full_like(p) for name in self._names(group)}

    def _options(self, group: dict, part: Part) -> dict:
        """The op's other operands and its attributes, by name."""
        if "betas" not in group:
            return group
        beta1, beta2 = group["betas"]
        return group | {"beta1": beta1, "beta2": beta2}

    def _update(self, group: dict, part: Part) -> None:
        """Record the step of these parameters and write the results."""
        op, used, options = OPS[self._op], self._names(group), self._options(group, part)
        columns = [part.column(name) if name in used else () for name in self._entries]
        named = [name for name in op.operand_names[2 + len(columns) :] if name != "failed"]
        rest = [part.step if name == "step" else options[name] for name in named]
        statics = {name: options[name] for name in op.static_names}
        if self._unless is not None:
            rest.append(self._unless.to(part.params[0].device))
        # backward may need the parameters that a recorded step overwrites
        params = tuple([p.clone() for p in part.params] if part.recorded else part.params)
        new = dispatch.call(self._op, params, tuple(part.grads), *columns, *rest, **statics)
        part.write(new, [name for name in self._entries if name in used])

    def _parts(self, group: dict) -> Iterator[Part]:
        parts: dict[tuple, Part] = {}
        counts: dict = {}
        left_behind = set()
        for p in group["params"]:
            grad, state = p.grad, self.state.get(p)
            if grad is None:
                left_behind.add(id((state or {}).get("step")))
                continue
            fresh = not state
            if fresh:
                state = self._start(p, group, counts)
            key = (p.device, id(state.get("step")), fresh)
            part = parts.get(key)
            if part is None:
                part = parts[key] = Part(fresh=fresh)
            if p._handler is not None and not self.by_element:
                raise NotImplementedError(
                    f"{type(self).__name__} needs whole parameters, but one of shape {list(p.shape)} is a DTensor, of "
                    "which this process has a part; use AdamW, SGD or another optimizer that updates element by element"
                )
            part.params.append(own(p))
            part.grads.append(self._dense(grad) if grad.is_sparse else own(grad))
            part.states.append(state)
        for part in parts.values():
            if self.counts and id(part.step) in left_behind:
                part.leave()
            yield part

    #: Whether zeros in a gradient leave a parameter and its state alone, so that a sparse gradient will do.
    takes_sparse = False

    def _dense(self, grad):
        if not self.takes_sparse:
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients, please consider SparseAdam or SGD instead"
            )
        return grad.to_dense()

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
                if name in self.defaults:
                    group.setdefault(name, value)
            counts: dict = {}
            for p in group["params"]:
                if "step" in (own := self.state.get(p, {})):
                    value = float(own["step"])
                    key = (value, p.device)
                    if key not in counts:
                        counts[key] = count(value, p.device)
                    own["step"] = counts[key]

    #: Options that files of earlier versions lack, where the optimizer has them.
    _older_defaults = {
        "maximize": False, "foreach": None, "differentiable": False, "capturable": False, "fused": None,
        "amsgrad": False, "decoupled_weight_decay": False, "nesterov": False, "centered": False, "momentum": 0,
    }  # fmt: skip


def own(t):
    """What this process has of a tensor: of a DTensor that processes share, its part."""
    return t if t._handler is None else t._stored


def full_like(p, value=0):
    """A tensor in the shape, dtype and place of ``p`` that exists already, as recorded ones do not."""
    if p._handler is not None:
        return p._like(full_like(p._stored, value))
    made, layout = put(np.full(tuple(p.shape), value, p.dtype.np), p.device), p._value().sharding
    return dispatch.wrap(made if layout is None else shard(made, layout))


def zeros_along(p, shape: tuple[int, ...]):
    """Zeros that exist already, in the shape of ``p`` but for some sizes of 1, spread over devices as ``p`` is."""
    made, layout = put(np.zeros(shape, p.dtype.np), p.device), p._value().sharding
    if layout is None:
        return dispatch.wrap(made)
    spec = (*layout.spec, *(None,) * (len(shape) - len(layout.spec)))
    spec = type(layout.spec)(*(None if n == 1 else axes for n, axes in zip(shape, spec, strict=True)))
    return dispatch.wrap(shard(made, type(layout)(layout.mesh, spec)))


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
        RuntimeError: both are asked for, or ``fused`` with ``differentiable``.
    """
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def check_betas(betas) -> None:
    """Raises:
    ValueError: a beta outside [0, 1).
    """
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
