"""Names for regions of a program, shown by ``jax.profiler``; and the older names of :mod:`jtorch.profiler`."""

from __future__ import annotations

import contextlib
from importlib import import_module


class record_function(contextlib.ContextDecorator):
    """``with record_function("name"):`` mark a region (or, as a decorator, a function) in JAX's profiler trace."""

    def __init__(self, name: str, args: str | None = None):
        self.name, self._regions = name, []

    def __enter__(self):
        import jax

        self._regions.append(jax.profiler.TraceAnnotation(self.name))
        self._regions[-1].__enter__()
        return self

    def __exit__(self, *exc):
        self._regions.pop().__exit__(*exc)


def profile(
    enabled: bool = True, *, use_cuda: bool = False, use_device=None, use_xpu: bool = False,
    record_shapes: bool = False, with_flops: bool = False, profile_memory: bool = False, with_stack: bool = False,
    with_modules: bool = False, use_kineto: bool = False, use_cpu: bool = True,
    experimental_config=None, acc_events: bool = False, custom_trace_id_callback=None,
):  # fmt: skip
    """:class:`jtorch.profiler.profile`, or nothing unless ``enabled``; the other options are accepted."""
    if not enabled:
        return contextlib.nullcontext()
    return import_module("jtorch.profiler").profile(experimental_config=experimental_config)


class _Marks(contextlib.nullcontext):
    """Accepted: ``jax.profiler`` names every operation in its own trace, whoever reads it."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False):
        super().__init__(self)


emit_nvtx = emit_itt = _Marks


def __getattr__(name):
    if name in ("EventList", "FunctionEvent", "FunctionEventAvg"):
        events = import_module("jtorch.profiler.events")
        if hasattr(events, name):
            return getattr(events, name)
    if name in ("ProfilerActivity", "kineto_available"):
        return getattr(import_module("jtorch.profiler"), name)
    raise AttributeError(f"module 'torch.autograd.profiler' has no attribute {name!r}")
