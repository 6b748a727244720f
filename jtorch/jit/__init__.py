"""``torch.jit``: functions and modules captured as by ``jtorch.compile``, and saved as programs.

Read in this order: ``language`` (names that talk to TorchScript's compiler), ``wrapped`` (script, trace, save, load).
"""

from .language import (
    Attribute,
    Final,
    Future,
    _overload,
    _overload_method,
    _script_if_tracing,
    annotate,
    export,
    fork,
    fuser,
    ignore,
    interface,
    is_scripting,
    is_tracing,
    isinstance,
    optimized_execution,
    script_if_tracing,
    script_method,
    set_fusion_strategy,
    unused,
    wait,
)
from .wrapped import (
    Error,
    LoadedModule,
    ScriptFunction,
    ScriptModule,
    TracedModule,
    TracerWarning,
    freeze,
    load,
    optimize_for_inference,
    save,
    script,
    trace,
    trace_module,
)

RecursiveScriptModule, TopLevelTracedModule = ScriptModule, TracedModule

_fork, _wait = fork, wait  # what they were called first

__all__ = [
    "Attribute", "Error", "Final", "Future", "LoadedModule", "RecursiveScriptModule", "ScriptFunction", "ScriptModule",
    "TopLevelTracedModule", "TracedModule", "TracerWarning", "annotate", "export", "fork", "freeze", "fuser", "ignore",
    "interface", "is_scripting", "is_tracing", "isinstance", "load", "optimize_for_inference", "optimized_execution",
    "save", "script", "script_if_tracing", "script_method", "set_fusion_strategy", "trace", "trace_module", "unused",
    "wait",
]  # fmt: skip
