"""Quantization of a traced model: what is fused, observed and converted is found in its graph.

No stubs are needed. A value is quantized where an operation that has an integer form takes it or makes it, and
dequantized where any other takes it.
"""

from __future__ import annotations

import copy
import operator

import jtorch
from jtorch import nn
from jtorch.nn import functional as F

from .. import qtypes
from ..nn import intrinsic as nni
from ..nn import qat
from ..nn import quantized as nnq
from ..nn.quantized import functional as qF
from ..qtensor import dequantize, quantize_per_tensor
from .fake_quantize import FakeQuantizeBase, FixedQParamsFakeQuantize
from .fuse_modules import _FUSERS, _QAT_FUSERS, fuse_known_modules
from .observer import FixedQParamsObserver, ObserverBase
from .qconfig_mapping import _RANGES, QConfigMapping
from .quantize import _DYNAMIC, _OWN_GRID, _STATIC, _WEIGHTED, _check_calibrated

_RELUS = (jtorch.relu, F.relu, nn.functional.relu_, "relu", "relu_")
#: Functions whose result needs a grid of its own, as methods of ``QFunctional``.
_BINARY = {
    operator.add: "add", operator.iadd: "add", jtorch.add: "add", "add": "add", "add_": "add",
    operator.mul: "mul", operator.imul: "mul", jtorch.mul: "mul", "mul": "mul", "mul_": "mul",
    jtorch.cat: "cat", jtorch.concat: "cat",
}  # fmt: skip
#: Modules that keep the grid of what they are given.
_KEEPING = {nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity, nn.Flatten}
#: The same for functions (and what to call instead) and methods.
_KEEPING_FUNCTIONS = {
    **{f: qF.relu for f in _RELUS if callable(f)},
    F.max_pool2d: qF.max_pool2d,
    F.avg_pool2d: qF.avg_pool2d,
    F.adaptive_avg_pool2d: qF.adaptive_avg_pool2d,
    **{f: f.__name__ for f in (jtorch.flatten, jtorch.reshape, jtorch.permute, jtorch.transpose, jtorch.squeeze,
                               jtorch.unsqueeze)},
}  # fmt: skip
_KEEPING_METHODS = {
    "flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "contiguous", "detach", "clone",
    "relu",
}  # fmt: skip


class PrepareCustomConfig:
    """What tracing must not look into."""

    def __init__(self):
        self.non_traceable_module_names: list[str] = []
        self.non_traceable_module_classes: list[type] = []
        self.preserved_attributes: list[str] = []

    def set_non_traceable_module_names(self, module_names: list[str]) -> PrepareCustomConfig:
        """Modules that stay as they are, in floating point."""
        self.non_traceable_module_names = list(module_names)
        return self

    def set_non_traceable_module_classes(self, module_classes: list[type]) -> PrepareCustomConfig:
        """Types of modules that stay as they are, in floating point."""
        self.non_traceable_module_classes = list(module_classes)
        return self

    def set_preserved_attributes(self, attributes: list[str]) -> PrepareCustomConfig:
        """Attributes of the model that the result has as well."""
        self.preserved_attributes = list(attributes)
        return self


def _traced(model: nn.Module, custom: PrepareCustomConfig | None):
    custom = custom or PrepareCustomConfig()
    fused = (nni._FusedModule, qat._Rounded)

    class Tracer(jtorch.fx.Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            left_alone = (*custom.non_traceable_module_classes, *fused)
            if module_qualified_name in custom.non_traceable_module_names or isinstance(m, left_alone):
                return True
            return super().is_leaf_module(m, module_qualified_name)

    if isinstance(model, jtorch.fx.GraphModule):
        return copy.deepcopy(model)
    model = copy.deepcopy(model)
    made = jtorch.fx.GraphModule(model, Tracer().trace(model), type(model).__name__)
    for name in custom.preserved_attributes:
        setattr(made, name, getattr(model, name))
    return made.train(model.training)


def _module(gm, node) -> nn.Module | None:
    return gm.get_submodule(node.target) if node.op == "call_module" else None


def _is_relu(gm, node) -> bool:
    return type(_module(gm, node)) is nn.ReLU or (node.op != "call_module" and node.target in _RELUS)


def _calls(gm) -> dict[str, int]:
    out: dict[str, int] = {}
    for node in gm.graph.nodes:
        if node.op == "call_module":
            out[node.target] = out.get(node.target, 0) + 1
    return out


def _only_user(node):
    return next(iter(node.users)) if len(node.users) == 1 else None


def _fuse(gm, training: bool) -> None:
    """Join layers with the batch norm and ReLU that follow them, where nothing else sees what is between."""
    fusers, calls = (_QAT_FUSERS if training else _FUSERS), _calls(gm)
    for node in list(gm.graph.nodes):
        if node.op != "call_module" or calls.get(node.target) != 1:
            continue
        chain, found = [node], []
        while len(chain) < 3:
            types = tuple(nn.ReLU if _is_relu(gm, n) else type(_module(gm, n)) for n in chain)
            if types in fusers:
                found = list(chain)
            user = _only_user(chain[-1])
            if user is None or not (_is_relu(gm, user) or calls.get(user.target) == 1):
                break
            chain.append(user)
        else:
            types = tuple(nn.ReLU if _is_relu(gm, n) else type(_module(gm, n)) for n in chain)
            found = list(chain) if types in fusers else found
        if not found:
            continue
        modules = [nn.ReLU() if _is_relu(gm, n) else _module(gm, n) for n in found]
        modules[-1].train(modules[0].training)
        _put(gm, node.target, fuse_known_modules(modules, fusers)[0])
        found[-1].replace_all_uses_with(node)
        for n in reversed(found[1:]):
            gm.graph.erase_node(n)
    gm.delete_all_unused_submodules()


def _put(gm, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    gm.get_submodule(parent)._modules[name] = module


def _refuse_given(**options) -> None:
    """Raises:
    NotImplementedError: one of the options is given.
    """
    for name, value in options.items():
        if value is not None:
            raise NotImplementedError(
                f"{name}={type(value).__name__}(...) is not supported: leave it out, and layers are quantized as for "
                "PyTorch's default engine"
            )


def fuse_fx(model: nn.Module, fuse_custom_config=None, backend_config=None):
    """A copy of a model in evaluation mode, traced, with layers, batch norms and ReLUs joined.

    Raises:
        AssertionError: the model is in training mode.
        NotImplementedError: a ``backend_config`` is given.
    """
    _refuse_given(backend_config=backend_config)
    if model.training:
        raise AssertionError("fuse_fx only works on models in eval mode")
    gm = _traced(model, fuse_custom_config)
    _fuse(gm, False)
    gm.recompile()
    return gm


# --- observing -------------------------------------------------------------------------------------------------------


#: Operations with a known range; on quantized tensors they give that grid.
_FIXED = {kind for kinds in _RANGES.values() for kind in kinds}
_LAYERS = (_WEIGHTED | _OWN_GRID.keys() | {nn.Softmax}) - {nn.GroupNorm}  # which PyTorch leaves alone here


def _float_tensors(node) -> list:
    """The tensors a weighted layer, sum, product or concatenation takes; None stands for a number."""
    first = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
    if isinstance(first, (list, tuple)):
        return list(first)
    operands = [first] if node.op == "call_module" else node.args[:2]
    return [x if isinstance(x, jtorch.fx.Node) else None for x in operands]


def _prepare(gm, mapping: QConfigMapping, training: bool):
    calls = _calls(gm)
    chosen = {}
    for node in gm.graph.nodes:
        module = _module(gm, node)
        if module is not None and calls[node.target] == 1:
            kind = type(module[0]) if isinstance(module, nni._FusedModule) else type(module)
            qconfig = mapping.find(node.target, kind)
            weight_only = kind in (nn.Embedding, nn.EmbeddingBag)
            static = type(module) in _LAYERS or type(module) in qat.MAPPING
            if kind in _FIXED:
                if _has_fixed_grid(qconfig):
                    chosen[node] = module.qconfig = qconfig
                continue
            if qconfig is None or not (static or kind in _DYNAMIC):
                continue
            if weight_only:  # by a configuration for embeddings only
                if qconfig.weight().qscheme is qtypes.per_channel_affine_float_qparams:
                    module.qconfig = qconfig
                continue
            dynamic = bool(getattr(qconfig.activation(), "is_dynamic", False))
            if not dynamic and not static:
                continue
            module.qconfig = qconfig
            if training and type(module) in qat.MAPPING and not dynamic:
                _put(gm, node.target, qat.MAPPING[type(module)].from_float(module))
            if not dynamic:
                chosen[node] = qconfig
        elif node.op in ("call_function", "call_method") and node.target in _FIXED:
            qconfig = mapping.find("", node.target)
            if _has_fixed_grid(qconfig):
                chosen[node] = qconfig
        elif node.op in ("call_function", "call_method") and node.target in _BINARY:
            qconfig = mapping.find("", node.target)
            dynamic = qconfig is not None and getattr(qconfig.activation(), "is_dynamic", False)
            if qconfig is not None and not dynamic and all(x is not None for x in _float_tensors(node)):
                chosen[node] = qconfig
    observed: set = set()
    count = 0

    def observe(node, qconfig) -> None:
        nonlocal count
        if node in observed:
            return
        name = f"activation_post_process_{count}"
        count += 1
        gm.add_submodule(name, qconfig.activation())
        with gm.graph.inserting_after(node):
            made = gm.graph.call_module(name, (node,))
        node.replace_all_uses_with(made, lambda user: user is not made)
        observed.update((node, made))

    for node, qconfig in chosen.items():
        for x in _float_tensors(node):
            if not _on_grid(gm, x, observed, chosen):
                observe(x, qconfig)
        relu = _only_user(node) if node.op != "call_module" else None
        end = relu if relu is not None and _is_relu(gm, relu) and _BINARY.get(node.target) == "add" else node
        observe(end, qconfig)
        observed.add(node)
    for node in list(gm.graph.nodes):  # as in PyTorch, what keeps a grid shows its result to that grid's observer too
        inputs = node.all_input_nodes
        if len(inputs) == 1 and inputs[0] in observed and _keeps(gm, node) and not _is_relu(gm, node):
            if isinstance(_module(gm, inputs[0]), (ObserverBase, FakeQuantizeBase)) and node not in observed:
                with gm.graph.inserting_after(node):
                    made = gm.graph.call_module(inputs[0].target, (node,))
                node.replace_all_uses_with(made, lambda user, made=made: user is not made)
                observed.update((node, made))
    gm.graph.lint()
    gm.recompile()
    return gm


def _has_fixed_grid(qconfig) -> bool:
    observer = None if qconfig is None else qconfig.activation()
    return isinstance(observer, (FixedQParamsObserver, FixedQParamsFakeQuantize))


def _on_grid(gm, node, observed, chosen) -> bool:
    """Whether a value has a grid already: its own, or that of what it keeps the grid of."""
    while node not in observed and node not in chosen:
        if not _keeps(gm, node) or not node.all_input_nodes:
            return False
        node = node.all_input_nodes[0]
    return True


def _keeps(gm, node) -> bool:
    if node.op == "call_module":
        return type(_module(gm, node)) in _KEEPING
    return node.target in (_KEEPING_FUNCTIONS if node.op == "call_function" else _KEEPING_METHODS)


def prepare_fx(
    model: nn.Module, qconfig_mapping, example_inputs=None, prepare_custom_config=None,
    _equalization_config=None, backend_config=None,
):  # fmt: skip
    """A traced copy of a model that observes its activations, to be run on sample data and then converted.

    Args:
        qconfig_mapping: a :class:`QConfigMapping`, or the dict it is made of.
        example_inputs: accepted; the graph alone decides.
        prepare_custom_config: a :class:`PrepareCustomConfig`.

    Raises:
        AssertionError: the model is in training mode.
        NotImplementedError: a ``backend_config`` or ``_equalization_config`` is given.
    """
    _refuse_given(backend_config=backend_config, _equalization_config=_equalization_config)
    if model.training:
        raise AssertionError("prepare_fx only works for models in eval mode; call model.eval() first")
    return _prepared(model, qconfig_mapping, prepare_custom_config, False)


def prepare_qat_fx(
    model: nn.Module, qconfig_mapping, example_inputs=None, prepare_custom_config=None, backend_config=None
):
    """:func:`prepare_fx` for training: weights and activations are rounded in the forward pass.

    Raises:
        AssertionError: the model is in evaluation mode.
        NotImplementedError: a ``backend_config`` is given.
    """
    _refuse_given(backend_config=backend_config)
    if not model.training:
        raise AssertionError("prepare_qat_fx only works for models in train mode; call model.train() first")
    return _prepared(model, qconfig_mapping, prepare_custom_config, True)


def _prepared(model, mapping, custom, training: bool):
    mapping = mapping if isinstance(mapping, QConfigMapping) else QConfigMapping.from_dict(mapping)
    gm = _traced(model, custom)
    _fuse(gm, training)
    return _prepare(gm, mapping, training)


# --- converting ------------------------------------------------------------------------------------------------------


class _Converter:
    """One pass over a prepared graph. ``self.quantized`` are the nodes whose value is a quantized tensor."""

    def __init__(self, gm):
        self.gm, self.graph = gm, gm.graph
        self.quantized: set = set()
        self.floats: dict = {}  # a quantized node -> the node of its dequantized value
        self.functionals = 0

    def observer_after(self, node):
        user = _only_user(node)
        found = _module(self.gm, user) if user is not None else None
        return (user, found) if isinstance(found, (ObserverBase, FakeQuantizeBase)) else (None, None)

    def run(self):
        for node in list(self.graph.nodes):
            if node.op in ("placeholder", "get_attr") or node not in self.graph.nodes:
                continue
            module = _module(self.gm, node)
            if isinstance(module, (ObserverBase, FakeQuantizeBase)):
                self.convert_observer(node, module)
            elif not (
                self.convert_layer(node, module)
                or self.convert_fixed(node, module)
                or self.convert_binary(node)
                or self.keep_grid(node, module)
            ):
                self.need_floats(node)
        self.gm.delete_all_unused_submodules()
        self.graph.lint()
        self.gm.recompile()
        return self.gm

    def convert_observer(self, node, observer) -> None:
        x = node.args[0]
        if x not in self.quantized:
            at = type("At", (), {"activation_post_process": observer})
            _check_calibrated(at, node.target)
            scale, zero_point = observer.calculate_qparams()
            with self.graph.inserting_before(node):
                made = self.graph.call_function(
                    quantize_per_tensor, (x, scale.item(), zero_point.item(), observer.dtype)
                )
            self.quantized.add(made)
            x = made
        node.replace_all_uses_with(x)
        self.graph.erase_node(node)

    def convert_layer(self, node, module) -> bool:
        if module is None or getattr(module, "qconfig", None) is None or type(module) not in _STATIC | _DYNAMIC:
            return False
        after, observer = self.observer_after(node)
        if after is None:
            if type(module) in _DYNAMIC:
                _put(self.gm, node.target, _DYNAMIC[type(module)].from_float(module))
            return False
        if node.all_input_nodes[0] not in self.quantized:
            return False
        module.activation_post_process = observer
        _check_calibrated(module, node.target)
        _put(self.gm, node.target, _STATIC[type(module)].from_float(module))
        self.quantized.add(node)
        return True

    def convert_fixed(self, node, module) -> bool:
        """An operation whose result has a grid of its own, whatever its input's."""
        if (node.target if module is None else type(module)) not in _FIXED:
            return False
        after, observer = self.observer_after(node)
        if after is None or node.all_input_nodes[0] not in self.quantized:
            return False
        if type(module) is nn.Softmax:
            _put(self.gm, node.target, nnq.Softmax.from_reference(module, *observer.calculate_qparams()))
        self.quantized.add(node)
        return True

    def convert_binary(self, node) -> bool:
        if node.op not in ("call_function", "call_method") or node.target not in _BINARY:
            return False
        operands = _float_tensors(node)
        method, end = _BINARY[node.target], node
        after, observer = self.observer_after(node)
        relu = _only_user(node)
        if after is None and method == "add" and relu is not None and _is_relu(self.gm, relu):
            after, observer = self.observer_after(relu)
            method, end = "add_relu", relu
        if after is None or not all(x in self.quantized for x in operands):
            return False
        float_form = nnq.FloatFunctional()
        float_form.activation_post_process = observer
        _check_calibrated(float_form, node.name)
        name = f"quantized_{method}_{self.functionals}"
        self.functionals += 1
        self.gm.add_submodule(name, _Call(nnq.QFunctional.from_float(float_form), method))
        with self.graph.inserting_before(node):
            made = self.graph.call_module(name, tuple(node.args), dict(node.kwargs))
        self.quantized.add(made)
        end.replace_all_uses_with(made)
        self.graph.erase_node(end)
        if end is not node:
            self.graph.erase_node(node)
        return True

    def keep_grid(self, node, module) -> bool:
        inputs = node.all_input_nodes
        if not _keeps(self.gm, node) or len(inputs) != 1 or inputs[0] not in self.quantized:
            return False
        if module is not None and type(module) in _STATIC:
            _put(self.gm, node.target, _STATIC[type(module)].from_float(module))
        elif node.op == "call_function":
            instead = _KEEPING_FUNCTIONS[node.target]
            node.op, node.target = ("call_method" if isinstance(instead, str) else "call_function"), instead
        self.quantized.add(node)
        return True

    def need_floats(self, node) -> None:
        for x in node.all_input_nodes:
            if x not in self.quantized:
                continue
            if x not in self.floats:
                with self.graph.inserting_after(x):
                    self.floats[x] = self.graph.call_function(dequantize, (x,))
            node.replace_input_with(x, self.floats[x])


class _Call(nn.Module):
    """``functional.method(...)`` as a module."""

    def __init__(self, functional: nn.Module, method: str):
        super().__init__()
        self.functional, self.method = functional, method

    def forward(self, *args, **kwargs):
        return getattr(self.functional, self.method)(*args, **kwargs)


def convert_fx(
    graph_module, convert_custom_config=None, _remove_qconfig: bool = True, qconfig_mapping=None, backend_config=None
):
    """A copy of what :func:`prepare_fx` or :func:`prepare_qat_fx` made, computing in integers.

    Raises:
        RuntimeError: the model was not run on sample data.
        NotImplementedError: a ``backend_config`` is given.
    """
    _refuse_given(backend_config=backend_config)
    gm = _Converter(copy.deepcopy(graph_module)).run()
    if _remove_qconfig:
        for m in gm.modules():
            m.__dict__.pop("qconfig", None)
    return gm
