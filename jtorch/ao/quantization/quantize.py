"""From a float model to a quantized one: ``quantize_dynamic``, or ``prepare``, calibrate, ``convert``."""

from __future__ import annotations

import copy
import warnings

import jtorch
from jtorch import nn

from .. import qtypes
from ..nn import intrinsic as nni
from ..nn import qat
from ..nn import quantized as nnq
from .fake_quantize import FakeQuantizeBase
from .qconfig import QConfig, default_dynamic_qconfig
from .stubs import DeQuantStub, QuantStub, QuantWrapper

_STATIC = {
    QuantStub: nnq.Quantize,
    DeQuantStub: nnq.DeQuantize,
    nn.Linear: nnq.Linear,
    nni.LinearReLU: nnq.LinearReLU,
    nn.Conv2d: nnq.Conv2d,
    nni.ConvReLU2d: nnq.ConvReLU2d,
    nnq.FloatFunctional: nnq.QFunctional,
    nn.ReLU: nnq.ReLU,
    nn.MaxPool2d: nnq.MaxPool2d,
    nn.AvgPool2d: nnq.AvgPool2d,
    nn.AdaptiveAvgPool2d: nnq.AdaptiveAvgPool2d,
    nn.Dropout: nnq.Dropout,
    qat.Linear: nnq.Linear,
    qat.LinearReLU: nnq.LinearReLU,
    qat.LinearBn1d: nnq.Linear,
    qat.Conv2d: nnq.Conv2d,
    qat.ConvReLU2d: nnq.ConvReLU2d,
    qat.ConvBn2d: nnq.Conv2d,
    qat.ConvBnReLU2d: nnq.ConvReLU2d,
}
#: Modules whose output gets a grid of its own.
_WEIGHTED = {nn.Linear, nni.LinearReLU, nn.Conv2d, nni.ConvReLU2d, *qat.MAPPING.values()}
_OBSERVED = {QuantStub, nnq.FloatFunctional, *_WEIGHTED}
_DYNAMIC = {
    nn.Linear: nnq.dynamic.Linear,
    nni.LinearReLU: nnq.dynamic.Linear,
    nn.LSTM: nnq.dynamic.LSTM,
    nn.GRU: nnq.dynamic.GRU,
    nn.LSTMCell: nnq.dynamic.LSTMCell,
    nn.GRUCell: nnq.dynamic.GRUCell,
    nn.RNNCell: nnq.dynamic.RNNCell,
}


def get_default_static_quant_module_mappings() -> dict:
    """Float module type to quantized module type, for ``convert``."""
    return dict(_STATIC)


def get_default_dynamic_quant_module_mappings() -> dict:
    """Float module type to quantized module type, for ``quantize_dynamic``."""
    return dict(_DYNAMIC)


# --- configuration ---------------------------------------------------------------------------------------------------


def propagate_qconfig_(module: nn.Module, qconfig_dict: dict | None = None) -> None:
    """Give each module the ``qconfig`` of its name or type in ``qconfig_dict``, its own, or else its parent's."""
    _propagate(module, qconfig_dict or {}, None, "")


def _propagate(module, by_key: dict, inherited, path: str) -> None:
    found = by_key.get(path, by_key.get(type(module), inherited))
    module.qconfig = found = getattr(module, "qconfig", found)
    if found is not None and not isinstance(found, QConfig):
        raise TypeError(f"the qconfig of '{path or type(module).__name__}' must be a QConfig or None, got {found!r}")
    for name, child in module.named_children():
        _propagate(child, by_key, found, f"{path}.{name}" if path else name)


def _remove_qconfig(module: nn.Module) -> None:
    for m in module.modules():
        m.__dict__.pop("qconfig", None)
        if "activation_post_process" in m._modules and not isinstance(m, FakeQuantizeBase):
            _remove_observer(m)


# --- observers -------------------------------------------------------------------------------------------------------


def _observe_output(module, input, output):
    return module.activation_post_process(output)


def _remove_observer(module: nn.Module) -> None:
    if not isinstance(module, (nnq.FloatFunctional, nnq.QFunctional)):
        del module.activation_post_process
    for key in [key for key, hook in module._forward_hooks.items() if hook is _observe_output]:
        del module._forward_hooks[key]


def _refuse_unsupported(module: nn.Module, path: str) -> None:
    """A float layer with weights inside the region to quantize would be left in floating point unnoticed."""
    ours = type(module).__module__.startswith("jtorch.nn.")
    if ours and (module._parameters or module._buffers):
        hint = "; fuse it into the layer before it with fuse_modules" if "BatchNorm" in type(module).__name__ else ""
        raise NotImplementedError(
            f"quantization of {type(module).__name__} ('{path}') is not implemented{hint}. To keep it in floating "
            "point, set its qconfig to None and put a DeQuantStub before it"
        )


def _add_observers(module: nn.Module, path: str, allowed) -> None:
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        if type(child) in _OBSERVED and type(child) not in allowed:
            child.qconfig = None
        elif type(child) not in allowed:
            _add_observers(child, inner, allowed)
            if not child._modules and child.qconfig is not None and type(child) not in _STATIC:
                _refuse_unsupported(child, inner)
        elif child.qconfig is not None:
            child.activation_post_process = child.qconfig.activation().to(_device_of(child))
            if type(child) is not nnq.FloatFunctional:
                child.register_forward_hook(_observe_output, prepend=True)


def _device_of(module: nn.Module):
    return next((t.device for t in (*module.parameters(), *module.buffers())), jtorch.get_default_device())


def prepare(model: nn.Module, inplace: bool = False, allow_list=None) -> nn.Module:
    """A copy of ``model`` that observes its activations, to be run on sample data and then converted.

    Set ``model.qconfig`` first (and that of submodules, where it should differ; None keeps one in floating point), put
    a :class:`QuantStub` and a :class:`DeQuantStub` around the region to quantize, and call ``model.eval()``.

    Args:
        inplace: change ``model`` rather than a copy.
        allow_list: the types of modules to quantize (default: all that can be); the others stay in floating point.

    Raises:
        NotImplementedError: a layer with weights has a ``qconfig`` but no integer form.
        RuntimeError: ``model`` is itself a layer to quantize, and so cannot be replaced by another.
        TypeError: a ``qconfig`` is no :class:`QConfig`.
    """
    if type(model) in _OBSERVED:
        raise RuntimeError(
            f"prepare() replaces the children of a model; wrap this {type(model).__name__} in a QuantWrapper first"
        )
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    if not any(m.qconfig for m in model.modules()):
        warnings.warn(
            "None of the submodule got qconfig applied. Make sure you passed correct configuration by assigning the "
            "`.qconfig` attribute on the model or its submodules",
            stacklevel=2,
        )
    _add_observers(model, "", _OBSERVED if allow_list is None else _OBSERVED & set(allow_list))
    return model


# --- conversion ------------------------------------------------------------------------------------------------------


def _check_calibrated(module: nn.Module, path: str) -> None:
    observer = getattr(module, "activation_post_process", None)
    if observer is None or isinstance(observer, nn.Identity):
        raise RuntimeError(
            f"convert(): '{path}' has no observer; call prepare() and run the model on sample data first"
        )
    if not observer.calibrated:
        raise RuntimeError(
            f"convert(): the observer of '{path}' has seen no values, so there is no scale to convert with; run the "
            "prepared model on sample data first (any input of the right shape will do to make a model for "
            "load_state_dict)"
        )
    if getattr(observer, "dtype", None) not in (qtypes.quint8, qtypes.qint8):
        raise NotImplementedError(
            f"convert(): activations are torch.quint8 or torch.qint8, but the observer of '{path}' is for "
            f"{observer.dtype}"
        )


def _swap(module: nn.Module, mapping: dict, path: str) -> nn.Module:
    """The quantized form of a module, with the hooks it had."""
    target = mapping.get(type(module))
    if target is None or getattr(module, "qconfig", None) is None:
        return module
    if mapping not in (_DYNAMIC, qat.MAPPING) and type(module) in _OBSERVED and type(module) is not DeQuantStub:
        _check_calibrated(module, path)
    new = target.from_float(module)
    for hook in module._forward_pre_hooks.values():
        new.register_forward_pre_hook(hook)
    for hook in module._forward_hooks.values():
        if hook is not _observe_output:
            new.register_forward_hook(hook)
    new.train(module.training)
    return new.to(_device_of(module))


def _convert(module: nn.Module, mapping: dict, path: str = "") -> None:
    for name, child in list(module.named_children()):
        inner = f"{path}.{name}" if path else name
        if not isinstance(child, (nni._FusedModule, qat._Rounded)):
            _convert(child, mapping, inner)
        module._modules[name] = _swap(child, mapping, inner)


def convert(module: nn.Module, mapping: dict | None = None, inplace: bool = False, remove_qconfig: bool = True):
    """A copy of a prepared and calibrated model whose layers compute in integers.

    Args:
        mapping: float module type to a type with a ``from_float`` classmethod (default: the layers of this package).
        inplace: change ``module`` rather than a copy.
        remove_qconfig: forget the configuration and the observers that are left.

    Raises:
        RuntimeError: the model was not prepared, or not calibrated.
        NotImplementedError: the observers ask for a dtype or scheme that there is no arithmetic for.
    """
    module = module if inplace else copy.deepcopy(module)
    _convert(module, _STATIC if mapping is None else mapping)
    if remove_qconfig:
        _remove_qconfig(module)
    return module


def prepare_qat(model: nn.Module, mapping: dict | None = None, inplace: bool = False) -> nn.Module:
    """A copy of ``model`` to train: its weights and activations are rounded in the forward pass.

    Set ``model.qconfig = get_default_qat_qconfig()`` first, fuse with :func:`fuse_modules_qat`. Make the optimizer of
    the result's parameters. ``convert(model.eval())`` afterwards.

    Raises:
        AssertionError: the model is in evaluation mode.
    """
    if not model.training:
        raise AssertionError("prepare_qat only works on models in training mode")
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    _convert(model, qat.MAPPING if mapping is None else mapping)
    return prepare(model, inplace=True)


def quantize_qat(model: nn.Module, run_fn, run_args, inplace: bool = False) -> nn.Module:
    """``prepare_qat``, train with ``run_fn(model, *run_args)``, ``convert``."""
    model = model if inplace else copy.deepcopy(model)
    model.train()
    prepare_qat(model, inplace=True)
    run_fn(model, *run_args)
    return convert(model.eval(), inplace=True)


def quantize(model: nn.Module, run_fn, run_args, mapping: dict | None = None, inplace: bool = False) -> nn.Module:
    """``prepare``, calibrate with ``run_fn(model, *run_args)``, ``convert``."""
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    prepare(model, inplace=True)
    run_fn(model, *run_args)
    return convert(model, mapping, inplace=True)


def _dynamic_spec(model: nn.Module, spec, dtype) -> dict:
    if dtype is not qtypes.qint8 and not isinstance(spec, dict):
        if dtype in (jtorch.float16, qtypes.quint8):
            raise NotImplementedError(f"quantize_dynamic to {dtype} is not implemented; use dtype=torch.qint8")
        if spec is None:
            raise ValueError(f"Don't know how to quantize with default settings for {dtype}; use torch.qint8")
        raise RuntimeError(f"Unknown dtype specified for quantize_dynamic: {dtype}")
    if spec is None:
        spec = set(_DYNAMIC) - {nni.LinearReLU}
    if not isinstance(spec, dict):
        spec = dict.fromkeys(spec, default_dynamic_qconfig)
    for key in spec:
        if isinstance(key, type) and key not in _DYNAMIC:
            raise NotImplementedError(
                f"dynamic quantization of {key.__name__} is not implemented; it is there for "
                f"{', '.join(t.__name__ for t in _DYNAMIC)}"
            )
    return spec


def quantize_dynamic(
    model: nn.Module, qconfig_spec=None, dtype=qtypes.qint8, mapping: dict | None = None, inplace: bool = False
) -> nn.Module:
    """A copy of ``model`` whose linear and recurrent layers have int8 weights and compute in integers.

    No calibration is needed: inputs are rounded by their own range at each call.

    Args:
        qconfig_spec: a set of module types or names, or a dict from these to :class:`QConfig`. Default: all of these.
        dtype: of the weights.
        inplace: change ``model`` rather than a copy.

    Raises:
        NotImplementedError: a type or dtype that cannot be quantized dynamically here.
        RuntimeError, ValueError: ``dtype`` is none to quantize to.
    """
    spec = _dynamic_spec(model, qconfig_spec, dtype)
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    propagate_qconfig_(model, spec)
    _convert(model, _DYNAMIC if mapping is None else mapping)
    _remove_qconfig(model)
    return model


def add_quant_dequant(module: nn.Module) -> nn.Module:
    """Wrap each leaf that has a ``qconfig`` in a :class:`QuantWrapper`."""
    if not module._modules and getattr(module, "qconfig", None):
        return QuantWrapper(module)
    for name, child in list(module.named_children()):
        module._modules[name] = add_quant_dequant(child)
    return module
