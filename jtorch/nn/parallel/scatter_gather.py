"""Tensors in nested containers cut over devices, and put together again; gradients flow through both."""

from __future__ import annotations

import jax

from ... import devices
from ...tensor import Tensor
from ...tensor.dispatch import call


def _device(target) -> devices.device:
    return devices.device("cuda", target) if isinstance(target, int) else devices.device(target)


def _flatten(tree):
    return jax.tree.flatten(tree, is_leaf=lambda x: isinstance(x, Tensor))


def scatter(inputs, target_gpus, dim: int = 0):
    """One copy of ``inputs`` for each device, with the tensors in it cut along ``dim`` (nearly equally, in order).

    A tensor that is too short gives fewer pieces, and there are as many copies as the shortest has pieces. Objects that
    are no tensors are in every copy. Returns a tuple for a tensor, a list otherwise.
    """
    targets = [_device(target) for target in target_gpus]

    def pieces(x):
        if not isinstance(x, Tensor):
            return [x] * len(targets)
        return [piece.to(target) for piece, target in zip(x.chunk(len(targets), dim), targets, strict=False)]

    leaves, form = _flatten(inputs)
    copies = [jax.tree.unflatten(form, copy) for copy in zip(*map(pieces, leaves), strict=False)]
    if not leaves:
        copies = [inputs] * len(targets)
    return tuple(copies) if isinstance(inputs, Tensor) else copies


def scatter_kwargs(inputs, kwargs, target_gpus, dim: int = 0):
    """:func:`scatter` of positional and keyword arguments; the shorter of both is filled up with empty ones."""
    inputs = scatter(inputs, target_gpus, dim) if inputs else []
    kwargs = scatter(kwargs, target_gpus, dim) if kwargs else []
    count = max(len(inputs), len(kwargs))
    return tuple(inputs + [()] * (count - len(inputs))), tuple(kwargs + [{}] * (count - len(kwargs)))


def gather(outputs, target_device, dim: int = 0):
    """The tensors at the same places in several equal containers, joined along ``dim`` on one device.

    Tensors without dimensions become a vector. ``target_device`` is a device, or -1 for the CPU.

    Raises:
        ValueError: the containers differ in their structure.
    """
    target = devices.device("cpu") if target_device == -1 else _device(target_device)
    flat, forms = zip(*map(_flatten, outputs), strict=True)
    if any(form != forms[0] for form in forms):
        raise ValueError("All outputs must have the same structure: the same containers, keys and lengths")

    def join(parts):
        if not isinstance(parts[0], Tensor):
            return parts[0]
        moved = [(x.reshape(1) if x.dim() == 0 else x).to(target) for x in parts]
        return call("cat", moved, dim=dim if parts[0].dim() else 0)

    return jax.tree.unflatten(forms[0], [join(parts) for parts in zip(*flat, strict=True)])
