"""``torch.utils.module_tracker``: which modules are being run."""

from __future__ import annotations

import weakref

import jtorch
from jtorch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


class ModuleTracker:
    """``with ModuleTracker() as tracker:`` ``tracker.parents`` are the names of the modules that are being run.

    A name is the path from the outermost module that was called, whose own name is its class's; ``"Global"`` is always
    among them. During backward they are those whose backward is being run, and ``tracker.is_bw`` is true.
    """

    def __init__(self):
        self.parents: set[str] = {"Global"}
        self._names: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
        self._handles: list = []

    @property
    def is_bw(self) -> bool:
        """Whether backward is running."""
        return jtorch._C._current_graph_task_id() != -1

    def _name(self, module) -> str:
        if module not in self._names:
            root = type(module).__name__
            for path, inner in module.named_modules():
                self._names.setdefault(inner, f"{root}.{path}" if path else root)
        return self._names[module]

    def _when_reached(self, tensors, act) -> None:
        for t in jtorch.utils._pytree.tree_leaves(tensors):
            if isinstance(t, jtorch.Tensor) and t.requires_grad and t.grad_fn is not None:
                t.register_hook(lambda grad: act())

    def _enter(self, module, inputs) -> None:
        name = self._name(module)
        self.parents.add(name)
        self._when_reached(inputs, lambda: self.parents.discard(name))

    def _leave(self, module, inputs, output) -> None:
        name = self._name(module)
        self.parents.discard(name)
        self._when_reached(output, lambda: self.parents.add(name))

    def __enter__(self):
        self._handles = [register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave)]
        return self

    def __exit__(self, *exc):
        for handle in self._handles:
            handle.remove()


__all__ = ["ModuleTracker"]
