"""``jtorch.compile`` and what goes with it."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from contextlib import contextmanager

import numpy as np

from ..errors import TorchDynamoException
from ..nn.modules.module import Module
from ..tensor import Tensor
from ..trace import capture as watching_trace
from ..utils._pytree import tree_map_only
from . import state as _state
from .buckets import mark
from .function import CompiledFunction
from .module import OptimizedModule
from .state import state

#: what PyTorch programs call their compilers; here all of these are XLA
_COMPILING = ("inductor", "cudagraphs", "openxla", "xla", "onnxrt", "tvm", "hidet", "tensorrt")
#: PyTorch's debugging backends, which run operations as they come
_EAGER = ("eager", "aot_eager", "aot_eager_decomp_partition", "eager_debug")
_MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", "lite")


_default_backend = "inductor"


def set_default_backend(backend: str | None) -> None:
    """What :func:`compile` takes for ``backend`` where it is given none; None: ``"inductor"`` again."""
    global _default_backend
    _default_backend = "inductor" if backend is None else backend


def get_default_backend() -> str:
    """What :func:`set_default_backend` was last given."""
    return _default_backend


class InvalidBackend(TorchDynamoException):
    """A backend that does not exist."""


def compile(
    model: Callable | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: str | Callable | None = None, mode: str | None = None, options: dict | None = None,
    name: str | None = None, disable: bool = False, recompile_limit: int | None = None,
    isolate_recompiles: bool = False, shapes_spec=None,
):  # fmt: skip
    """Capture what a function or module does, and repeat it without running its Python code again.

    jtorch compiles whole recorded traces anyhow; ``compile`` saves the recording. The first two calls run as always,
    and show what the function reads: arguments, closures, globals, attributes, modes. As long as none of these
    changes, later calls append the captured operations at once, forward and backward, optimizer steps and random
    draws included. A call for which something changed is captured anew; one that cannot be captured (it reads a value,
    prints, draws from Python's generators, changes Python objects) is recorded as always. Results never differ.
    ``JTORCH_LOGS=graph_breaks`` says why a function is not captured.

    Args:
        model: a function, a method or a module; without it, ``compile`` returns a decorator.
        fullgraph: raise where the function branches on a value of a tensor, makes it a list or prints it.
        dynamic: with True, calls whose sizes vary are padded to the next of a few sizes, so that many batch sizes
            cost few programs, wherever it is proven that the results stay the same (see docs/compile.md). With None or
            False each shape is captured by itself (with None, unless :func:`mark_dynamic` was called for an argument).
        backend: the names PyTorch knows are all XLA; ``"eager"`` and its like record without capturing. A function is
            called with an FX graph of what ``model`` does (parameters, buffers and constants are inputs before the
            tensors among the arguments) and with those inputs, and returns what is called instead; where there is no
            graph, because a value is read, random numbers are drawn or ``backward()`` is called, it is not asked.
        mode: checked and otherwise left alone: XLA has one mode.
        options: settings of PyTorch's Inductor, which do not apply here. A function given as ``backend`` is handed
            both ``mode`` and ``options``, by name, where they are given.
        name: what messages call the function; default: its own name.
        disable: return the function as it is.
        recompile_limit: how many cases are captured before the function is only recorded; default:
            ``torch._dynamo.config.recompile_limit``.
        isolate_recompiles: accepted; what one call of ``compile`` returns shares its captures with no other.

    Raises:
        RuntimeError: both ``mode`` and ``options``, or an unknown mode or backend.
        NotImplementedError: ``shapes_spec`` is given: shapes are always static.
    """
    backend = _default_backend if backend is None else backend
    if shapes_spec is not None:
        raise NotImplementedError("compile(shapes_spec=) is not supported: every shape is captured by itself")
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(m for m in _MODES if m)}")
    if isinstance(backend, str) and backend not in (*_COMPILING, *_EAGER):
        backend = lookup_backend(backend)
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, name=name,
            disable=disable, recompile_limit=recompile_limit,
        )  # fmt: skip
    if not callable(model):
        raise TypeError(f"compile() expects a function or a module, not {type(model).__name__}")
    if disable or isinstance(model, (CompiledFunction, OptimizedModule)):
        return model
    if inspect.isclass(model):
        raise RuntimeError("compile() expects a function or a module, not a class: compile an instance of it")
    named = name or type(model).__name__ if isinstance(model, Module) else name
    if isinstance(backend, str):
        function = CompiledFunction(model, fullgraph, named, backend not in _EAGER, recompile_limit, dynamic)
    else:
        served = importlib.import_module("jtorch._dynamo.served")  # it makes graphs as export() does, layers above
        settings = {"options": options} if options else {}
        settings |= {"mode": mode} if mode not in (None, "default") else {}
        function = served.ServedFunction(model, backend, settings, fullgraph, named, recompile_limit)
    return OptimizedModule(model, function) if isinstance(model, Module) else function


# --- excluding, asking, telling ------------------------------------------------------------------------------------


def disable(fn=None, recursive: bool = True, *, reason: str | None = None):
    """``fn`` (or what is decorated) is never captured: it runs as always, and so do compiled functions that call it."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    if isinstance(fn, OptimizedModule):
        return disable(fn._orig_mod)
    if isinstance(fn, CompiledFunction):
        return disable(fn._fn)
    if isinstance(fn, Module):
        fn.forward = disable(fn.forward)
        return fn
    if not callable(fn):
        raise TypeError(f"disable() expects a function or a module, not {type(fn).__name__}")
    if inspect.isclass(fn):
        if "forward" in vars(fn):
            fn.forward = disable(fn.forward)
        elif "__call__" in vars(fn):
            fn.__call__ = disable(fn.__call__)
        return fn
    name = getattr(fn, "__qualname__", repr(fn))

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        watching_trace.breaks(f"{name}() is called, which torch.compiler.disable excludes" + (reason or ""))
        depth, state.depth = state.depth, 0
        state.disabled += 1
        try:
            return fn(*args, **kwargs)
        finally:
            state.disabled -= 1
            state.depth = depth

    wrapper._torchdynamo_disable = True
    return wrapper


def graph_break(msg: str = "") -> None:
    """Inside a compiled function: it is not captured (and raises under ``fullgraph=True``)."""
    watching_trace.breaks("graph_break() is called" + (f" ({msg})" if msg else ""))


class error_on_graph_break:
    """Whether, inside the block or the decorated function, what needs a value raises, as under ``fullgraph=True``."""

    def __init__(self, error: bool):
        self._error = error
        self._before: list[tuple] = []

    def __enter__(self):
        log = watching_trace.current()
        self._before.append((log, log is not None and log.fullgraph))
        if log is not None:
            log.fullgraph = self._error

    def __exit__(self, *exc):
        log, before = self._before.pop()
        if log is not None:
            log.fullgraph = before

    def __call__(self, fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            with error_on_graph_break(self._error):
                return fn(*args, **kwargs)

        return wrapper


def is_compiling() -> bool:
    """Whether the caller is inside a compiled or exported function that is being recorded."""
    return state.depth > 0


is_dynamo_compiling = is_compiling


def is_exporting() -> bool:
    """Whether the caller is inside ``torch.export.export``."""
    return state.exporting > 0


def reset() -> None:
    """Forget what every compiled function has captured."""
    _state.reset()


def allow_in_graph(fn):
    """``fn`` itself: whatever operations a function calls are captured."""
    return [allow_in_graph(f) for f in fn] if isinstance(fn, (list, tuple)) else fn


def assume_constant_result(fn):
    """A compiled function computes ``fn(...)`` when it is captured, and keeps the result."""

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        with watching_trace.watching(None), watching_trace.unprofiled():
            return fn(*args, **kwargs)

    return wrapper


def substitute_in_graph(original_fn, **ignored):
    """A decorator that changes nothing: Python code is run, not analysed, and needs no substitutes."""
    return lambda fn: fn


def list_backends(exclude_tags: Sequence[str] | None = ("debug", "experimental")) -> list[str]:
    """The names ``compile(backend=...)`` accepts (all but the debugging ones are XLA)."""
    names = _COMPILING if exclude_tags and "debug" in exclude_tags else (*_COMPILING, *_EAGER)
    return sorted({*names, *(name for name, (_, tags) in _registered.items() if not {*tags} & {*(exclude_tags or ())})})


#: backends that programs have given a name, with their tags
_registered: dict[str, tuple[Callable, Sequence[str]]] = {}


def register_backend(compiler_fn: Callable | None = None, name: str | None = None, tags: Sequence[str] = ()):
    """Let ``compile(backend=name)`` stand for ``compile(backend=compiler_fn)``; also a decorator.

    Args:
        compiler_fn: called with an FX graph and example inputs, returns what is called instead.
        name: default: its own.
        tags: :func:`list_backends` leaves out those that are asked to be.
    """
    if compiler_fn is None:
        return functools.partial(register_backend, name=name, tags=tags)
    _registered[name or compiler_fn.__name__] = compiler_fn, tuple(tags)
    return compiler_fn


def lookup_backend(compiler_fn: str | Callable) -> Callable:
    """What :func:`register_backend` was given under this name; of the names known without it, a function that compiles
    a graph, or leaves it as it is. A function is returned as it is.

    Raises:
        InvalidBackend: there is none of this name.
    """
    if not isinstance(compiler_fn, str):
        return compiler_fn
    if compiler_fn in _registered:
        return _registered[compiler_fn][0]
    if compiler_fn not in (*_COMPILING, *_EAGER):
        raise InvalidBackend(
            f"Invalid backend: {compiler_fn!r}, see `torch._dynamo.list_backends()` for available ones"
        )
    if compiler_fn in _EAGER:
        return lambda module, inputs: module.forward
    return lambda module, inputs: compile(module)


def cudagraph_mark_step_begin() -> None:
    """Nothing to do: results are never overwritten by a later step."""


def set_enable_guard_collectives(enabled: bool) -> bool:
    """Accepted: each process decides by itself what it captures. Returns what was set before: it was off."""
    return False


def nested_compile_region(fn=None, *, options=None, max_reuse_entries: int = 8, reuse_hash_fn=None):
    """``fn`` (or what is decorated): equal calls are lowered once in any case."""
    return (lambda fn: fn) if fn is None else fn


def wrap_numpy(fn):
    """``fn`` of tensors in place of arrays: they are converted on the way in, and arrays on the way out."""

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        args, kwargs = tree_map_only(Tensor, lambda t: t.numpy(), (args, kwargs))
        return tree_map_only(np.ndarray, Tensor._from_numpy, fn(*args, **kwargs))

    return wrapper


def save_cache_artifacts() -> None:
    """None: compiled programs are kept in a folder, that ``JTORCH_CACHE_DIR`` names and that can be copied."""
    return None


def load_cache_artifacts(serialized_artifacts: bytes):
    """Refuses: see :func:`save_cache_artifacts`.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("load_cache_artifacts: copy the folder that JTORCH_CACHE_DIR names to the other machine")


class set_stance:
    """How compiled functions behave from now on, or inside a ``with`` block or a decorated function.

    ``"default"``; ``"force_eager"``: as if not compiled; ``"eager_on_recompile"``: what is captured is replayed,
    nothing new is captured; ``"fail_on_recompile"``: instead of that, raise.

    Raises:
        RuntimeError: another word.
    """

    _STANCES = ("default", "force_eager", "eager_on_recompile", "fail_on_recompile", "eager_then_compile")

    def __init__(self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend=None):
        if stance not in self._STANCES:
            raise RuntimeError(f"invalid stance {stance!r}: expected one of {', '.join(self._STANCES)}")
        if skip_guard_eval_unsafe or force_backend is not None:
            raise NotImplementedError("set_stance: guards are always checked, and there is one backend")
        self._stance, self._before = stance, state.stance
        state.stance = "default" if stance == "eager_then_compile" else stance

    def __enter__(self):
        state.stance = self._stance

    def __exit__(self, *exc):
        state.stance = self._before

    def __call__(self, fn):
        state.stance = self._before

        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            with set_stance(self._stance):
                return fn(*args, **kwargs)

        return wrapper


# --- hints about shapes --------------------------------------------------------------------------------------------


def mark_dynamic(t, index, *, hint_override=None, min=None, max=None, specialize_on=None) -> None:
    """Dimension ``index`` (or several) of ``t`` varies: a function compiled with ``dynamic`` None or True that is given
    ``t`` treats it from then on as ``dynamic=True`` treats a dimension that was seen to vary.

    Raises:
        TypeError, IndexError: ``t`` is no tensor, or has no such dimension.
    """
    if not isinstance(t, Tensor):
        raise TypeError(f"mark_dynamic() expects a Tensor, not {type(t).__name__}")
    dims = index if isinstance(index, (list, tuple)) else [index]
    for i in dims:
        if not -t.dim() <= i < t.dim():
            raise IndexError(f"mark_dynamic(): dimension {i} is out of range for a tensor of {t.dim()} dimensions")
    mark.set(t, dims)


def mark_static(t, index=None) -> None:
    """Accepted: shapes are static in any case."""


def mark_static_address(t, guard: bool = True) -> None:
    """Accepted: tensors a function finds by itself are known by identity in any case."""


class ExplainOutput:
    """What :func:`explain` found.

    Attributes:
        graph_count, graph_break_count: programs the call needs, and the breaks between them.
        break_reasons: why it would not be replayed.
        op_count: operations recorded.
    """

    def __init__(self, graphs: int, reasons: list[str], op_count: int):
        self.graph_count, self.graph_break_count = graphs, max(graphs - 1, 0)
        self.break_reasons, self.op_count = reasons, op_count

    def __repr__(self) -> str:
        lines = [
            f"Graph Count: {self.graph_count}",
            f"Graph Break Count: {self.graph_break_count}",
            f"Op Count: {self.op_count}",
            "Break Reasons:",
        ]
        return "\n".join([*lines, *(f"  {i + 1}. {reason}" for i, reason in enumerate(self.break_reasons))])

    __str__ = __repr__


def explain(f, *extra_args, **extra_kwargs):
    """``explain(f)(*args)``: run ``f`` once and say what keeps it from being one captured program."""

    def inner(*args, **kwargs):
        from ..trace import executor, recorder
        from ..trace.capture import Log
        from .watch import Watch

        fn = getattr(f, "_fn", f)
        recorder.flush_all("explain()")
        log, watch = Log(hold=True), Watch()
        flushes, calls = executor.counters.flushes, executor.counters.calls_recorded
        with watching_trace.watching(log), watch, state.compiling():
            result = fn(*args, **kwargs)
        recorder.flush_all("explain()")
        del result
        reasons = [r for r in (log.refusal, watch.refusal) if r is not None]
        return ExplainOutput(executor.counters.flushes - flushes, reasons, executor.counters.calls_recorded - calls)

    return inner(*extra_args, **extra_kwargs) if extra_args or extra_kwargs else inner


def optimize(backend="inductor", *, nopython: bool = False, disable: bool = False, dynamic=None, **ignored):
    """The older spelling: ``optimize(backend)(fn)``."""
    return compile(None, backend=backend, fullgraph=nopython, dynamic=dynamic, disable=disable)


def optimize_assert(backend="inductor", **settings):
    """``optimize(backend, nopython=True)``."""
    return optimize(backend, nopython=True, **settings)


def run(fn=None):
    """``fn`` (or what is decorated), replaying what is captured and capturing nothing new."""
    return set_stance("eager_on_recompile") if fn is None else set_stance("eager_on_recompile")(fn)


@contextmanager
def exporting():
    """Inside, ``is_exporting()`` and ``is_compiling()`` are true."""
    state.exporting += 1
    try:
        with state.compiling():
            yield
    finally:
        state.exporting -= 1


__all__ = [
    "CompiledFunction", "ExplainOutput", "InvalidBackend", "OptimizedModule", "allow_in_graph",
    "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable", "explain", "graph_break",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "lookup_backend", "mark_dynamic",
    "mark_static", "error_on_graph_break", "mark_static_address", "optimize", "optimize_assert", "register_backend",
    "reset", "run", "set_stance", "substitute_in_graph",
]  # fmt: skip
