"""The state of models and optimizers under the names that the plain model would give it.

``DistributedDataParallel``, ``FullyShardedDataParallel``, ``compile`` and ``checkpoint_wrapper`` put parts of their own
into names, and optimizers number their parameters. Here every parameter and its state go by the name it has in the
model without all that, so that a state saved from one arrangement can be loaded into another.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jtorch

from ...nn.modules.state import _IncompatibleKeys
from ...tensor import Tensor
from .. import collectives, objects
from ..fsdp.api import ShardedStateDictConfig, StateDictType
from ..fsdp.fully_sharded_data_parallel import FullyShardedDataParallel
from ..group import get_rank, get_world_size, is_initialized
from ..state_names import modules, name_of, of_optimizer, parameter_names, with_names
from ..tensor.dtensor import is_ranked
from ._nested_dict import flatten_state_dict, unflatten_state_dict


@dataclass
class StateDictOptions:
    """How state is taken and given back.

    Args:
        full_state_dict: tensors are whole, on one device; False: they lie as they do in the model.
        cpu_offload: tensors are on the host, and whole there. With ``full_state_dict`` and several processes, only rank
            0 gets anything.
        ignore_frozen_params: leave out parameters that do not require grad.
        keep_submodule_prefixes: (with ``submodules=``) names begin at the model, not at the submodule.
        strict: a model's names must be exactly the state's; an optimizer's parameters must all have state.
        broadcast_from_rank0: what rank 0 gives counts on all ranks. Needs ``full_state_dict``.
        flatten_optimizer_state_dict: ``{"state.<parameter>.exp_avg": ..., "param_groups.<parameter>.lr": ...}``.
        dsd_fqn_modifiers: not supported.
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False
    dsd_fqn_modifiers: str = "_fqn_modifiers"


# --- names ---------------------------------------------------------------------------------------------------------


def _prefixes(model, submodules) -> list[str]:
    if not submodules:
        return []
    warnings.warn(
        "Getting submodules only model/optim state_dict is deprecated. This feature can be achieved by manually "
        "filtering out the state_dict returned from get_state_dict.",
        FutureWarning,
        stacklevel=3,
    )
    return [name for name, _, module in modules(model) if any(module is m for m in submodules)]


# --- tensors -------------------------------------------------------------------------------------------------------


def _on_this_rank(options: StateDictOptions) -> bool:
    return not (options.full_state_dict and options.cpu_offload and is_initialized() and get_rank() != 0)


def _as_asked(tree, options: StateDictOptions):
    """Tensors whole, or on the host, as the options say."""
    if isinstance(tree, dict):
        return {key: _as_asked(value, options) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(_as_asked(value, options) for value in tree)
    if not isinstance(tree, Tensor):
        return tree
    if is_ranked(tree):
        tree = tree.detach().full_tensor() if options.full_state_dict else tree
    elif hasattr(tree, "full_tensor") and (options.full_state_dict or options.cpu_offload):
        tree = tree.full_tensor()
    return tree.cpu() if options.cpu_offload else tree


def _from_rank_0(state: dict) -> dict:
    """Rank 0's nested dict, on every rank."""
    if not is_initialized() or get_world_size() == 1:
        return state
    flat, paths = flatten_state_dict(state) if get_rank() == 0 else ({}, {})
    described = {k: (list(v.shape), v.dtype) if isinstance(v, Tensor) else None for k, v in flat.items()}
    plain = {k: v for k, v in flat.items() if not isinstance(v, Tensor)}
    message = [described, plain, paths]
    objects.broadcast_object_list(message, 0)
    described, plain, paths = message
    out = {}
    for name, description in described.items():
        if description is None:
            out[name] = plain[name]
            continue
        shape, dtype = description
        out[name] = flat[name].detach().clone() if get_rank() == 0 else jtorch.empty(shape, dtype=dtype)
        collectives.broadcast(out[name], 0)
    return unflatten_state_dict(out, paths)


def _check(options: StateDictOptions | None) -> StateDictOptions:
    options = options or StateDictOptions()
    if options.broadcast_from_rank0 and not options.full_state_dict:
        raise ValueError("full_state_dict must be True when broadcast_from_rank0 is True.")
    if options.dsd_fqn_modifiers != "_fqn_modifiers":
        raise NotImplementedError("dsd_fqn_modifiers is not supported: rename the entries of the state dict yourself")
    return options


# --- models --------------------------------------------------------------------------------------------------------


def _in_parts(model):
    """``FullyShardedDataParallel`` gives its tensors as they lie."""
    if not FullyShardedDataParallel.fsdp_modules(model):
        return contextlib.nullcontext()
    return FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT, ShardedStateDictConfig())


@jtorch.no_grad()
def get_model_state_dict(
    model, *, submodules: set | None = None, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """The model's parameters and buffers by their plain names.

    Raises:
        ValueError: the options contradict each other.
    """
    options = _check(options)
    with _in_parts(model):
        found = model.state_dict()
    names = {key: name for name, key, _ in modules(model)}
    out: dict[str, Any] = {}
    for key, value in found.items():
        prefix, dot, last = key.rpartition(".")
        out[names.get(prefix + dot, prefix + dot) + last] = value
    prefixes = _prefixes(model, submodules)
    if prefixes:
        kept = {}
        for name, value in out.items():
            for prefix in prefixes:
                if name.startswith(prefix):
                    kept[name if options.keep_submodule_prefixes else name.removeprefix(prefix)] = value
        out = kept
    if options.ignore_frozen_params:
        for p, shared in parameter_names(model).items():
            for name in shared if not p.requires_grad else ():
                out.pop(name, None)
    out = _as_asked(out, options)  # all ranks take part in making tensors whole
    return out if _on_this_rank(options) else {}


@jtorch.no_grad()
def set_model_state_dict(
    model, model_state_dict: dict[str, Any], *, options: StateDictOptions | None = None
) -> _IncompatibleKeys:
    """Load what :func:`get_model_state_dict` gave, of this or another arrangement of the same model.

    Each parameter keeps its layout; one on the meta device is replaced by the tensor given.

    Returns:
        ``(missing_keys, unexpected_keys)``.

    Raises:
        RuntimeError: names or sizes do not fit, or the state is empty.
        ValueError: the options contradict each other.
    """
    options = _check(options)
    if options.broadcast_from_rank0:
        model_state_dict = _from_rank_0(model_state_dict)
    if not model_state_dict:
        if options.strict and not options.ignore_frozen_params:
            raise RuntimeError(
                "The option indicates that model state_dict is required to save or load, but model state_dict is empty."
            )
        return _IncompatibleKeys([], [])
    model_state_dict = _with_prefixes(model, model_state_dict)
    keys = {name: key for name, key, _ in modules(model)}
    found = {}
    for name, value in model_state_dict.items():
        prefix, dot, last = name.rpartition(".")
        found[keys.get(prefix + dot, prefix + dot) + last] = value
    meta = any(p.is_meta for p in model.parameters())
    if any(is_ranked(p) for p in model.parameters()):
        from ..fsdp.ranked import shared_out

        shared_out(model, found, "")
    with _in_parts(model):
        return model.load_state_dict(found, strict=options.strict, assign=meta)


def _with_prefixes(model, state_dict: dict) -> dict:
    """A state dict by submodules as one by names."""
    if not isinstance(next(iter(state_dict)), jtorch.nn.Module):
        return state_dict
    warnings.warn(
        "Passing model_state_dict as a Dict[nn.Module, Dict[str, Any]] is deprecated. Prefix the names yourself.",
        FutureWarning,
        stacklevel=3,
    )
    names = {id(module): name for name, _, module in modules(model)}
    return {names[id(m)] + name: value for m, state in state_dict.items() for name, value in state.items()}


# --- optimizers ----------------------------------------------------------------------------------------------------


def _tuple_of(optimizers) -> tuple:
    return (optimizers,) if isinstance(optimizers, jtorch.optim.Optimizer) else tuple(optimizers)


def _init_optim_state(optim) -> None:
    """Make an optimizer's state, by a step of size 0 along a gradient of zero, unless it has some."""
    parameters = [p for group in optim.param_groups for p in group["params"]]
    if optim.state or any(p.grad is not None for p in parameters):
        return
    for p in parameters:
        if p.requires_grad:
            p.grad = jtorch.zeros_like(p)
    rates = [group.get("lr") for group in optim.param_groups]
    for group in optim.param_groups:
        if "lr" in group:
            group["lr"] = jtorch.tensor(0.0) if isinstance(group["lr"], Tensor) else 0.0
    optim.step(closure=None)
    for group, rate in zip(optim.param_groups, rates, strict=True):
        if "lr" in group:
            group["lr"] = rate
    optim.zero_grad(set_to_none=True)


@jtorch.no_grad()
def get_optimizer_state_dict(
    model, optimizers, *, submodules: set | None = None, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """``{"state": {parameter's name: its state}, "param_groups": [options, with parameters' names]}``.

    Several optimizers make one state. An optimizer that has not stepped yet is given its state first.

    Raises:
        RuntimeError: an optimizer has parameters that the model has not.
        ValueError: the options contradict each other.
    """
    options = _check(options)
    names = parameter_names(model)
    out: dict[str, Any] = {"state": {}, "param_groups": []}
    for optim in _tuple_of(optimizers):
        _init_optim_state(optim)
        state = with_names(optim, optim.state_dict(), names)
        out["state"].update(state["state"])
        out["param_groups"] += state["param_groups"]
    prefixes = _prefixes(model, submodules)
    if prefixes:
        inside = tuple(prefixes)
        out["state"] = {name: v for name, v in out["state"].items() if name.startswith(inside)}
        out["param_groups"] = [
            {**group, "params": [name for name in group["params"] if name.startswith(inside)]}
            for group in out["param_groups"]
        ]
    out = _as_asked(out, options)
    if not _on_this_rank(options):
        return {}
    return _flat(out) if options.flatten_optimizer_state_dict else out


def _flat(state: dict) -> dict[str, Any]:
    out: dict[str, Any] = {}

    def add(prefix: str, value) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{prefix}.{key}", inner)
        elif isinstance(value, Tensor | int | float):
            out[prefix] = value
        else:
            raise NotImplementedError(
                "Flattening optimizer state_dict only supports tensor, int, float, dict states now. "
                f"Type is {type(value)}."
            )

    for name, values in state["state"].items():
        add(f"state.{name}", values)
    for group in state["param_groups"]:
        for name in group["params"]:
            out.update({f"param_groups.{name}.{key}": value for key, value in group.items() if key != "params"})
    return out


def _unflat(optim, state: dict, names: dict[Tensor, list[str]]) -> dict[str, Any]:
    out: dict[str, Any] = {"state": {}, "param_groups": []}
    for group in optim.param_groups:
        found = {"params": [name_of(p, names, lambda n: any(k.startswith(f"param_groups.{n}.") for k in state))
                            for p in group["params"]]}  # fmt: skip
        for name in found["params"]:
            values = _nested(state, f"state.{name}.")
            if values:
                out["state"][name] = values
        for key in group:
            values = [state[f"param_groups.{name}.{key}"] for name in found["params"]] if key != "params" else []
            if any(type(v) is not type(values[0]) or not _same(v, values[0]) for v in values):
                raise RuntimeError(
                    "All the parameters in the same parameter group should have the same saved param_group value. But "
                    f"{key} of {found['params']} is {values}."
                )
            found.update({key: values[0]} if values else {})
        out["param_groups"].append(found)
    return out


def _same(a, b) -> bool:
    return jtorch.equal(a, b) if isinstance(a, Tensor) else a == b


def _nested(state: dict, prefix: str) -> dict:
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return unflatten_state_dict(inner, {key: tuple(key.split(".")) for key in inner})


@jtorch.no_grad()
def set_optimizer_state_dict(
    model, optimizers, optim_state_dict: dict[str, Any], *, options: StateDictOptions | None = None
) -> None:
    """Load what :func:`get_optimizer_state_dict` gave; state is laid out as its parameter is.

    Call it before ``backward`` or after ``step``: an optimizer without state is given some first.

    Raises:
        RuntimeError: a parameter has no state there, or the state is empty.
        ValueError: the options contradict each other.
    """
    options = _check(options)
    if options.broadcast_from_rank0:
        optim_state_dict = _from_rank_0(optim_state_dict)
    if not optim_state_dict:
        raise RuntimeError(
            "The option indicates that model state_dict is required to save, or load but optim state_dict is empty."
        )
    names = parameter_names(model)
    for optim in _tuple_of(optimizers):
        _init_optim_state(optim)
        if "state" in optim_state_dict or "param_groups" in optim_state_dict:
            nested = {"state": optim_state_dict.get("state", {}), "param_groups": optim_state_dict["param_groups"]}
            state = of_optimizer(optim, nested, names, options.strict)
        else:
            state = _unflat(optim, optim_state_dict, names)
        optim.load_state_dict(state)


# --- both ----------------------------------------------------------------------------------------------------------


def get_state_dict(
    model, optimizers, *, submodules: set | None = None, options: StateDictOptions | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """:func:`get_model_state_dict` and :func:`get_optimizer_state_dict`."""
    optimizers = _tuple_of(optimizers)
    model_state = get_model_state_dict(model, submodules=submodules, options=options)
    if not optimizers:
        return model_state, {}
    return model_state, get_optimizer_state_dict(model, optimizers, submodules=submodules, options=options)


def set_state_dict(
    model, optimizers: Iterable, *, model_state_dict: dict[str, Any], optim_state_dict: dict[str, Any],
    options: StateDictOptions | None = None,
) -> _IncompatibleKeys:  # fmt: skip
    """:func:`set_optimizer_state_dict` and :func:`set_model_state_dict`."""
    optimizers = _tuple_of(optimizers)
    if optimizers:
        set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return set_model_state_dict(model, model_state_dict, options=options)
