"""Which part of a model is quantized how, by name and type, for :mod:`.quantize_fx`."""

from __future__ import annotations

import re
from typing import Any

from .qconfig import QConfig, get_default_qat_qconfig, get_default_qconfig


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


def get_default_qconfig_mapping(backend: str = "x86", version: int = 0) -> QConfigMapping:
    """:func:`get_default_qconfig` for everything."""
    return QConfigMapping().set_global(get_default_qconfig(backend, version))


def get_default_qat_qconfig_mapping(backend: str = "x86", version: int = 1) -> QConfigMapping:
    """:func:`get_default_qat_qconfig` for everything."""
    return QConfigMapping().set_global(get_default_qat_qconfig(backend, version))
