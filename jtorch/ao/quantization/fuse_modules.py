"""Layers merged into one before quantization, so that no value between them is rounded."""

from __future__ import annotations

import copy
import functools

from jtorch import nn
from jtorch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ..nn import intrinsic as nni


def _conv_bn_relu(n: int):
    made = getattr(nni, f"ConvReLU{n}d")
    return lambda conv, bn, relu: made(fuse_conv_bn_eval(conv, bn), relu)


def _transposed_bn(conv, bn):
    return fuse_conv_bn_eval(conv, bn, transpose=True)


def _of(kind: str, n: int) -> type:
    return getattr(nn, f"{kind}{n}d")


#: What does not depend on whether the model is to be trained.
_ALWAYS = {
    **{(_of("Conv", n), nn.ReLU): getattr(nni, f"ConvReLU{n}d") for n in (1, 2, 3)},
    **{(_of("BatchNorm", n), nn.ReLU): getattr(nni, f"BNReLU{n}d") for n in (2, 3)},
    (nn.Linear, nn.ReLU): nni.LinearReLU,
}
_FUSERS = {
    **_ALWAYS,
    **{(_of("Conv", n), _of("BatchNorm", n)): fuse_conv_bn_eval for n in (1, 2, 3)},
    **{(_of("Conv", n), _of("BatchNorm", n), nn.ReLU): _conv_bn_relu(n) for n in (1, 2, 3)},
    **{(_of("ConvTranspose", n), _of("BatchNorm", n)): _transposed_bn for n in (1, 2, 3)},
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}

#: For training: batch norm stays a module of its own inside of the fused one.
_QAT_FUSERS = {
    **_ALWAYS,
    **{(_of("Conv", n), _of("BatchNorm", n)): getattr(nni, f"ConvBn{n}d") for n in (1, 2, 3)},
    **{(_of("Conv", n), _of("BatchNorm", n), nn.ReLU): getattr(nni, f"ConvBnReLU{n}d") for n in (1, 2, 3)},
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


def fuse_modules(
    model: nn.Module, modules_to_fuse, inplace: bool = False, fuser_func=None, fuse_custom_config_dict=None
) -> nn.Module:
    """Fuse conv + bn, conv + bn + relu, conv + relu, linear + relu, linear + bn or bn + relu, given by dotted names.

    Args:
        modules_to_fuse: a list of names, or a list of such lists.
        inplace: change ``model`` rather than a copy.
        fuser_func: what joins a list of modules, instead of :func:`fuse_known_modules`.
        fuse_custom_config_dict: ``{"additional_fuser_method_mapping": {types: function(is_qat, *modules)}}``.

    Raises:
        NotImplementedError: there is no fusion of these types.
        AssertionError: batch norm in training mode; call ``model.eval()`` first.
    """
    return _fuse(model, modules_to_fuse, inplace, False, fuser_func, fuse_custom_config_dict)


def fuse_modules_qat(
    model: nn.Module, modules_to_fuse, inplace: bool = False, fuser_func=None, fuse_custom_config_dict=None
) -> nn.Module:
    """:func:`fuse_modules` for a model that is to be trained: batch norm stays what it is until ``convert``."""
    return _fuse(model, modules_to_fuse, inplace, True, fuser_func, fuse_custom_config_dict)


def _fuse(model: nn.Module, modules_to_fuse, inplace: bool, is_qat: bool, fuse, custom: dict | None) -> nn.Module:
    fusers = dict(_QAT_FUSERS if is_qat else _FUSERS)
    for types, method in (custom or {}).get("additional_fuser_method_mapping", {}).items():
        fusers[types] = functools.partial(method, is_qat)
    fuse = fuse or functools.partial(fuse_known_modules, fusers=fusers)
    model = model if inplace else copy.deepcopy(model)
    groups = [modules_to_fuse] if all(isinstance(name, str) for name in modules_to_fuse) else modules_to_fuse
    for names in groups:
        fused = fuse([model.get_submodule(name) for name in names])
        for name, module in zip(names, fused, strict=True):
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, module)
    return model
