"""``torch.jit``: functions and modules captured as by ``jtorch.compile``, and saved as programs.

Read in this order: ``language`` (names that talk to TorchScript's compiler), ``source`` (functions from text),
``wrapped`` (script, trace, save, load).
"""

from . import annotations
from .language import (
    Attribute,
    Final,
    Future,
    _overload,
    _overload_method,
    _script_if_tracing,
    _unwrap_optional,
    annotate,
    enable_onednn_fusion,
    export,
    fork,
    fuser,
    ignore,
    interface,
    is_scripting,
    is_tracing,
    isinstance,
    onednn_fusion_enabled,
    optimized_execution,
    script_if_tracing,
    script_method,
    set_fusion_strategy,
    strict_fusion,
    unused,
    wait,
)
from .wrapped import (
    CompilationUnit,
    Error,
    LoadedModule,
    ScriptFunction,
    ScriptModule,
    ScriptWarning,
    TracedModule,
    TracerWarning,
    freeze,
    load,
    optimize_for_inference,
    run_frozen_optimizations,
    save,
    script,
    trace,
    trace_module,
)

RecursiveScriptModule, TopLevelTracedModule = ScriptModule, TracedModule

_fork, _wait = fork, wait  # what they were called first

__all__ = [
    "Attribute", "CompilationUnit", "Error", "Final", "Future", "LoadedModule", "RecursiveScriptModule",
    "ScriptFunction", "ScriptModule", "ScriptWarning", "TopLevelTracedModule", "TracedModule", "TracerWarning",
    "annotate", "annotations", "enable_onednn_fusion", "export", "fork", "freeze", "fuser", "ignore", "interface",
    "is_scripting", "is_tracing", "isinstance", "load", "onednn_fusion_enabled", "optimize_for_inference",
    "optimized_execution", "run_frozen_optimizations", "save", "script", "script_if_tracing", "script_method",
    "set_fusion_strategy", "strict_fusion", "trace", "trace_module", "unused", "wait",
]  # fmt: skip
