"""The benchmark networks, each written once in PyTorch's API: ``build(name, torch)`` with either library as ``torch``.

A network is a file with a function ``build(torch, batch=..., **sizes)`` that returns a :class:`Case`, and ``TINY``,
the sizes at which tests run it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

#: what a run measures unless told otherwise
NAMES = ("mlp", "cnn", "resnet18", "resnet50", "vit", "gpt", "lstm", "gnn", "dlrm", "unet")
#: too large for every run; selectable by name
LARGE = ("gpt2", "bert")
_FILES = {"resnet18": "resnet", "resnet50": "resnet", "gpt2": "gpt"}


class Case(NamedTuple):
    """A network, what it is given, and how its output is judged: ``loss(model(*inputs), *targets)``."""

    model: Any
    inputs: tuple
    targets: tuple
    loss: Callable


def _builder(name: str):
    if name not in (*NAMES, *LARGE):
        raise ValueError(f"no benchmark model {name!r}; there are {', '.join((*NAMES, *LARGE))}")
    module = import_module(f".{_FILES.get(name, name)}", __name__)
    return getattr(module, name, None) or module.build, module.TINY


def sizes(name: str, *, tiny: bool = False, batch: int | None = None) -> dict:
    """The sizes a network is built with, defaults included."""
    function, small = _builder(name)
    found = {k: p.default for k, p in inspect.signature(function).parameters.items() if k != "torch"}
    found |= small if tiny else {}
    return found | ({} if batch is None else {"batch": batch})


def build(name: str, torch, *, device=None, tiny: bool = False, batch: int | None = None) -> Case:
    """The network with fresh weights from seed 0, on ``device``; ``batch`` overrides its usual batch size."""
    torch.manual_seed(0)
    case = _builder(name)[0](torch, **sizes(name, tiny=tiny, batch=batch))
    if device is None:
        return case
    move = lambda tensors: tuple(t.to(device) for t in tensors)  # noqa: E731
    return case._replace(model=case.model.to(device), inputs=move(case.inputs), targets=move(case.targets))
