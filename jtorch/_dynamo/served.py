"""Functions given as ``compile(backend=...)``: they get an FX graph of what a function does, and return what is called
in its place.

A function is watched as by any other backend: the guards say what its graph holds for. It is then recorded once more,
without being run, for the graph.
"""

from __future__ import annotations

from ..compiler.function import CompiledFunction, GraphBreak
from ..compiler.state import statistics
from ..export import structure
from ..export.graph import Built
from ..export.recording import Recording
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..tensor import Tensor
from .exc import BackendCompilerFailed


class ServedFunction(CompiledFunction):
    """What ``compile(fn, backend=<function>)`` makes of ``fn``."""

    def __init__(self, fn, backend, options: dict, fullgraph=False, name=None, limit=None):
        self._backend, self._options = backend, options
        super().__init__(fn, fullgraph, name, True, limit)

    def around(self, fn) -> ServedFunction:
        return ServedFunction(fn, self._backend, self._options, self._fullgraph, self._name, self._limit)

    def __reduce__(self):
        return ServedFunction, (self._fn, self._backend, self._options, self._fullgraph, self._name, self._limit)

    def _learn(self, args, kwargs):
        result = super()._learn(args, kwargs)
        if not self._candidates:
            return result
        guards = self._candidates.pop()  # they hold for this call
        try:
            served = Served(self._fn, guards, args, kwargs)
        except Exception as error:  # whatever the function raises when only shapes are known
            if self._fullgraph:
                raise GraphBreak(f"{self._name} has no graph: {error}") from error
            self._failed(str(error))
            return result
        leaves = guards.arguments.flatten(args, kwargs)
        served.compiled = self._compiled_by_backend(served.module, served.inputs(leaves))
        self._failures = 0
        statistics.captures += 1
        self._entries.insert(0, (guards, served))
        return result if served.writes else served.replay(leaves)

    def _compiled_by_backend(self, module, inputs):
        name = getattr(self._backend, "__name__", type(self._backend).__name__)
        try:
            compiled = self._backend(module, inputs, **self._options)
        except Exception as error:
            raise BackendCompilerFailed(f"backend={name!r} raised:\n{type(error).__name__}: {error}") from error
        if not callable(compiled):
            raise BackendCompilerFailed(f"backend={name!r} returned {type(compiled).__name__}, which cannot be called")
        return compiled


class Served:
    """A function's graph for calls of one kind, and what the backend made of it.

    Attributes:
        module: takes what :meth:`inputs` returns, and returns the new values of what is written, then the results.
        compiled: the backend's.
    """

    def __init__(self, fn, guards, args, kwargs):
        leaves = guards.arguments.flatten(args, kwargs)
        first = {id(leaves[i]): i for i in reversed(guards.arguments.tensors)}  # one given twice is one input
        self._places = sorted(first.values())
        tensors = [leaves[i] for i in self._places]
        statics = {id(s.tensor): s.tensor for s in guards.statics if id(s.tensor) not in first}
        names = _names(fn)
        self._named = {names.get(key, f"l_{k}"): t for k, (key, t) in enumerate(statics.items())}
        names = [f"l_arg_{k}" for k in range(len(tensors))]
        recording = Recording(fn, args, kwargs, tensors, self._named, None)
        graph = recording.at([tuple(t.shape) for t in tensors])
        if recording.draws[-1]:
            raise RuntimeError("random numbers are drawn")
        (self._form,) = recording.out_forms
        self._changed, self._mutated = recording.changed, recording.mutated
        self.writes = bool(self._changed or self._mutated)
        parameters = [n for n, t in self._named.items() if isinstance(t, Parameter)]
        buffers = [n for n, t in self._named.items() if not isinstance(t, Parameter)]
        written = [*self._changed, *(names[i] for i in self._mutated)]
        built = Built([graph], [], (), [], names, parameters, buffers, written, recording.calls[-1])
        self.module = built.module
        self._fixed = [*(self._named[n] for n in (*parameters, *buffers)), *built.constants.values()]
        self.compiled = None

    def inputs(self, leaves: list) -> list[Tensor]:
        """Parameters, buffers, constants, and the tensors among the arguments."""
        return [*self._fixed, *(leaves[i] for i in self._places)]

    def ready(self, leaves: list) -> list:
        return leaves

    def replay(self, leaves: list):
        """What the function returns for arguments that its guards accept."""
        results = list(self.compiled(*self.inputs(leaves)))
        written = [*(self._named[n] for n in self._changed), *(leaves[self._places[i]] for i in self._mutated)]
        for t, new in zip(written, results, strict=False):
            t.detach().copy_(new.detach())
        return structure.build(self._form, results[len(written) :], {})


def _names(fn) -> dict[int, str]:
    """What the module that ``fn`` is, or is a method of, calls its tensors, by their ids."""
    owner = fn if isinstance(fn, Module) else getattr(fn, "__self__", None)
    if not isinstance(owner, Module):
        return {}
    return {id(t): name for name, t in (*owner.named_parameters(), *owner.named_buffers())}
