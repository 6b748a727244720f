"""Layers merged into one before quantization, so that no value between them is rounded."""

from __future__ import annotations

import copy

from jtorch import nn
from jtorch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ..nn import intrinsic as nni


def _conv_bn(conv, bn):
    return fuse_conv_bn_eval(conv, bn)


_FUSERS = {
    (nn.Conv2d, nn.BatchNorm2d): _conv_bn,
    (nn.Conv2d, nn.BatchNorm2d, nn.ReLU): lambda conv, bn, relu: nni.ConvReLU2d(_conv_bn(conv, bn), relu),
    (nn.Conv2d, nn.ReLU): nni.ConvReLU2d,
    (nn.Conv1d, nn.BatchNorm1d): _conv_bn,
    (nn.Conv3d, nn.BatchNorm3d): _conv_bn,
    (nn.Linear, nn.ReLU): nni.LinearReLU,
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}  # fmt: skip

#: For training: batch norm stays a module of its own inside of the fused one.
_QAT_FUSERS = {
    (nn.Conv2d, nn.BatchNorm2d): nni.ConvBn2d,
    (nn.Conv2d, nn.BatchNorm2d, nn.ReLU): nni.ConvBnReLU2d,
    (nn.Conv2d, nn.ReLU): nni.ConvReLU2d,
    (nn.Linear, nn.ReLU): nni.LinearReLU,
    (nn.Linear, nn.BatchNorm1d): nni.LinearBn1d,
}


def fuse_known_modules(modules: list[nn.Module], fusers: dict = _FUSERS) -> list[nn.Module]:
    """The fused module, followed by an ``Identity`` for each of the others; hooks before and after are kept.

    Raises:
        NotImplementedError: there is no fusion of these types.
        AssertionError: batch norm in training mode.
    """
    types = tuple(type(m) for m in modules)
    if types not in fusers:
        raise NotImplementedError(f"Cannot fuse modules: {types}")
    fused = fusers[types](*modules).train(modules[0].training)
    for hook in modules[0]._forward_pre_hooks.values():
        fused.register_forward_pre_hook(hook)
    modules[0]._forward_pre_hooks.clear()
    for hook in modules[-1]._forward_hooks.values():
        fused.register_forward_hook(hook)
    modules[-1]._forward_hooks.clear()
    rest = [nn.Identity() for _ in modules[1:]]
    for identity in rest:
        identity.train(modules[0].training)
    return [fused, *rest]


def fuse_modules(model: nn.Module, modules_to_fuse, inplace: bool = False) -> nn.Module:
    """Fuse conv + bn, conv + bn + relu, conv + relu, linear + relu or linear + bn, given by their dotted names.

    Args:
        modules_to_fuse: a list of names, or a list of such lists.
        inplace: change ``model`` rather than a copy.

    Raises:
        NotImplementedError: there is no fusion of these types.
        AssertionError: batch norm in training mode; call ``model.eval()`` first.
    """
    return _fuse(model, modules_to_fuse, inplace, _FUSERS)


def fuse_modules_qat(model: nn.Module, modules_to_fuse, inplace: bool = False) -> nn.Module:
    """:func:`fuse_modules` for a model that is to be trained: batch norm stays what it is until ``convert``."""
    return _fuse(model, modules_to_fuse, inplace, _QAT_FUSERS)


def _fuse(model: nn.Module, modules_to_fuse, inplace: bool, fusers: dict) -> nn.Module:
    model = model if inplace else copy.deepcopy(model)
    groups = [modules_to_fuse] if all(isinstance(name, str) for name in modules_to_fuse) else modules_to_fuse
    for names in groups:
        fused = fuse_known_modules([model.get_submodule(name) for name in names], fusers)
        for name, module in zip(names, fused, strict=True):
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, module)
    return model
