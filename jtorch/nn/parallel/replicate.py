"""Copies of a module on several devices."""

from __future__ import annotations

from .scatter_gather import place


def replicate(network, devices, detach: bool = False) -> list:
    """One copy of a module per device, for a forward pass: its parameters are the module's, moved there, and gradients
    flow back to those (unless ``detach``). A copy has no parameters of its own to train."""
    return [_copy(network, device, detach, {}) for device in devices]


def _copy(module, device, detach: bool, made: dict):
    if module in made:
        return made[module]
    copy = made[module] = object.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    copy._parameters = {}
    copy._buffers = {name: b if b is None else b.to(place(device, b)) for name, b in module._buffers.items()}
    copy._modules = {n: None if m is None else _copy(m, device, detach, made) for n, m in module._modules.items()}
    for name, p in module._parameters.items():
        moved = p if p is None else p.to(place(device, p)).view_as(p)
        copy.__dict__[name] = moved.detach() if detach and moved is not None else moved
    return copy
