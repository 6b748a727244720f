"""Programs whose arguments are trees: the graph has a placeholder for each leaf, its function takes the trees apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten
from .codegen import CodeGen


class PHBase:
    """The place of an input in ``concrete_args``."""

    def __repr__(self) -> str:
        return "PH"


class PHWithMeta(PHBase):
    """An input whose Node gets the ``meta`` of another's."""

    def __init__(self, ph_key: str | None = None, meta: dict | None = None):
        self.ph_key, self.meta = ph_key, meta or {}


PH = PHBase()


class _PyTreeInfo(NamedTuple):
    orig_args: list[str]
    in_spec: TreeSpec
    out_spec: TreeSpec | None


class _PyTreeCodeGen(CodeGen):
    """A function that takes its arguments apart and puts its result together, by the module's ``_in_spec`` and
    ``_out_spec``.
    """

    def __init__(self, pytree_info: _PyTreeInfo):
        super().__init__()
        self.pytree_info = pytree_info

    def process_inputs(self, *inputs):
        return tree_leaves(inputs)

    def process_outputs(self, out):
        return tree_unflatten(out if isinstance(out, (list, tuple)) else [out], self.pytree_info.out_spec)

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        names = self.pytree_info.orig_args
        head = super().gen_fn_def(list(names), maybe_return_annotation, expanded_def=expanded_def)
        leaves = [v.partition(":")[0].partition("=")[0].strip() for v in free_vars]
        leaves = ["self", *leaves] if names[:1] == ["self"] else leaves
        taken = f"{', '.join(leaves)}, = " if leaves else ""
        return f"{head}\n    {taken}fx_pytree.tree_flatten_spec([{', '.join(names)}], self._in_spec)"

    def generate_output(self, output_args) -> str:
        if self.pytree_info.out_spec is None:
            return super().generate_output(output_args)
        return f"return pytree.tree_unflatten({output_args!r}, self._out_spec)"


def flatten_root(tracer, root_fn: Callable, args: list, names: list[str]) -> tuple[Callable, list[Any]]:
    """``root_fn`` as a function of leaves, and the leaves; the tracer's graph learns of it."""
    leaves, in_spec = tree_flatten(tuple(args))
    tracer.graph._codegen = _PyTreeCodeGen(_PyTreeInfo(list(names), in_spec, None))

    def flat(*leaves):
        found, out_spec = tree_flatten(root_fn(*tree_unflatten(list(leaves), in_spec)))
        tracer.graph._codegen.pytree_info = tracer.graph._codegen.pytree_info._replace(out_spec=out_spec)
        return found

    return flat, leaves
