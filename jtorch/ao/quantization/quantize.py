"""From a float model to a quantized one: ``quantize_dynamic``, or ``prepare``, calibrate, ``convert``."""

from __future__ import annotations

import copy
import warnings

import jtorch
from jtorch import nn
from jtorch.nn.modules.linear import NonDynamicallyQuantizableLinear

from .. import qtypes
from ..nn import intrinsic as nni
from ..nn import qat
from ..nn import quantized as nnq
from ..nn.quantized.modules.weighted import WeightedQuantizedModule
from .fake_quantize import (
    FakeQuantizeBase,
    default_fixed_qparams_range_0to1_fake_quant,
    default_fixed_qparams_range_neg1to1_fake_quant,
)
from .qconfig import (
    QConfig,
    default_dynamic_qconfig,
    float16_dynamic_qconfig,
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
)
from .stubs import DeQuantStub, QuantStub, QuantWrapper


def _same(*names: str, of=nn) -> dict:
    """The quantized types of the same names."""
    return {getattr(of, name): getattr(nnq, name) for name in names}


#: Layers whose results are rounded to a grid of their own.
_OWN_GRID = {
    **_same(
        "BatchNorm2d", "BatchNorm3d", "ELU", "GroupNorm", "Hardswish", "InstanceNorm1d", "InstanceNorm2d",
        "InstanceNorm3d", "LayerNorm", "LeakyReLU", "PReLU",
    ),
    **_same("BNReLU2d", "BNReLU3d", of=nni),
}  # fmt: skip
_STATIC = {
    QuantStub: nnq.Quantize,
    DeQuantStub: nnq.DeQuantize,
    nn.Linear: nnq.Linear,
    NonDynamicallyQuantizableLinear: nnq.Linear,
    nni.LinearReLU: nnq.LinearReLU,
    nni.LinearLeakyReLU: nnq.LinearLeakyReLU,
    nni.LinearTanh: nnq.LinearTanh,
    **_same("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
    **_same("ConvReLU1d", "ConvReLU2d", "ConvReLU3d", of=nni),
    nnq.FloatFunctional: nnq.QFunctional,
    **_OWN_GRID,
    **_same("Embedding", "EmbeddingBag"),
    **_same("Embedding", "EmbeddingBag", of=qat),
    nn.ReLU: nnq.ReLU,
    nn.ReLU6: nnq.ReLU6,
    nn.MaxPool2d: nnq.MaxPool2d,
    nn.AvgPool2d: nnq.AvgPool2d,
    nn.AdaptiveAvgPool2d: nnq.AdaptiveAvgPool2d,
    nn.Dropout: nnq.Dropout,
    qat.Linear: nnq.Linear,
    qat.LinearReLU: nnq.LinearReLU,
    qat.LinearBn1d: nnq.Linear,
    **{getattr(qat, f"{kind}{n}d"): getattr(nnq, f"Conv{n}d") for n in (1, 2, 3) for kind in ("Conv", "ConvBn")},
    **{
        getattr(qat, f"{kind}{n}d"): getattr(nnq, f"ConvReLU{n}d")
        for n in (1, 2, 3)
        for kind in ("ConvReLU", "ConvBnReLU")
    },
}
#: Modules whose output gets a grid of its own; weighted ones first.
_WEIGHTED = {
    float_type
    for float_type, ours in _STATIC.items()
    if isinstance(ours, type) and issubclass(ours, WeightedQuantizedModule)
}
_OBSERVED = {QuantStub, nnq.FloatFunctional, *_WEIGHTED, *_OWN_GRID}
#: Activations whose results lie in a known range, which they are rounded in while the model is trained.
_FIXED = {
    **dict.fromkeys((nn.Hardsigmoid, nn.Sigmoid, nn.Softmax), default_fixed_qparams_range_0to1_fake_quant),
    nn.Tanh: default_fixed_qparams_range_neg1to1_fake_quant,
}
#: For ``prepare_qat``. Convolutions in one dimension are left alone until they are converted, as by PyTorch.
_QAT = {source: ours for source, ours in qat.MAPPING.items() if source not in (nn.Conv1d, nni.ConvReLU1d)}
_DYNAMIC = {
    nn.Linear: nnq.dynamic.Linear,
    NonDynamicallyQuantizableLinear: nnq.dynamic.Linear,
    nni.LinearReLU: nnq.dynamic.Linear,
    nn.LSTM: nnq.dynamic.LSTM,
    nn.GRU: nnq.dynamic.GRU,
    nn.LSTMCell: nnq.dynamic.LSTMCell,
    nn.GRUCell: nnq.dynamic.GRUCell,
    nn.RNNCell: nnq.dynamic.RNNCell,
    **_same("Embedding", "EmbeddingBag"),
}


def get_default_static_quant_module_mappings() -> dict:
    """Float module type to quantized module type, for ``convert``."""
    return dict(_STATIC)


def get_default_qat_module_mappings() -> dict:
    """Float module type to the type to train in its place, for ``prepare_qat``."""
    return dict(_QAT)


def get_embedding_qat_module_mappings() -> dict:
    """:func:`get_default_qat_module_mappings`, with embeddings."""
    return {**_QAT, nn.Embedding: qat.Embedding, nn.EmbeddingBag: qat.EmbeddingBag}


def get_embedding_static_quant_module_mappings() -> dict:
    """:func:`get_default_static_quant_module_mappings`, which has embeddings."""
    return dict(_STATIC)


def _class(float_type: type, mapping: dict) -> type:
    if float_type not in mapping:
        raise AssertionError(
            f"Floating point module class {float_type} does not have a corresponding quantized module class"
        )
    return mapping[float_type]


def get_static_quant_module_class(float_module_class, additional_static_quant_mapping=None):
    """What :func:`convert` makes of a float module class.

    Raises:
        AssertionError: nothing.
    """
    return _class(float_module_class, {**_STATIC, **(additional_static_quant_mapping or {})})


def get_dynamic_quant_module_class(float_module_class, additional_dynamic_quant_mapping=None):
    """What :func:`quantize_dynamic` makes of a float module class.

    Raises:
        AssertionError: nothing.
    """
    return _class(float_module_class, {**_DYNAMIC, **(additional_dynamic_quant_mapping or {})})


def get_default_qconfig_propagation_list() -> set:
    """The types of modules that a configuration is for."""
    return {*_STATIC, *_QAT, *_DYNAMIC, nn.Sequential}


def swap_module(mod: nn.Module, mapping: dict, custom_module_class_mapping=None) -> nn.Module:
    """The quantized form of one observed module by ``mapping``, or ``mod`` itself where it has none."""
    custom = custom_module_class_mapping or {}
    if type(mod) in custom and getattr(mod, "qconfig", None) is not None:
        return custom[type(mod)].from_observed(mod)
    return _swap(mod, mapping, type(mod).__name__, dynamic=True)


def default_eval_fn(model: nn.Module, calib_data) -> None:
    """Run a model on ``(data, target)`` pairs."""
    for data, _ in calib_data:
        model(data)


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


def _add_observers(module: nn.Module, path: str, allowed, custom: dict) -> None:
    for name, child in list(module.named_children()):
        inner = f"{path}.{name}" if path else name
        if type(child) in custom:
            if child.qconfig is not None:
                module._modules[name] = custom[type(child)].from_float(child)
        elif type(child) in _OBSERVED and type(child) not in allowed:
            child.qconfig = None
        elif type(child) in _FIXED and child.training and child.qconfig is not None:
            child.activation_post_process = _FIXED[type(child)]().to(_device_of(child))
            child.register_forward_hook(_observe_output, prepend=True)
        elif type(child) not in allowed:
            _add_observers(child, inner, allowed, custom)
            if not child._modules and child.qconfig is not None and type(child) not in _STATIC:
                _refuse_unsupported(child, inner)
        elif child.qconfig is not None:
            child.activation_post_process = child.qconfig.activation().to(_device_of(child))
            if type(child) is not nnq.FloatFunctional:
                child.register_forward_hook(_observe_output, prepend=True)


def _device_of(module: nn.Module):
    return next((t.device for t in (*module.parameters(), *module.buffers())), jtorch.get_default_device())


def prepare(
    model: nn.Module, inplace: bool = False, allow_list=None, observer_non_leaf_module_list=None,
    prepare_custom_config_dict: dict | None = None,
) -> nn.Module:  # fmt: skip
    """A copy of ``model`` that observes its activations, to be run on sample data and then converted.

    Set ``model.qconfig`` first (and that of submodules, where it should differ; None keeps one in floating point), put
    a :class:`QuantStub` and a :class:`DeQuantStub` around the region to quantize, and call ``model.eval()``.

    Args:
        inplace: change ``model`` rather than a copy.
        allow_list: the types of modules to quantize (default: all that can be); the others stay in floating point.
        observer_non_leaf_module_list: further types of modules whose output is observed.
        prepare_custom_config_dict: ``{"float_to_observed_custom_module_class": {type: type with from_float}}``.

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
    custom = (prepare_custom_config_dict or {}).get("float_to_observed_custom_module_class", {})
    allowed = (_OBSERVED if allow_list is None else _OBSERVED & set(allow_list)) | set(
        observer_non_leaf_module_list or ()
    )
    _add_observers(model, "", allowed, custom)
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


def _swap(module: nn.Module, mapping: dict, path: str, dynamic: bool = False) -> nn.Module:
    """The quantized form of a module, with the hooks it had."""
    target = mapping.get(type(module))
    if target is None or getattr(module, "qconfig", None) is None:
        return module
    if not dynamic and type(module) in _OBSERVED and type(module) is not DeQuantStub:
        _check_calibrated(module, path)
    new = target.from_float(module)
    for hook in module._forward_pre_hooks.values():
        new.register_forward_pre_hook(hook)
    for hook in module._forward_hooks.values():
        if hook is not _observe_output:
            new.register_forward_hook(hook)
    new.train(module.training)
    return new.to(_device_of(module))


def _convert(
    module: nn.Module, mapping: dict, path: str = "", dynamic: bool = False, custom: dict | None = None
) -> None:
    """Replace what ``mapping`` has another type for; without asking for calibration if ``dynamic``."""
    custom = custom or {}
    for name, child in list(module.named_children()):
        inner = f"{path}.{name}" if path else name
        if type(child) in custom:
            if getattr(child, "qconfig", None) is not None:
                module._modules[name] = custom[type(child)].from_observed(child)
            continue
        if not isinstance(child, (nni._FusedModule, qat._Rounded)):
            _convert(child, mapping, inner, dynamic, custom)
        module._modules[name] = _swap(child, mapping, inner, dynamic)


def convert(
    module: nn.Module, mapping: dict | None = None, inplace: bool = False, remove_qconfig: bool = True,
    is_reference: bool = False, convert_custom_config_dict: dict | None = None,
    use_precomputed_fake_quant: bool = False,
):  # fmt: skip
    """A copy of a prepared and calibrated model whose layers compute in integers.

    Args:
        mapping: float module type to a type with a ``from_float`` classmethod (default: the layers of this package).
        inplace: change ``module`` rather than a copy.
        remove_qconfig: forget the configuration and the observers that are left.
        convert_custom_config_dict: ``{"observed_to_quantized_custom_module_class": {type: type with from_observed}}``.

    Raises:
        RuntimeError: the model was not prepared, or not calibrated.
        NotImplementedError: the observers ask for a dtype or scheme that there is no arithmetic for.
    """
    if is_reference:
        raise NotImplementedError("convert(is_reference=True) is not implemented")
    module = module if inplace else copy.deepcopy(module)
    custom = (convert_custom_config_dict or {}).get("observed_to_quantized_custom_module_class", {})
    _convert(module, _STATIC if mapping is None else mapping, custom=custom)
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
    _convert(model, _QAT if mapping is None else mapping, dynamic=True)
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


#: For each dtype of weights: what is quantized by default, and how.
_EMBEDDINGS = {nn.EmbeddingBag, nn.Embedding}
_DYNAMIC_DEFAULTS = {
    qtypes.qint8: (set(_DYNAMIC) - {nni.LinearReLU, *_EMBEDDINGS}, default_dynamic_qconfig),
    jtorch.float16: (set(_DYNAMIC) - {nni.LinearReLU, *_EMBEDDINGS}, float16_dynamic_qconfig),
    qtypes.quint8: (_EMBEDDINGS, float_qparams_weight_only_qconfig),
    qtypes.quint4x2: ({nn.EmbeddingBag}, float_qparams_weight_only_qconfig_4bit),
}


def _dynamic_spec(spec, dtype, mapping: dict) -> dict:
    if not isinstance(spec, dict):
        if dtype not in _DYNAMIC_DEFAULTS:
            if spec is None:
                raise ValueError(f"Don't know how to quantize with default settings for {dtype}; use torch.qint8")
            raise RuntimeError(f"Unknown dtype specified for quantize_dynamic: {dtype}")
        kinds, qconfig = _DYNAMIC_DEFAULTS[dtype]
        spec = dict.fromkeys(kinds if spec is None else spec, qconfig)
    for key in spec:
        if isinstance(key, type) and key not in mapping and key.__module__.startswith("jtorch.nn.modules.conv"):
            raise NotImplementedError(
                f"dynamic quantization of {key.__name__} is not implemented by default, for want of accuracy; give a "
                "mapping from it to the type of jtorch.ao.nn.quantized.dynamic to have it nevertheless"
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
    mapping = _DYNAMIC if mapping is None else mapping
    spec = _dynamic_spec(qconfig_spec, dtype, mapping)
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    propagate_qconfig_(model, spec)
    _convert(model, mapping, dynamic=True)
    _remove_qconfig(model)
    return model


def add_quant_dequant(module: nn.Module) -> nn.Module:
    """Wrap each leaf that has a ``qconfig`` in a :class:`QuantWrapper`."""
    if not module._modules and getattr(module, "qconfig", None):
        return QuantWrapper(module)
    for name, child in list(module.named_children()):
        module._modules[name] = add_quant_dequant(child)
    return module
