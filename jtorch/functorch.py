"""``functorch``: the older names of :mod:`jtorch.func`, and modules as functions of tuples of parameters."""

from __future__ import annotations

import copy

import jtorch

from .func import (
    functional_call,
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)

__all__ = [
    "FunctionalModule",
    "FunctionalModuleWithBuffers",
    "combine_state_for_ensemble",
    "functionalize",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "make_functional",
    "make_functional_with_buffers",
    "vjp",
    "vmap",
]

__version__ = jtorch.version.torch_api


class FunctionalModuleWithBuffers:
    """``fmodel(params, buffers, *args)``: a module with these parameters and buffers, in the order of its own."""

    def __init__(self, module):
        self.stateless_model = module
        self.param_names = tuple(name for name, _ in module.named_parameters())
        self.buffer_names = tuple(name for name, _ in module.named_buffers())

    def __call__(self, params, buffers, *args, **kwargs):
        names = (*self.param_names, *self.buffer_names)
        return functional_call(self.stateless_model, dict(zip(names, (*params, *buffers), strict=True)), args, kwargs)


class FunctionalModule(FunctionalModuleWithBuffers):
    """``fmodel(params, *args)``: a module with these parameters, in the order of its own."""

    def __call__(self, params, *args, **kwargs):
        return functional_call(self.stateless_model, dict(zip(self.param_names, params, strict=True)), args, kwargs)


def make_functional_with_buffers(model, disable_autograd_tracking: bool = False):
    """``(fmodel, params, buffers)`` of a copy of the module; see :func:`jtorch.func.functional_call`."""
    model = copy.deepcopy(model)
    params, buffers = tuple(model.parameters()), tuple(model.buffers())
    if disable_autograd_tracking:
        for p in params:
            p.requires_grad_(False)
    return FunctionalModuleWithBuffers(model), params, buffers


def make_functional(model, disable_autograd_tracking: bool = False):
    """``(fmodel, params)`` of a copy of the module.

    Raises:
        RuntimeError: the module has buffers.
    """
    if any(True for _ in model.buffers()):
        raise RuntimeError(
            "make_functional(model): `model` has buffers. Please use make_functional_with_buffers(model) instead."
        )
    made, params, _ = make_functional_with_buffers(model, disable_autograd_tracking)
    return FunctionalModule(made.stateless_model), params


def combine_state_for_ensemble(models):
    """``(fmodel, params, buffers)`` of like modules, each tensor stacked over them: for ``vmap`` of ``fmodel``."""
    params, buffers = stack_module_state(models)
    return make_functional_with_buffers(models[0])[0], tuple(params.values()), tuple(buffers.values())
