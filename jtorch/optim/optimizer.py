"""The base of all optimizers: parameter groups, state, hooks, saving and loading."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import TypeAlias

from jtorch.tape.node import RemovableHandle, add_hook
from jtorch.tensor import dispatch
from jtorch.trace import recorder
from jtorch.trace.value import shard


def _default_to_fused_or_foreach(params, differentiable: bool, use_fused: bool = False) -> tuple[bool, bool]:
    """``(False, False)``: a step is one program however it is written, so neither form is quicker."""
    return False, False


def _get_capturable_supported_devices(supports_xla: bool = True) -> list[str]:
    """Kinds of devices on which steps are compiled: all."""
    return ["cpu", "cuda", "xpu", *(["xla"] if supports_xla else [])]


#: What optimizers take as their parameters, for annotations: tensors, ``(name, tensor)`` pairs, or dicts.
ParamsT: TypeAlias = Iterable


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


#: The default of an option that every parameter group must give.
required = _Required()

_HOOKS = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)
_every_step_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
_every_step_post_hooks: OrderedDict[int, Callable] = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before each step of any optimizer."""
    return add_hook(_every_step_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after each step of any optimizer."""
    return add_hook(_every_step_post_hooks, hook)


def is_tensor(x) -> bool:
    return isinstance(x, dispatch.TENSOR)


def _typename(x) -> str:
    if is_tensor(x):
        return x.type()
    kind = type(x)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Optimizer:
    """Holds parameters in groups with options of their own, and updates them from their gradients in ``step()``.

    Subclasses define ``step(closure=None)``, best decorated with ``no_grad()``. At the end of a step everything
    recorded so far is started, without waiting for it.

    Args:
        params: tensors, ``(name, tensor)`` pairs, or dicts that give ``params`` and the options of a group.
        defaults: options for the groups that do not give them.

    Raises:
        TypeError: ``params`` is a tensor, or something in it is none.
        ValueError: ``params`` is empty, a tensor is not a leaf, or is in two groups.
    """

    def __init__(self, params, defaults: dict):
        if is_tensor(params):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + _typename(params)
            )
        self.defaults = defaults
        self.state: defaultdict = defaultdict(dict)
        self.param_groups: list[dict] = []
        for name in _HOOKS:
            setattr(self, name, OrderedDict())
        params = list(params)
        if not params:
            raise ValueError("optimizer got an empty parameter list")
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)
        # What made the parameters runs now: recorded with the first step, it would make that another program.
        recorder.flush_all("an optimizer was made")

    _stepped = False  # whether step() ran since the optimizer was made: schedules look at it
    _scheduled_step = None  # the step() put on this optimizer alone, if any, when its schedule was made
    _in_step = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.__dict__["step"])

    # --- groups

    def add_param_group(self, param_group: dict) -> None:
        """Add a group; options it lacks get the defaults.

        Raises:
            TypeError: not a dict, parameters in a set, or something that is no tensor.
            ValueError: a tensor is not a leaf or is in another group already, a required option is missing, or only
                some parameters are named.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in "
                "sets will change between runs. Please use a list instead."
            )
        given = [given] if is_tensor(given) else list(given)
        params = [entry[1] if isinstance(entry, tuple) else entry for entry in given]
        names = [entry[0] for entry in given if isinstance(entry, tuple)]
        if names and len(names) != len(params):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        for p in params:
            if not is_tensor(p):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + _typename(p))
            if not (p.is_leaf or p.retains_grad or self.defaults.get("differentiable")):
                raise ValueError("can't optimize a non-leaf Tensor")
        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        if len(set(params)) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error",
                stacklevel=3,
            )
        for group in self.param_groups:
            if bool(names) != ("param_names" in group):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if names else 'without'} names to the optimizer"
                )
            if not set(params).isdisjoint(group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or with ``set_to_none=False`` set them to zero."""
        recorder.boundary("zero_grad()", constants=True)
        for p in self._params():
            if p.grad is None:
                continue
            if set_to_none:
                p.grad = None
                continue
            if p.grad.grad_fn is not None:
                p.grad.detach_()
            else:
                p.grad.requires_grad_(False)
            p.grad.zero_()

    def step(self, closure: Callable[[], float] | None = None):
        """Update the parameters; ``closure`` reevaluates the model and returns the loss, which is returned."""
        raise NotImplementedError(f"{type(self).__name__} must define step()")

    def _params(self):
        return itertools.chain.from_iterable(group["params"] for group in self.param_groups)

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {name}: {group[name]}\n" for name in sorted(group) if name != "params")
        return text + ")"

    def __getstate__(self) -> dict:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict) -> None:
        """Also called by :meth:`load_state_dict`: subclasses add the options that older files lack."""
        self.__dict__.update(state)
        for name in _HOOKS:
            self.__dict__.setdefault(name, OrderedDict())

    # --- saving and loading

    def state_dict(self) -> dict:
        """``{"state": {parameter number: its state}, "param_groups": [options, with parameter numbers]}``."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        number: dict = {}
        for p in self._params():
            number.setdefault(p, len(number))
        groups = [
            {name: value for name, value in group.items() if name != "params"}
            | {"params": [number[p] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {
            number[p] if is_tensor(p) else p: self._saved(p, values) if is_tensor(p) else values
            for p, values in self.state.items()
        }
        result = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            replaced = hook(self, result)
            result = result if replaced is None else replaced
        return result

    def _saved(self, param, values):
        """One parameter's state as ``state_dict`` shows it."""
        return values

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over state and options; tensors are converted to their parameter's dtype and device.

        Raises:
            ValueError: the groups, or the number of parameters in them, differ.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        groups = deepcopy(state_dict["param_groups"])
        if len(groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(new["params"]) != len(old["params"]) for new, old in zip(groups, self.param_groups, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        numbers = itertools.chain.from_iterable(group["params"] for group in groups)
        param_of = dict(zip(numbers, self._params(), strict=True))
        state: defaultdict = defaultdict(dict)
        for number, values in state_dict["state"].items():
            param = param_of.get(number)
            state[number if param is None else param] = values if param is None else _loaded(param, values)
        for new, old in zip(groups, self.param_groups, strict=True):
            new["params"] = old["params"]
            if "param_names" in old:
                new.setdefault("param_names", old["param_names"])
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    # --- hooks

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return new ``(args, kwargs)``."""
        return add_hook(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return add_hook(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before each ``state_dict()``."""
        return add_hook(self._optimizer_state_dict_pre_hooks, hook, prepend=prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after each ``state_dict()``; it may return another dict."""
        return add_hook(self._optimizer_state_dict_post_hooks, hook, prepend=prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before each ``load_state_dict()``; it may return another dict."""
        return add_hook(self._optimizer_load_state_dict_pre_hooks, hook, prepend=prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` after each ``load_state_dict()``."""
        return add_hook(self._optimizer_load_state_dict_post_hooks, hook, prepend=prepend)


def _with_hooks(step: Callable) -> Callable:
    """``step`` between its hooks, and with what was recorded started at its end."""

    @functools.wraps(step)
    def wrapper(self, *args, **kwargs):
        # super().step() of a subclass: the outermost call does the rest. An optimizer that wraps another one and never
        # called Optimizer.__init__ has no hooks; the optimizer that it wraps does the rest.
        if self._in_step or _HOOKS[0] not in self.__dict__:
            return step(self, *args, **kwargs)
        self._in_step = True
        try:
            for hook in (*_every_step_pre_hooks.values(), *self._optimizer_step_pre_hooks.values()):
                replaced = hook(self, (self, *args), kwargs)
                if replaced is not None:
                    if not (isinstance(replaced, tuple) and len(replaced) == 2):
                        raise RuntimeError(
                            f"{step} must return None or a tuple of (new_args, new_kwargs), but got {replaced}."
                        )
                    (_, *args), kwargs = replaced
            result = step(self, *args, **kwargs)
            self._stepped = True
            for hook in (*self._optimizer_step_post_hooks.values(), *_every_step_post_hooks.values()):
                hook(self, (self, *args), kwargs)
        finally:
            self._in_step = False
        recorder.step_boundary()
        return result

    return wrapper


def _loaded(param, value, name=None):
    """A state entry from a file, where ``param`` lives; the step count keeps its dtype and device."""
    if is_tensor(value):
        if name == "step":
            return value
        value = value.to(device=param.device, dtype=param.dtype if param.is_floating_point() else value.dtype)
        if param._handler is not None:  # of a DTensor that processes share, the state is one too
            return param._share(value)
        layout = param._value().sharding
        if layout is not None and value.shape == param.shape:  # on several devices: state lies as its parameter does
            value = dispatch.wrap(shard(value._value(), layout))
        return value
    if isinstance(value, dict):
        return {key: _loaded(param, entry, key) for key, entry in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return type(value)(_loaded(param, entry) for entry in value)
    return value
