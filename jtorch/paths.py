"""Modules under the paths PyTorch has them at, where jtorch's are elsewhere: ``torch.export.exported_program``.

A program that imports from one of PyTorch's paths finds there whatever jtorch's module has; the paths themselves hold
nothing. They are looked up last, so that a file of that name always wins.
"""

from __future__ import annotations

import importlib
import sys
import types
from importlib.machinery import ModuleSpec

#: PyTorch's path, and jtorch's.
MOVED = {
    "accelerator.memory": "accelerator",
    "accelerator.graphs": "accelerator",
    "autograd.anomaly_mode": "autograd.anomaly",
    "autograd.profiler_legacy": "autograd.profiler",
    "autograd.profiler_util": "profiler.events",
    "distributed.rpc.api": "distributed.rpc",
    "distributed.tensor.device_mesh": "distributed.device_mesh",
    "distributed.tensor.parallel.api": "distributed.tensor.parallel",
    "distributed.tensor.parallel.style": "distributed.tensor.parallel",
    "export.exported_program": "export",
    "export.graph_signature": "export.signature",
    "masked.maskedtensor": "masked",
    "masked.maskedtensor.core": "masked",
    "masked.maskedtensor.creation": "masked",
    "mtia.memory": "mtia",
    "mtia.mtia_graph": "mtia",
    "profiler.profiler": "profiler.profile",
    "torch_version": "shim.version",
    **{f"xpu.{part}": "xpu" for part in ("graphs", "memory", "random", "streams")},
}  # fmt: skip


class Finder:
    """A meta-path finder for the paths above."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        """The module at such a path, or None."""
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, Finder, origin=name) if package == "jtorch" and name in MOVED else None

    @staticmethod
    def create_module(spec):
        """A module with no attributes but those of jtorch's module."""
        ours = importlib.import_module(f"jtorch.{MOVED[spec.name.partition('.')[2]]}")
        module = types.ModuleType(spec.name, ours.__doc__)
        module.__path__ = []  # further paths may lie below it
        module.__getattr__ = lambda name: getattr(ours, name)
        if hasattr(ours, "__all__"):
            module.__all__ = ours.__all__
        return module

    @staticmethod
    def exec_module(module) -> None:
        """Nothing is run."""


def install() -> None:
    """From now on the paths can be imported."""
    sys.meta_path.append(Finder)
