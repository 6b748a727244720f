"""What a parameter is called in the plain model, whatever wrappers are around parts of it.

``checkpoint_wrapper`` and ``FullyShardedDataParallel`` put names between that ``state_dict()`` leaves out again;
``DistributedDataParallel`` and ``compile`` put names there that it shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..compiler.module import OptimizedModule
from ..nn.parallel.distributed import DistributedDataParallel
from ..tensor import Tensor

#: Under these names wrappers hold their module, and ``state_dict()`` does not show them.
HIDDEN = ("_checkpoint_wrapped_module", "_fsdp_wrapped_module")


def modules(module, name: str = "", key: str = "") -> Iterator[tuple[str, str, Any]]:
    """``(name, key, module)`` of all modules: how names begin in the plain model, and in ``state_dict()``."""
    yield name, key, module
    for child_name, child in module._modules.items():
        if child is None:
            continue
        if child_name in HIDDEN:
            yield from modules(child, name, key)
        elif isinstance(module, DistributedDataParallel | OptimizedModule):
            yield from modules(child, name, f"{key}{child_name}.")
        else:
            yield from modules(child, f"{name}{child_name}.", f"{key}{child_name}.")


def parameter_names(model) -> dict[Tensor, list[str]]:
    """The names of each parameter; a shared one has several."""
    out: dict[Tensor, list[str]] = {}
    for prefix, _, module in modules(model):
        for name, p in module._parameters.items():
            if p is not None:
                out.setdefault(p, []).append(prefix + name)
    return out


def name_of(p: Tensor, names: dict[Tensor, list[str]], known=lambda name: True) -> str:
    """The name of an optimizer's parameter (of a shared one, the first that is ``known``).

    Raises:
        RuntimeError: the model has no such parameter.
    """
    if p not in names:
        raise RuntimeError(
            f"the optimizer has a parameter of shape {list(p.shape)} that is none of the model's; give the model that "
            "it was made for"
        )
    return next((name for name in names[p] if known(name)), names[p][0])


def with_names(optim, state: dict, names: dict[Tensor, list[str]]) -> dict[str, Any]:
    """An optimizer's ``state_dict()`` with names for numbers."""
    parameters = dict.fromkeys(p for group in optim.param_groups for p in group["params"])
    named = dict(enumerate(name_of(p, names) for p in parameters))
    return {
        "state": {named.get(number, number): values for number, values in state["state"].items()},
        "param_groups": [
            {**group, "params": [named[number] for number in group["params"]]} for group in state["param_groups"]
        ],
    }


def of_optimizer(optim, state: dict, names: dict[Tensor, list[str]], strict: bool = True) -> dict[str, Any]:
    """What concerns one optimizer in a state by names, in its order.

    Raises:
        RuntimeError: a parameter that has state has none there (with ``strict``).
        ValueError: it is not clear which group without parameters is which.
    """
    if all(type(n) is int for n in (*state["state"], *(n for group in state["param_groups"] for n in group["params"]))):
        return state  # an optimizer's own state_dict()
    out: dict[str, Any] = {"state": {}, "param_groups": []}
    group_of = {name: group for group in state["param_groups"] for name in group["params"]}
    empty = [group for group in state["param_groups"] if not group["params"]]
    for group in optim.param_groups:
        params = [name_of(p, names, group_of.__contains__) for p in group["params"]]
        for p, name in zip(group["params"], params, strict=True):
            if name in state["state"]:
                out["state"][name] = state["state"][name]
            elif strict and p.requires_grad and optim.state.get(p):
                raise RuntimeError(
                    f"Missing optimizer state for parameter '{name}' in checkpoint. The parameter requires gradients "
                    "but has no saved optimizer state. To load anyway, use StateDictOptions(strict=False)."
                )
        if not params and len(empty) != 1:
            raise ValueError(
                "There are param groups that have zero parameters. In such a case, exactly one param group with zero "
                "parameters is supported, but the loaded state_dict has zero or more than one."
            )
        loaded = next((group_of[name] for name in params if name in group_of), empty[0] if not params else group)
        out["param_groups"].append({**{k: v for k, v in loaded.items() if k != "params"}, "params": params})
    return out


def with_numbers(state: dict) -> dict[str, Any]:
    """A state by names as an optimizer's ``state_dict()``."""
    number: dict = {}
    groups = [
        {**group, "params": [number.setdefault(n, len(number)) for n in group["params"]]}
        for group in state["param_groups"]
    ]
    return {"state": {number.get(n, n): values for n, values in state["state"].items()}, "param_groups": groups}
