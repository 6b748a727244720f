"""Scripted and traced functions and modules: the Python code itself, captured and replayed like ``jtorch.compile``.

There is no second language here: what TorchScript would translate is run, recorded and compiled. So control flow is
never frozen, and whatever Python can do a scripted function may do.
"""

from __future__ import annotations

import copy
import enum
import inspect
import io
import os
import types
import warnings

from ..compiler.function import CompiledFunction
from ..compiler.module import OptimizedModule
from ..compiler.state import state
from ..export.archive import load as load_program
from ..export.archive import save as save_program
from ..export.dims import Dim
from ..export.program import ExportedModule
from ..export.recording import PLATFORMS, record
from ..nn.modules.module import Module
from ..tensor import Tensor
from ..tensor.dispatch import wrap
from ..trace import capture as watching_trace
from ..trace.capture import Log
from ..trace.value import put
from ..utils import _pytree
from .source import functions


class Error(RuntimeError):
    """What TorchScript's interpreter raises; here errors keep their own types."""


class ScriptWarning(Warning):
    """What PyTorch warns with where a script may not do what it says; jtorch runs the Python code itself."""


class TracerWarning(Warning):
    """What was traced cannot be saved as one program."""


class _Spec:
    """What an example tensor looks like, without its data."""

    def __init__(self, t: Tensor):
        self.shape, self.dtype, self.device, self.requires_grad = tuple(t.shape), t.dtype, t.device, t.requires_grad

    def tensor(self) -> Tensor:
        import numpy as np

        return wrap(put(np.zeros(self.shape, self.dtype.np), self.device)).requires_grad_(self.requires_grad)


def _specs(args, kwargs):
    return _pytree.tree_map(lambda x: _Spec(x) if isinstance(x, Tensor) else x, (args, kwargs))


class ScriptFunction(CompiledFunction):
    """A scripted or traced function."""

    example = None  # specs of the arguments it was first called with

    def __call__(self, *args, **kwargs):
        if self.example is None:
            self.example = _specs(args, kwargs)
        return super().__call__(*args, **kwargs)

    @property
    def name(self) -> str:
        return self._name

    @property
    def qualified_name(self) -> str:
        return f"__torch__.{self._name}"

    def save(self, f, _extra_files=None, *, dynamic_shapes=None, platforms=PLATFORMS) -> None:
        """Write the function as a program; see :func:`jtorch.jit.save`."""
        save(self, f, _extra_files, dynamic_shapes=dynamic_shapes, platforms=platforms)

    def save_to_buffer(self, _extra_files=None) -> bytes:
        """What :meth:`save` writes."""
        return _bytes(self, _extra_files)

    def around(self, fn):
        new = type(self)(fn, self._fullgraph, self._name, self._capture)
        new.example = self.example
        return new

    def __getattr__(self, name: str):
        if name in ("graph", "code", "inlined_graph", "graph_for"):
            raise AttributeError(f"{name}: there is no TorchScript here; jtorch.debug.last_trace() shows what ran")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class ScriptModule(Module):
    """A scripted, traced or loaded module (and a base class, for programs that derive from it).

    Made by :func:`script`, it has its original's attributes and methods: the two are one module under two classes.
    """

    _compiled: ScriptFunction | None = None
    _original: Module | None = None
    _kind = "RecursiveScriptModule"  #: what PyTorch calls the class of such a module

    def _shown_as(self, original: str) -> str:
        """What is printed for a module whose class was called ``original``."""
        return self._kind

    def __repr__(self) -> str:
        return super().__repr__() if self._original is None else self._text(self)

    def _text(self, module: Module) -> str:
        name = type(getattr(module, "_original", None) or module).__name__
        parts = [f"({k}): {self._text(m)}".replace("\n", "\n  ") for k, m in module._modules.items() if m is not None]
        if not parts:
            return f"{self._shown_as(name)}(original_name={name})"
        inner = "".join(f"\n  {line}" for line in [f"original_name={name}", *parts])
        return f"{self._shown_as(name)}({inner}\n)"

    def __call__(self, *args, **kwargs):
        if self._compiled is None:
            return super().__call__(*args, **kwargs)
        return self._compiled(*args, **kwargs)

    @property
    def original_name(self) -> str:
        return type(self._original or self).__name__

    def save(self, f, _extra_files=None, *, dynamic_shapes=None, platforms=PLATFORMS) -> None:
        """Write the module as a program; see :func:`jtorch.jit.save`."""
        save(self, f, _extra_files, dynamic_shapes=dynamic_shapes, platforms=platforms)

    def save_to_buffer(self, _extra_files=None) -> bytes:
        """What :meth:`save` writes."""
        return _bytes(self, _extra_files)

    def define(self, src: str) -> None:
        """Give the module the methods that ``src`` defines."""
        for name, function in functions(src).items():
            setattr(self, name, types.MethodType(function, self))

    def __deepcopy__(self, memo):
        if self._original is None:
            new = object.__new__(type(self))
            memo[id(self)] = new
            new.__dict__.update(copy.deepcopy(self.__dict__, memo))
            return new
        new = _around(copy.deepcopy(self._original, memo), type(self).__bases__[0])
        new._compiled.example = self._compiled.example
        return new

    def __reduce_ex__(self, protocol):
        if self._original is None:
            return super().__reduce_ex__(protocol)
        return _around, (self._original, type(self).__bases__[0])

    def __getattr__(self, name: str):
        if name in ("graph", "code", "inlined_graph"):
            raise AttributeError(f"{name}: there is no TorchScript here; jtorch.debug.last_trace() shows what ran")
        return super().__getattr__(name)


class TracedModule(ScriptModule):
    """A traced module."""

    _kind = "TopLevelTracedModule"

    def _shown_as(self, original: str) -> str:
        return original


class CompilationUnit:
    """Functions from text, each scripted: ``CompilationUnit("def f(x): ...").f``."""

    def __init__(self, lang: str | None = None, _frames_up: int = 0):
        self._functions: dict[str, ScriptFunction] = {}
        if lang is not None:
            self.define(lang)

    def define(self, lang: str, rcb=None, _frames_up: int = 0) -> CompilationUnit:
        """Add the functions that ``lang`` defines."""
        self._functions.update({name: ScriptFunction(f) for name, f in functions(lang).items()})
        return self

    def __getattr__(self, name: str):
        found = self.__dict__.get("_functions", {}).get(name)
        if found is None:
            raise AttributeError(f"'CompilationUnit' has no attribute {name!r}")
        return found


def _around(module: Module, base: type) -> ScriptModule:
    """``module`` under a class that is a ``base`` as well, sharing its attributes."""
    kind = type(module)
    function = ScriptFunction(module, name=kind.__name__)
    made = type(base._kind, (base, kind), {
        "_compiled": staticmethod(function), "_original": module, "__module__": kind.__module__,
        "__doc__": kind.__doc__, "__qualname__": base._kind, "forward": kind.forward,
    })  # fmt: skip
    new = object.__new__(made)
    object.__setattr__(new, "__dict__", module.__dict__)
    return new


def script(obj, optimize=None, _frames_up: int = 0, _rcb=None, example_inputs=None):
    """A function or module that is captured on its first calls and replayed after that, as by ``jtorch.compile``.

    Nothing is translated: the Python code stays what it is, and runs whenever a capture does not fit. Classes, their
    instances, enums and named tuples are returned as they are.

    Raises:
        RuntimeError: ``obj`` is neither a function, a module nor a class.
    """
    if isinstance(obj, (ScriptModule, ScriptFunction)):
        return obj
    if isinstance(obj, OptimizedModule):
        return script(obj._orig_mod)
    if inspect.isclass(obj) or isinstance(obj, enum.Enum):
        return obj
    if isinstance(obj, Module):
        return _around(obj, ScriptModule)
    if isinstance(obj, dict | list | tuple):
        return obj
    if not callable(obj):
        if type(obj).__module__ != "builtins":
            return obj
        raise RuntimeError(f"script() expects a function, a module or a class, not {type(obj).__name__}")
    return ScriptFunction(getattr(obj, "_fn", obj))


def trace(
    func, example_inputs=None, optimize=None, check_trace: bool = True, check_inputs=None,
    check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False, _module_class=None,
    _compilation_unit=None, example_kwarg_inputs: dict | None = None, _store_inputs: bool = True,
):  # fmt: skip
    """As :func:`script`, after running ``func`` once on example inputs, which are what ``save`` records it for.

    Unlike TorchScript's traces this does not freeze control flow: the Python code runs again for inputs whose shapes
    or types differ.

    Args:
        example_inputs: a tensor, or a tuple of arguments.
        example_kwarg_inputs: named arguments, in place of ``example_inputs``.
        strict: refuse dicts as results, as PyTorch does.
        check_trace: warn (:class:`TracerWarning`) where ``func`` reads a value of a tensor and so cannot be saved.

    Raises:
        RuntimeError: no inputs are given, or both kinds; or, with ``strict``, the result is a dict.
    """
    if (example_inputs is None) == (example_kwarg_inputs is None):
        raise RuntimeError("trace() takes either example_inputs or example_kwarg_inputs")
    if isinstance(example_inputs, Tensor) or not isinstance(example_inputs, (tuple, list)):
        args = () if example_inputs is None else (example_inputs,)
    else:
        args = tuple(example_inputs)
    kwargs = dict(example_kwarg_inputs or {})
    module = isinstance(func, Module)
    target = func._orig_mod if isinstance(func, OptimizedModule) else getattr(func, "_original", None) or func
    log = Log(hold=False)
    before, state.tracing = state.tracing, True
    try:
        with watching_trace.watching(log), state.compiling():
            result = target(*args, **kwargs)
    finally:
        state.tracing = before
    if strict and isinstance(result, dict):
        raise RuntimeError(
            "Encountering a dict at the output of the tracer might cause the trace to be incorrect: return a tuple or "
            "a named tuple, or give strict=False if it has the same keys for all inputs"
        )
    if check_trace and log.refusal is not None and "a value is needed" in log.refusal:
        warnings.warn(
            f"trace(): {log.refusal}. The Python code goes on running at each call, so results stay right, but the "
            "function cannot be saved as one program.",
            TracerWarning,
            stacklevel=2,
        )
    made = _around(target, TracedModule) if module else ScriptFunction(getattr(func, "_fn", func))
    (made._compiled if module else made).example = _specs(args, kwargs)
    return made


def trace_module(mod: Module, inputs: dict, *args, example_inputs_is_kwarg: bool = False, **kwargs) -> TracedModule:
    """:func:`trace` of several methods: ``{"forward": example_inputs, ...}``; the others are run once.

    Args:
        example_inputs_is_kwarg: the example inputs are dicts of named arguments.
    """
    named = "example_kwarg_inputs" if example_inputs_is_kwarg else "example_inputs"
    traced = trace(mod, *args, **{named: inputs["forward"]}, **kwargs)
    for name, example in inputs.items():
        if name != "forward":
            method = getattr(mod, name)
            if example_inputs_is_kwarg:
                method(**example)
            else:
                method(*(example if isinstance(example, tuple) else (example,)))
    return traced


# --- files ---------------------------------------------------------------------------------------------------------


def save(m, f, _extra_files: dict | None = None, *, dynamic_shapes=None, platforms=PLATFORMS) -> None:
    """Write a scripted or traced function or module as a program that needs no Python source.

    The file is that of :func:`jtorch.export.save`. It is recorded for the example inputs of :func:`trace`, or for what
    the function was first called with. Without ``dynamic_shapes`` (see :func:`jtorch.export.export`) the first
    dimension of every tensor is left open if the function does the same at all its sizes; else all are fixed.

    Raises:
        RuntimeError: it was never called, or cannot be recorded as one program (see :func:`jtorch.export.export`).
    """
    if isinstance(m, LoadedModule):
        return save_program(m.exported_program(), f, extra_files=_extra_files)
    function = m if isinstance(m, ScriptFunction) else getattr(m, "_compiled", None)
    if function is None:
        raise RuntimeError("save() takes what jit.script, jit.trace or jit.load returned")
    if function.example is None:
        raise RuntimeError(
            "save() records the program for example inputs: call the module once before, or make it with "
            "jit.trace(module, example_inputs)"
        )
    args, kwargs = _pytree.tree_map(lambda x: x.tensor() if isinstance(x, _Spec) else x, function.example)
    target = function._fn
    owner = target if isinstance(target, Module) else None
    if dynamic_shapes is None:
        dynamic_shapes = _first_dimensions(target, args, kwargs)
        if dynamic_shapes is not None:
            try:
                program = record(target, args, kwargs, dynamic_shapes, platforms, owner)
                return save_program(program, f, extra_files=_extra_files)
            except (RuntimeError, ValueError, TypeError):
                dynamic_shapes = None  # at fixed sizes then; if that fails too, it raises
    save_program(record(target, args, kwargs, dynamic_shapes, platforms, owner), f, extra_files=_extra_files)


def _bytes(m, extra_files) -> bytes:
    file = io.BytesIO()
    save(m, file, extra_files)
    return file.getvalue()


def _first_dimensions(target, args, kwargs):
    """One Dim for each size that a first dimension has."""
    known: dict[int, Dim] = {}

    def entry(x):
        if not isinstance(x, Tensor):
            return None
        if not x.dim():
            return None
        return {0: known.setdefault(x.shape[0], Dim(f"batch{len(known) or ''}"))}

    if kwargs or not all(isinstance(a, Tensor) for a in args):
        return None
    return [entry(a) for a in args]


class LoadedModule(ScriptModule, ExportedModule):
    """What :func:`load` returns: a program, with its parameters and buffers."""

    _misfit = RuntimeError  # as an operation of TorchScript would raise

    @property
    def original_name(self) -> str:
        return self._program.exported.fun_name

    def exported_program(self):
        """The program, with the state as it is now."""
        program = copy.copy(self._program)
        program.state_dict = {n: self.get_parameter_or_buffer(n) for n in program.state_dict}
        return program

    def __copy__(self):
        return LoadedModule(self.exported_program())

    def __deepcopy__(self, memo):
        program = self.exported_program()
        program.state_dict = {n: copy.deepcopy(t, memo) for n, t in program.state_dict.items()}
        return LoadedModule(program)

    def __reduce_ex__(self, protocol):
        raise TypeError("a loaded program cannot be pickled: write it with torch.jit.save")


def load(f, map_location=None, _extra_files: dict | None = None, _restore_shapes: bool = False) -> LoadedModule:
    """A program that :func:`save` or ``jtorch.export.save`` wrote, as a module; nothing in the file is run as code.

    Args:
        _extra_files: a dict whose keys are looked up in the file; what is found is filled in, as bytes.

    Raises:
        ValueError: there is no such file.
        RuntimeError: it is another kind of file (TorchScript archives of PyTorch cannot be run), or damaged.
    """
    if isinstance(f, (str, os.PathLike)):
        for wrong, what in ((not os.path.exists(f), "does not exist"), (os.path.isdir(f), "is a directory")):
            if wrong:
                raise ValueError(f"The provided filename {os.fspath(f)} {what}")
    program = load_program(f, extra_files=_extra_files, map_location=map_location)
    if _extra_files:
        _extra_files.update({name: content.encode() for name, content in _extra_files.items()})
    return LoadedModule(program)


def freeze(mod: ScriptModule, preserved_attrs=None, optimize_numerics: bool = True) -> ScriptModule:
    """A copy of a scripted module in evaluation mode whose weights get no gradients; later changes of ``mod`` and its
    weights do not reach it.

    Raises:
        RuntimeError: ``mod`` is not scripted or traced, or in training mode.
    """
    if not isinstance(mod, ScriptModule):
        raise RuntimeError("Freezing expects a ScriptModule as input. Please use torch.jit.script or torch.jit.trace.")
    if mod.training:
        raise RuntimeError(
            "Freezing is currently only implemented for modules in eval mode. Please call .eval() on your module "
            "before freezing."
        )
    for name in preserved_attrs or ():
        if not hasattr(mod, name):
            raise RuntimeError(f"Unknown name: {name}: preserved_attrs are names of the module's attributes")
    return copy.deepcopy(mod).requires_grad_(False)


def run_frozen_optimizations(mod: ScriptModule, optimize_numerics: bool = True, preserved_methods=None) -> None:
    """Accepted: XLA optimises what a frozen module does."""


def optimize_for_inference(mod: ScriptModule, other_methods=None) -> ScriptModule:
    """:func:`freeze` a module that is in evaluation mode; XLA does the rest."""
    return freeze(mod.eval())
