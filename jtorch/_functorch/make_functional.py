"""A module as a function of its parameters, as ``functorch`` had it before ``torch.func.functional_call``."""

from __future__ import annotations

import copy

from ..func import stack_module_state
from ..nn import Module
from ..nn.utils import stateless


class FunctionalModuleWithBuffers(Module):
    """``f(params, buffers, *args)``: a copy of a module, called with other tensors."""

    def __init__(self, model, disable_autograd_tracking: bool = False):
        super().__init__()
        stateless_model = copy.deepcopy(model)
        named, buffers = list(model.named_parameters()), list(model.named_buffers())
        self.param_names, self.buffer_names = [n for n, _ in named], [n for n, _ in buffers]
        self.__dict__["stateless_model"] = stateless_model  # its own parameters are not this module's
        track = not disable_autograd_tracking
        self.__dict__["_taken"] = (
            tuple(p.detach().clone().requires_grad_(track and p.requires_grad) for _, p in named),
            tuple(b.detach().clone() for _, b in buffers),
        )

    def forward(self, params, buffers, *args, **kwargs):
        """The module's result, with these tensors in the place of its own."""
        self.stateless_model.train(self.training)
        given = dict(zip(self.param_names, params, strict=True)) | dict(zip(self.buffer_names, buffers, strict=True))
        return stateless.functional_call(self.stateless_model, given, args, kwargs)


class FunctionalModule(FunctionalModuleWithBuffers):
    """``f(params, *args)``: a copy of a module without buffers, called with other parameters."""

    def forward(self, params, *args, **kwargs):
        """The module's result, with these parameters in the place of its own."""
        return super().forward(params, (), *args, **kwargs)


def _taken(function, model):
    function.train(model.training)
    return function.__dict__.pop("_taken")


def make_functional(model, disable_autograd_tracking: bool = False):
    """``(function, parameters)``: ``function(parameters, *args)`` is ``model(*args)``.

    Raises:
        RuntimeError: the module has buffers.
    """
    if next(model.buffers(), None) is not None:
        raise RuntimeError(
            "make_functional(model): `model` has buffers. Please use make_functional_with_buffers(model) instead."
        )
    function = FunctionalModule(model, disable_autograd_tracking)
    return function, _taken(function, model)[0]


def make_functional_with_buffers(model, disable_autograd_tracking: bool = False):
    """``(function, parameters, buffers)``: ``function(parameters, buffers, *args)`` is ``model(*args)``."""
    function = FunctionalModuleWithBuffers(model, disable_autograd_tracking)
    return function, *_taken(function, model)


def combine_state_for_ensemble(models):
    """``(function, parameters, buffers)`` of like modules, whose tensors are stacked: for ``vmap`` over them."""
    params, buffers = stack_module_state(models)
    function = FunctionalModuleWithBuffers(models[0])
    _taken(function, models[0])
    return function, tuple(params.values()), tuple(buffers.values())


__all__ = ["FunctionalModule", "FunctionalModuleWithBuffers", "combine_state_for_ensemble", "make_functional",
           "make_functional_with_buffers"]  # fmt: skip
