"""``parallelize_module``: apply styles to submodules by name."""

from __future__ import annotations

import fnmatch

from ...device_mesh import DeviceMesh, all_local
from .styles import ParallelStyle


def parallelize_module(module, device_mesh: DeviceMesh | None = None, parallelize_plan=None, *, src_data_rank=0):
    """Lay out a module for tensor parallelism; returns the module.

    Args:
        device_mesh: a one-dimensional mesh, or one dimension of a larger one: ``mesh["tp"]``.
        parallelize_plan: a style for the module itself, or a dict of styles by submodule name, in which ``*`` and
            ``?`` match within one part of a dotted name.

    Raises:
        ValueError: the mesh has several dimensions, or a name matches no submodule.
        TypeError: the plan is neither.
    """
    mesh = device_mesh or all_local(next((p.device.type for p in module.parameters()), "cpu"))
    if mesh.ndim != 1:
        raise ValueError(
            f"parallelize_module needs a mesh of one dimension, but got {mesh!r}; choose one, for example mesh['tp']"
        )
    styles = [parallelize_plan] if isinstance(parallelize_plan, ParallelStyle) else (parallelize_plan or {})
    for style in styles.values() if isinstance(styles, dict) else styles:
        if isinstance(style, ParallelStyle):
            style.src_data_rank = src_data_rank
    if isinstance(parallelize_plan, ParallelStyle):
        return parallelize_plan._apply(module, mesh)
    if not isinstance(parallelize_plan, dict):
        raise TypeError(
            "parallelize_plan must be a ParallelStyle or a dict of them by submodule name, but got "
            f"{type(parallelize_plan).__name__}"
        )
    for pattern, style in parallelize_plan.items():
        if not isinstance(style, ParallelStyle):
            raise TypeError(f"parallelize_plan[{pattern!r}] must be a ParallelStyle, but got {type(style).__name__}")
        found = [m for name, m in module.named_modules() if _matches(name, pattern)]
        if not found:
            raise ValueError(f"parallelize_plan: no submodule of {type(module).__name__} is called {pattern!r}")
        for submodule in found:
            style._apply(submodule, mesh)
    return module


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(fnmatch.fnmatchcase(p, w) for p, w in zip(parts, wanted, strict=True))
