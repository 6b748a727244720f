"""``torch.export.export``: a module recorded at several sizes, and made one program for several kinds of devices."""

from __future__ import annotations

import contextlib
import functools
import inspect

import jax
import jax.export

from .. import config, debug, dtypes
from ..compiler import exporting
from ..devices import CPU
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..ops.registry import OPS
from ..tape import modes
from ..tensor import Tensor, dispatch
from ..tensor import random as random_
from ..tensor.dispatch import wrap
from ..trace import capture as watching_trace
from ..trace.call import _PRECISION
from ..trace.capture import Log
from ..trace.jaxapi import x64
from ..trace.replay import Disagreement, Fitted, fitter, points
from ..trace.value import put
from ..utils import _pytree
from . import structure
from .calls import Calls
from .dims import Derived, Dim, Shapes, ShapesCollection, UserError, ValueRanges, settled
from .draws import Drawn, taken
from .graph import Built, Polynomial
from .program import ExportedProgram
from .signature import ExportGraphSignature

PLATFORMS = ("cpu", "cuda", "tpu")


def export(
    mod: Module, args: tuple, kwargs: dict | None = None, *, dynamic_shapes=None, strict: bool = False,
    preserve_module_call_signature=(), prefer_deferred_runtime_asserts_over_guards: bool = False,
    platforms: tuple[str, ...] = PLATFORMS,
) -> ExportedProgram:  # fmt: skip
    """Record ``mod(*args, **kwargs)`` as one program for several kinds of devices, without running it.

    Args:
        mod: a module.
        args, kwargs: example inputs; their tensors become the program's inputs, other values are fixed.
        dynamic_shapes: sizes to leave open: per argument (by name, or in order) ``{dimension: Dim}`` or one entry per
            dimension.
        preserve_module_call_signature: names of submodules that :func:`.unflatten.unflatten` shall give their arguments
            and results as they had them.
        platforms: what to lower for, from whatever machine this is.

    Raises:
        RuntimeError: the module reads a value of a tensor, or draws random numbers on another device than the CPU.
        UserError: it does different things at different sizes, or ``dynamic_shapes`` do not fit the arguments.
    """
    if not isinstance(mod, Module):
        raise ValueError(f"Expected `mod` to be an instance of `torch.nn.Module`, got {type(mod)}.")
    if not isinstance(args, tuple):
        raise UserError(f"Expecting `args` to be a tuple of example positional inputs, got {type(args)}")
    kept = tuple(preserve_module_call_signature)
    for name in kept:
        mod.get_submodule(name)  # raises where there is none
    return record(mod, args, kwargs or {}, dynamic_shapes, tuple(platforms), kept=kept)


def record(
    mod, args: tuple, kwargs: dict, dynamic_shapes, platforms, owner: Module | None = None, kept: tuple[str, ...] = ()
) -> ExportedProgram:
    """As :func:`export`, for any callable; ``owner`` is the module whose parameters it uses, ``kept`` are names of
    submodules whose call signatures are noted."""
    mod = getattr(mod, "_orig_mod", mod)
    owner = mod if owner is None and isinstance(mod, Module) else owner
    unknown = set(platforms) - set(PLATFORMS)
    if unknown or not platforms:
        raise ValueError(f"platforms must be among {PLATFORMS}, got {platforms}")
    named = {} if owner is None else {**dict(owner.named_parameters()), **dict(owner.named_buffers())}
    aliases = {} if owner is None else _aliases(owner, named)
    tensors: list[Tensor] = []
    names: list[str] = []
    given: list = []
    args, kwargs = _each_once((args, kwargs))
    _collect(mod, args, kwargs, dynamic_shapes, tensors, names, given)
    order = {id(t): i for i, t in enumerate(tensors)}
    in_form = structure.describe([list(args), kwargs], lambda x: order[id(x)] if isinstance(x, Tensor) else None)
    recording = Recording(mod, args, kwargs, tensors, named, owner, kept)

    def recorded(given):
        shapes = Shapes(names, tensors, given)
        with x64(True):
            scope = jax.export.SymbolicScope(shapes.constraints())
            symbols = [jax.export.symbolic_shape(d.__name__, scope=scope)[0] for d in shapes.dims]
        offsets = _offsets(shapes)
        graphs = recording.all(shapes, [tuple(map(sum, zip(p, offsets, strict=True))) for p in points(len(symbols))])
        fit = fitter(len(shapes.dims))

        def terms(values) -> list:
            return [
                [c, [[shapes.dims[i].__name__, offsets[i]] for i in several]]
                for c, several in fit(values, "a number that the function returns")
            ]

        try:
            draws = [
                Drawn(structure.agreed([form for form, _ in several], terms), any(used for _, used in several))
                for several in zip(*recording.draws[-len(graphs) :], strict=True)
            ]
            fitted = Fitted(graphs, tuple(s - o if o else s for s, o in zip(symbols, offsets, strict=True)))
            out_form = structure.agreed(recording.out_forms, terms)
        except (Disagreement, ValueError) as error:
            raise UserError(f"Constraints violated ({', '.join(d.__name__ for d in shapes.dims)})! {error}") from error
        calls = recording.calls[-len(graphs) :]
        for name, signature in calls[0].signatures.items():
            if any(c.signatures.get(name) != signature for c in calls[1:]):
                raise UserError(
                    f"the module {name!r} does not take and return the same numbers at all sizes: leave it out of "
                    "preserve_module_call_signature"
                )
        return shapes, scope, symbols, offsets, graphs, fitted, out_form, calls[0], draws

    given = settled(names, tensors, given, recorded)
    shapes, scope, symbols, offsets, graphs, fitted, out_form, calls, draws = recorded(given)
    with x64(True):
        specs = [
            jax.ShapeDtypeStruct(jax.export.symbolic_shape(text, scope=scope) if text else (), t.dtype.np)
            for text, t in zip(shapes.texts(), tensors, strict=True)
        ]
        sizes = {d.__name__: symbol for d, symbol in zip(shapes.dims, symbols, strict=True)}
        for _, shape, _, dtype, _ in (d.arguments(sizes) for d in draws if d.used):
            specs.append(jax.ShapeDtypeStruct(tuple(shape), dtype.np))
    platform = platforms[0] if len(platforms) == 1 else "tpu"  # lowerings without any tuning for the CPU
    precision = _PRECISION[config.float32_matmul_precision]

    def program(state, *inputs):
        with jax.default_matmul_precision(precision):
            return tuple(fitted(inputs, state, platform))

    program.__name__ = getattr(mod, "__name__", type(mod).__name__)
    state = {n: jax.ShapeDtypeStruct(tuple(t.shape), t.dtype.np) for n, t in named.items()}
    with x64(True):
        try:
            exported = jax.export.export(jax.jit(program, keep_unused=True), platforms=platforms)(state, *specs)
        except Exception as error:
            raise _explained(error) from error
    signature = ExportGraphSignature(
        tuple(n for n, t in named.items() if isinstance(t, Parameter)),
        tuple(n for n, t in named.items() if not isinstance(t, Parameter)),
        tuple(names), tuple(recording.changed), recording.count,
        functools.cache(functools.partial(_build, graphs, shapes, symbols, offsets, names, named, recording.changed,
                                          recording.mutated, calls, draws)),
        tuple(recording.mutated), frozenset(n for n in named if _is_transient(owner, n)),
    )  # fmt: skip
    inputs = [
        {"name": n, "dtype": str(t.dtype), "shape": [d.__name__ if isinstance(d, Dim) else d for d in shape],
         "requires_grad": t.requires_grad}
        for n, t, shape in zip(names, tensors, shapes.shapes, strict=True)
    ]  # fmt: skip
    ranges = {d.__name__: ValueRanges(d.min or 0, d.max) for d in shapes.dims}
    made = ExportedProgram(exported, dict(named), aliases, signature, in_form, out_form, inputs, ranges, draws)
    made.example_inputs = args, kwargs
    return made


def _build(graphs, shapes: Shapes, symbols, offsets, names, named: dict, changed, mutated, calls, draws) -> Built:
    where = []  # of each open size, the first input and dimension that has it
    for d in shapes.dims:
        places = [(i, j, x) for i, shape in enumerate(shapes.shapes) for j, x in enumerate(shape)]
        plain = next(((i, j, None) for i, j, x in places if x is d), None)
        derived = (place for place in places if isinstance(place[2], Derived) and place[2].root is d)
        where.append(plain or next(derived))
    inputs = graphs[0].inputs
    return Built(
        graphs, [(inputs[i].slot, j, derived) for i, j, derived in where], symbols, offsets, names,
        [n for n, t in named.items() if isinstance(t, Parameter)],
        [n for n, t in named.items() if not isinstance(t, Parameter)], [*changed, *(names[i] for i in mutated)],
        calls, [d.arguments({d.__name__: Polynomial.of(i) for i, d in enumerate(shapes.dims)}) for d in draws],
        [d.used for d in draws],
    )  # fmt: skip


def _explained(error: Exception) -> Exception:
    """JAX's complaint about an operation that cannot be lowered, with the user's line where a note has it."""
    text = str(error).split("\n")[0].rstrip(".")
    where = ""
    frame = error.__traceback__
    while frame is not None:
        node = frame.tb_frame.f_locals.get("node")
        if node is not None and hasattr(node, "line") and node.line not in text:
            where = f"{node.name} (at {node.line}): "
        frame = frame.tb_next
    return UserError(
        f"export: {where}{text}. Give the Dim a range that decides it (min=2), make the size static (leave it out of "
        "dynamic_shapes), or write this operation in another way"
    )


class Recording:
    """Records a callable at given input shapes."""

    def __init__(self, mod, args, kwargs, tensors, named, owner, kept=()):
        self.mod, self.args, self.kwargs, self.tensors, self.named = mod, args, kwargs, tensors, named
        self.owner, self.kept = owner, kept
        self.calls: list[Calls] = []  # of each recording
        self.draws: list[list[tuple]] = []  # of each recording, the forms of the draws and whether they are used
        self.grad = modes.state.grad
        self.changed: list[str] = []  # buffers that it writes
        self.mutated: list[int] = []  # inputs that it writes
        self.out_forms, self.count = [], 0

    def all(self, shapes: Shapes, sizes: list[tuple[int, ...]]) -> list:
        """The recordings with these sizes in the place of the Dims.

        Raises:
            UserError: the function works for the example inputs, and not at other sizes.
        """
        graphs = []
        self.out_forms = []
        for point in sizes:
            at = dict(zip(shapes.dims, point, strict=True))
            try:
                graphs.append(self.at(shapes.at(at)))
            except (RuntimeError, ValueError, IndexError) as error:
                if self._works():
                    names = ", ".join(f"{d.__name__}={n}" for d, n in at.items())
                    raise UserError(
                        f"Constraints violated! The function works for the example inputs, but not at {names}: {error} "
                        "Use the same Dim for sizes that must be equal, and leave out those that must stay as they are."
                    ) from error
                raise
        return graphs

    def _works(self) -> bool:
        """Whether the function can be recorded for the example inputs themselves."""
        try:
            self.at([tuple(t.shape) for t in self.tensors])
        except (RuntimeError, ValueError, IndexError):
            return False
        return True

    def at(self, shapes: list[tuple[int, ...]]):
        stand_ins = [
            t.detach() if tuple(t.shape) == shape else _zeros(shape, t)
            for t, shape in zip(self.tensors, shapes, strict=True)
        ]
        log, calls = Log(hold=True), Calls(self.owner, self.kept)
        self.calls.append(calls)

        def run(*inputs):
            replaced = {id(t): new for t, new in zip(self.tensors, inputs, strict=True)}
            form = _replace([list(self.args), self.kwargs], replaced)
            given = [t._value() for t in inputs]
            before = {n: t._value() for n, t in self.named.items()}
            with watching_trace.watching(log), exporting(), self._tape(), calls:
                result = self.mod(*form[0], **form[1])
            self.mutated = [i for i, (t, v) in enumerate(zip(inputs, given, strict=True)) if t._value() is not v]
            outputs: list[Tensor] = []

            def number(x):
                if not isinstance(x, Tensor):
                    return None
                outputs.append(x)
                return len(outputs) - 1

            self.out_forms.append(structure.describe(result, number))
            self.count = len(outputs)
            now = {n: self._taken_back(n, t) for n, t in self.named.items()}
            self.changed = [n for n, t in now.items() if t._value() is not before[n]]
            return outputs + [now[n] for n in self.changed] + [inputs[i] for i in self.mutated]

        generator = random_.default_generator(CPU)
        before = generator.get_state()
        try:
            graph = debug.graph(run, stand_ins, self.named)
        finally:
            generator.set_state(before)  # nothing was run
        if log.refusal is not None:
            raise RuntimeError(f"export: {log.refusal}; an exported program cannot depend on it")
        graph, draws = taken(graph, log)
        self.draws.append(draws)
        return graph

    def _tape(self):
        return differentiated_as_a_whole(self.named.values()) if self.grad else contextlib.nullcontext()

    def _taken_back(self, name: str, original: Tensor) -> Tensor:
        """The tensor that the module has by this name now; it gets its own again (``self.count = self.count + 1``)."""
        if self.owner is None or isinstance(original, Parameter):
            return original
        path, _, key = name.rpartition(".")
        buffers = self.owner.get_submodule(path)._buffers
        found = buffers.get(key)
        buffers[key] = original
        return original if found is None else found


@contextlib.contextmanager
def differentiated_as_a_whole(state):
    """What is recorded inside is differentiated by JAX, which shall stop where this tape would: at ``detach()`` and at
    whatever goes into operations without gradients (``no_grad``). Nothing is on this tape: ``state`` is taken off it.
    """
    stopped: dict[int, tuple] = {}  # by the id of a value: itself, and what stands for it
    stop = OPS["_stopped"]

    def intercept(op, operands, statics):
        if modes.state.grad or op is stop:
            return operands, statics
        return _pytree.tree_map_only(Tensor, stand_in, operands), statics

    def stand_in(t: Tensor) -> Tensor:
        if t.dtype.category < dtypes.FLOAT or t._handler is not None:  # whose parts are tensors of the same kind
            return t
        value = t._value()
        if id(value) not in stopped:
            stopped[id(value)] = value, t.detach()
        return stopped[id(value)][1]

    leaves = [t for t in state if t.requires_grad]
    for t in leaves:
        t._requires_grad = False
    dispatch.interceptors.append(intercept)
    modes.state.exported += 1
    try:
        with modes.enable_grad():
            yield
    finally:
        modes.state.exported -= 1
        dispatch.interceptors.remove(intercept)
        for t in leaves:
            t._requires_grad = True


def _each_once(tree):
    """``tree``, a tensor that is in several places replaced by another of the same contents in each further one."""
    seen: set[int] = set()

    def once(t: Tensor) -> Tensor:
        if id(t) in seen:
            t = t.detach().requires_grad_(t.requires_grad)
        seen.add(id(t))
        return t

    return _pytree.tree_map_only(Tensor, once, tree)


def _zeros(shape, like: Tensor) -> Tensor:
    import numpy as np

    return wrap(put(np.zeros(shape, like.dtype.np), like.device))


def _replace(tree, replaced: dict):
    if isinstance(tree, Tensor):
        return replaced[id(tree)]
    if isinstance(tree, dict):
        return {k: _replace(v, replaced) for k, v in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_replace(v, replaced) for v in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(_replace(v, replaced) for v in tree)
    functions = _pytree._functions(type(tree))
    if functions is not None:
        parts, context = functions[0](tree)
        return functions[1]([_replace(v, replaced) for v in parts], context)
    return tree


def _is_transient(owner: Module, name: str) -> bool:
    path, _, key = name.rpartition(".")
    return key in owner.get_submodule(path)._non_persistent_buffers_set


def _aliases(owner: Module, named: dict) -> dict[str, str]:
    """Further names of tensors that have several."""
    first = {id(t): n for n, t in named.items()}
    found = {}
    for several in (owner.named_parameters, owner.named_buffers):
        for name, t in several(remove_duplicate=False):
            if name not in named and id(t) in first:
                found[name] = first[id(t)]
    return found


def _collect(mod, args, kwargs, dynamic, tensors, names, given) -> None:
    """The tensors among the arguments, what to call them, and their dynamic dimensions."""
    forward = mod.forward if isinstance(mod, Module) else mod
    try:
        bound = inspect.signature(forward).bind(*args, **kwargs).arguments
        top = [n for n in bound if n not in kwargs] if len(bound) >= len(args) else []
    except (TypeError, ValueError):
        top = []
    labels = [top[i] if i < len(top) else f"args_{i}" for i in range(len(args))]
    if any(isinstance(a, tuple) for a in args) and len(top) < len(args):
        labels = [f"args_{i}" for i in range(len(args))]
    entries = dict(zip((*labels, *kwargs), (*args, *kwargs.values()), strict=True))
    if isinstance(dynamic, (list, tuple)):
        if len(dynamic) != len(entries):
            raise UserError(f"dynamic_shapes has {len(dynamic)} entries for {len(entries)} arguments")
        dynamic = dict(zip(entries, dynamic, strict=True))
    by_tensor = dynamic if isinstance(dynamic, ShapesCollection) else None
    dynamic = {} if by_tensor is not None else dynamic or {}
    for name in dynamic:
        if name not in entries:
            raise UserError(f"dynamic_shapes name the argument {name!r}; the arguments are {list(entries)}")

    def visit(x, entry, label):
        if isinstance(x, Tensor):
            tensors.append(x)
            names.append(label)
            given.append(entry if by_tensor is None else by_tensor[x])
        elif isinstance(x, dict):
            for k, v in x.items():
                visit(v, None if entry is None else entry.get(k), f"{label}_{k}")
        elif isinstance(x, (list, tuple)):
            for i, v in enumerate(x):
                visit(v, None if entry is None else entry[i], f"{label}_{i}")
        elif (functions := _pytree._functions(type(x))) is not None:
            several = functions[0](entry)[0] if type(entry) is type(x) else entry
            for i, v in enumerate(functions[0](x)[0]):
                visit(v, None if several is None else several[i], f"{label}_{i}")

    for label, x in entries.items():
        visit(x, dynamic.get(label), label)


def _offsets(shapes: Shapes) -> list[int]:
    """What to add to the sizes the recordings are made at, so that they lie near the example's and below each max."""
    where = points(len(shapes.dims))
    found = []
    for i, (d, example) in enumerate(zip(shapes.dims, shapes.examples, strict=True)):
        offset = max(0, example - min(p[i] for p in where))
        if d.max is not None:
            offset = min(offset, d.max - max(p[i] for p in where))
        found.append(max(0, offset))
    return found


__all__ = ["PLATFORMS", "Recording", "export", "record"]
