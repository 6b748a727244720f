"""Which part of a model is quantized how, by name and type, for :mod:`.quantize_fx`."""

from __future__ import annotations

import re
from typing import Any

import jtorch
from jtorch import nn
from jtorch.nn import functional as F

from .fake_quantize import FixedQParamsFakeQuantize, default_weight_fake_quant
from .observer import (
    PlaceholderObserver,
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
    default_weight_observer,
)
from .qconfig import (
    QConfig,
    default_quint8_weight_qconfig,
    default_reuse_input_qconfig,
    get_default_qat_qconfig,
    get_default_qconfig,
)


class QConfigMapping:
    """Rules from parts of a model to a :class:`QConfig`; None keeps a part in floating point.

    A name's rule goes before a pattern's, that before a type's, and that before the global one. A rule for a module
    holds for what is inside it.
    """

    def __init__(self):
        self.global_qconfig: QConfig | None = None
        self.object_type_qconfigs: dict[Any, QConfig | None] = {}
        self.module_name_regex_qconfigs: dict[str, QConfig | None] = {}
        self.module_name_qconfigs: dict[str, QConfig | None] = {}

    def set_global(self, global_qconfig: QConfig | None) -> QConfigMapping:
        """What has no other rule."""
        self.global_qconfig = global_qconfig
        return self

    def set_object_type(self, object_type, qconfig: QConfig | None) -> QConfigMapping:
        """Modules of a type, or calls of a function."""
        self.object_type_qconfigs[object_type] = qconfig
        return self

    def set_module_name_regex(self, module_name_regex: str, qconfig: QConfig | None) -> QConfigMapping:
        """Modules whose name matches from its beginning."""
        self.module_name_regex_qconfigs[module_name_regex] = qconfig
        return self

    def set_module_name(self, module_name: str, qconfig: QConfig | None) -> QConfigMapping:
        """The module of this name."""
        self.module_name_qconfigs[module_name] = qconfig
        return self

    @classmethod
    def from_dict(cls, qconfig_dict: dict) -> QConfigMapping:
        """The rules of the older form: ``{"": global, "object_type": [(type, qconfig)], "module_name": [...]}``."""
        new = cls().set_global(qconfig_dict.get(""))
        for key in ("object_type", "module_name_regex", "module_name"):
            for what, qconfig in qconfig_dict.get(key, ()):
                getattr(new, f"set_{key}")(what, qconfig)
        return new

    def to_dict(self) -> dict:
        """The rules in the older form."""
        lists = {k: list(getattr(self, f"{k}_qconfigs").items()) for k in ("object_type", "module_name_regex",
                                                                           "module_name")}  # fmt: skip
        return {"": self.global_qconfig, **lists}

    def find(self, name: str, kind) -> QConfig | None:
        """The rule for the module called ``name``, of type ``kind`` (or for calls of a function in it)."""
        parts = name.split(".") if name else []
        paths = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        for path in paths:
            if path in self.module_name_qconfigs:
                return self.module_name_qconfigs[path]
        for pattern, qconfig in self.module_name_regex_qconfigs.items():
            if re.match(pattern, name):
                return qconfig
        return self.object_type_qconfigs.get(kind, self.global_qconfig)


#: Operations whose results lie in a known range.
_RANGES = {
    default_fixed_qparams_range_0to1_observer: (
        nn.Hardsigmoid, F.hardsigmoid, "hardsigmoid", "hardsigmoid_", nn.Sigmoid, jtorch.sigmoid, "sigmoid", "sigmoid_",
        nn.Softmax,
    ),
    default_fixed_qparams_range_neg1to1_observer: (nn.Tanh, jtorch.tanh, "tanh", "tanh_"),
}  # fmt: skip


def _default(qconfig: QConfig, backend: str, training: bool) -> QConfigMapping:
    """``qconfig`` for everything but what has a range or a form of weight of its own."""
    weight = default_weight_fake_quant if training else default_weight_observer
    transposed = QConfig(qconfig.activation, weight) if backend in ("fbgemm", "x86") else qconfig
    normalized = QConfig(qconfig.activation, PlaceholderObserver)
    mapping = QConfigMapping().set_global(qconfig).set_object_type("reshape", default_reuse_input_qconfig)
    for n in (1, 2, 3):
        mapping.set_object_type(getattr(nn, f"ConvTranspose{n}d"), transposed)
        mapping.set_object_type(getattr(F, f"conv_transpose{n}d"), transposed)
    mapping.set_object_type(F.layer_norm, normalized).set_object_type(nn.LayerNorm, normalized)
    mapping.set_object_type(nn.PReLU, default_quint8_weight_qconfig)
    for observer, kinds in _RANGES.items():
        fixed = FixedQParamsFakeQuantize.with_args(observer=observer) if training else observer
        for kind in kinds:
            mapping.set_object_type(kind, QConfig(fixed, weight))
    return mapping


def get_default_qconfig_mapping(backend: str = "x86", version: int = 0) -> QConfigMapping:
    """:func:`get_default_qconfig` for everything, but what has a range or a form of weight of its own."""
    return _default(get_default_qconfig(backend, version), backend, False)


def get_default_qat_qconfig_mapping(backend: str = "x86", version: int = 1) -> QConfigMapping:
    """:func:`get_default_qat_qconfig` for everything, but what has a range or a form of weight of its own."""
    return _default(get_default_qat_qconfig(backend, version), backend, True)
