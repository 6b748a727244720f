"""``compile(dynamic=True)``: one program for many sizes, where it is proven that this changes nothing.

Once a dimension of the arguments has been seen to vary, a call is padded up to the next of a few sizes (a *bucket*),
run by the program of that size, and its results are cut back. A size is admitted by recording the function at it once,
and proving (:mod:`jtorch.trace.prover`) that the bucket's program gives the same in the rows that count. The function's
Python code is never run at a size it was not called with: the bucket's program is drawn from two recordings.
Everything else the function reads is guarded as in any capture, and what cannot be proven goes the ordinary way.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass, field

from .. import config as settings
from ..tensor import Tensor
from ..trace import recorder, resize
from ..trace.rows import NotProven, Rows
from ..trace.stretch import Stretch
from ..trace.value import Value
from ..utils import _pytree
from .captured import Captured
from .guards import _IMMUTABLE, Arguments, Guards
from .state import state, statistics
from .watch import Watch

_FAMILIES, _PLANS, _CASES, _SEEN = 64, 16, 8, 4  # of each, so many are kept
_ATTEMPTS = 3  # sizes in a row that were not proven, before no further one is tried


def bucket(size: int) -> int:
    """The size a call of ``size`` rows is padded to: a power of two, from 16 on also one and a half of one."""
    power = 1 << (size - 1).bit_length()
    return 3 * power // 4 if power > 16 and size <= 3 * power // 4 else power


class mark:
    """The dimensions ``mark_dynamic`` has named, kept by the tensors."""

    used = False  # whether any tensor has such a mark

    @staticmethod
    def set(t: Tensor, dims) -> None:
        mark.used = True
        t.__dict__["_dynamic"] = t.__dict__.get("_dynamic", frozenset()) | {d % t.dim() for d in dims}

    @staticmethod
    def get(t) -> frozenset:
        return t.__dict__.get("_dynamic", frozenset()) if isinstance(t, Tensor) else frozenset()


class Refused(NotProven):
    """Nothing about this function's rows can be proven at any size."""


@dataclass
class _Sized:
    """A size that was proven: how it was captured, its bucket's program, and per result where to cut it."""

    captured: Captured
    bucket: int
    stretch: Stretch
    rows: list  # of the operands
    cuts: list  # per result, along which dimension to which size
    constants: dict = field(default_factory=dict)  # those that are padded, by position


@dataclass
class _Case:
    """One way through a function, as its guards have it.

    Attributes:
        sized: what is proven, by size.
        ordinary: sizes that were not.
        sample: a recording, and its size; the buckets' programs are drawn from it and another one.
        stretches: those programs, by bucket.
        refusal: why no size is tried any more.
    """

    guards: Guards
    sized: dict[int, _Sized] = field(default_factory=dict)
    ordinary: set[int] = field(default_factory=set)
    sample: tuple[int, Captured] | None = None
    stretches: dict[int, Stretch] = field(default_factory=dict)
    refusal: str | None = None
    failures: int = 0  # sizes that were not proven since one last was


@dataclass
class _Plan:
    """Which dimensions vary together, in arguments that are alike in everything else.

    Attributes:
        dims: ``{number of the tensor among the arguments: dimension}``.
        shapes: of all tensors, None where they vary.
    """

    dims: dict[int, int]
    shapes: tuple
    cases: list[_Case] = field(default_factory=list)

    def size(self, shapes: tuple) -> int | None:
        """The size of the varying dimensions, if these shapes fit."""
        sizes = {shapes[i][d] for i, d in self.dims.items()}
        return sizes.pop() if len(sizes) == 1 and _masked(shapes, self.dims) == self.shapes else None


class Buckets:
    """What a compiled function with dynamic sizes keeps besides its captures."""

    def __init__(self, owner):
        self._owner = owner
        self.families: dict[tuple, tuple[list, list]] = {}  # pattern of arguments -> (shapes seen, plans)

    def call(self, args: tuple, kwargs: dict) -> tuple | None:
        """``(result,)`` of a call by a bucket's program, or None: it has to go the ordinary way."""
        arguments = Arguments(args, kwargs)
        pattern = _pattern(arguments)
        if pattern is None:
            return None
        leaves = arguments.flatten(args, kwargs)
        plan, size = self._plan(pattern, arguments, leaves)
        if plan is None or size < 2:  # of one row, much is something else
            return None
        case = next((c for c in plan.cases if c.guards.changed() is None), None)
        if case is None:
            guards = self._known(pattern)
            if guards is None:
                return None
            case = _Case(guards)
            plan.cases = [case, *plan.cases[: _CASES - 1]]
        sized = case.sized.get(size)
        if sized is not None:
            tensors = sized.captured.ready(leaves)
            if tensors is None:
                return None
            statistics.replays += 1
            return (_replay(sized, size, tensors),)
        owner = self._owner
        if (
            case.refusal is not None or size in case.ordinary or state.stance != "default"
            or case.sample is not None and case.sample[0] == size or sys.getprofile() is not None
            or not owner._lock.acquire(blocking=False)
        ):  # fmt: skip
            return None
        try:
            with state.compiling():
                return (self._meet(plan, case, size, args, kwargs, arguments, leaves),)
        finally:
            owner._lock.release()

    def _plan(self, pattern, arguments: Arguments, leaves) -> tuple[_Plan | None, int | None]:
        """The plan these arguments fall under, made when a dimension is seen to vary."""
        if pattern not in self.families and len(self.families) >= _FAMILIES:
            return None, None
        seen, plans = self.families.setdefault(pattern, ([], []))
        shapes = tuple([tuple(arguments.leaves[i][1].shape) for i in arguments.tensors])
        for plan in plans:
            size = plan.size(shapes)
            if size is not None:
                return plan, size
        if len(plans) < _PLANS:
            marked = [(k, d) for k, i in enumerate(arguments.tensors) for d in mark.get(leaves[i])]
            for dims in [marked] if marked else [d for other in seen for d in _varying(shapes, other)]:
                if len({k for k, _ in dims}) == len(dims) and len({shapes[k][d] for k, d in dims}) == 1:
                    plan = _Plan(dict(dims), _masked(shapes, dict(dims)))
                    plans.append(plan)
                    return plan, plan.size(shapes)
        if shapes not in seen:
            seen[:] = [shapes, *seen[: _SEEN - 1]]
        return None, None

    def _known(self, pattern) -> Guards | None:
        """Guards that hold, learnt at any size."""
        owner = self._owner
        for guards in (*reversed(owner._candidates), *(g for g, _ in owner._entries)):
            if _pattern(guards.arguments) == pattern and guards.changed() is None:
                return guards
        return None

    def _meet(self, plan, case, size, args, kwargs, arguments, leaves):
        """Run the function at a size that is new: its result, from the bucket's program if that is proven right."""
        guards = copy.copy(case.guards)
        guards.arguments = arguments
        for static in guards.statics:
            static.tensor._value()  # views among them are read here, and not in what may be discarded
        recorder.flush_all("a compiled function meets a new size")
        statistics.records += 1
        watch = Watch()
        result, captured, why = self._owner._capture_run(args, kwargs, guards, leaves, watch)
        try:
            if captured is None:
                raise NotProven(why)
            if guards.reads_more(watch):
                raise NotProven("it reads other attributes than at other sizes")
            sized = self._admit(plan, case, size, captured, len(arguments.tensors))
        except NotProven as error:
            self._not_proven(case, size, error)
            return result
        if sized is None:
            return result
        tensors = captured.ready(leaves)
        if tensors is None:
            return result
        del result
        for trace in list(recorder.open_traces().values()):
            trace.discard()
        return _replay(sized, size, tensors)

    def _admit(self, plan, case, size: int, captured: Captured, count: int) -> _Sized | None:
        """Prove that ``size`` may be run by its bucket's program; None: it takes another recording to make one.

        Raises:
            NotProven: it may not.
        """
        _only_computes(captured, count)
        before = case.sample
        if before is None:
            case.sample = size, captured
            return None
        rows = _rows(plan, size, captured, before, count)
        big = bucket(size)
        stretch = case.stretches.get(big)
        if stretch is None and size == big:
            stretch = captured.stretch
        elif stretch is None:
            case.sample = size, captured
            avals = [
                x.aval if r is None else resize.padded_aval(x.aval, r.dim, big)
                for x, r in zip(_operands(captured, count), rows, strict=True)
            ]
            stretch = resize.at_size(big, before[1].stretch, captured.stretch, (before[0], size), avals)
        if size != big:
            related = resize.prove(stretch, captured.stretch, (big, size), rows)
        else:
            related = [None] * len(stretch.avals)
            resize.same_form(stretch, captured.stretch)
            if any(a is not b for a, b in zip(stretch.calls, captured.stretch.calls, strict=True)):
                raise NotProven("it does something else at the size of a bucket")
        cuts = []
        for spec in captured.results:
            r = related[captured.slots[spec[1][1]]] if spec[0] == "new" else None
            if r is not None and r.outer != 1:
                raise Refused("the rows of a result lie inside a dimension that merges others before them")
            cuts.append(r and (r.dim, size * r.inner))
        if big not in case.stretches:
            case.stretches[big] = stretch
            statistics.captures += 1
        if size != big:
            case.failures = 0
        sized = case.sized[size] = _Sized(captured, big, stretch, rows, cuts)
        return sized

    def _not_proven(self, case, size: int, error: NotProven) -> None:
        case.ordinary.add(size)
        case.failures += 1
        if (
            isinstance(error, Refused)
            or case.failures >= _ATTEMPTS
            and not any(n != s.bucket for n, s in case.sized.items())
        ):
            case.refusal = str(error)
            case.sample = None
            case.sized.clear()
            case.stretches.clear()
            owner = self._owner
            owner.unpadded = case.refusal
            if "recompiles" in settings.logs or "graph_breaks" in settings.logs:
                print(f"[jtorch:compile] {owner._name}: each size has a program of its own: {error}", file=sys.stderr)


def _pattern(arguments: Arguments) -> tuple | None:
    """What calls have in common that may differ in sizes; None for arguments of which this cannot be told."""
    parts = []
    tensors = set(arguments.tensors)
    for i, x in enumerate(arguments.leaves):
        if i in tensors:
            kind, aval, device, single, *rest = x
            if not single or device.type == "meta":
                return None
            parts.append((kind, aval.dtype, len(aval.shape), device, *rest))
        elif isinstance(x, _IMMUTABLE):
            parts.append((type(x), repr(x) if isinstance(x, (float, complex)) else x))
        else:
            return None
    pattern = arguments.count, arguments.names, _form(arguments.form), tuple(parts)
    try:
        hash(pattern)
    except TypeError:
        return None
    return pattern if tensors else None


def _form(spec):
    """A form of nesting, hashable."""
    if spec is None or spec.type is None:
        return None
    context = tuple(spec.context) if isinstance(spec.context, (list, dict)) else spec.context
    return spec.type, context, tuple(map(_form, spec.children))


def _masked(shapes: tuple, dims: dict[int, int]) -> tuple:
    return tuple([s if (d := dims.get(k)) is None else (*s[:d], None, *s[d + 1 :]) for k, s in enumerate(shapes)])


def _varying(shapes: tuple, before: tuple):
    """The dimensions in which two calls differ, and the first ones among these, where each differs in one way."""
    differ = [
        (k, d) for k, (s, t) in enumerate(zip(shapes, before, strict=True)) for d in range(len(s)) if s[d] != t[d]
    ]
    for dims in (differ, [(k, d) for k, d in differ if d == 0]):
        if dims and len({before[k][d] for k, d in dims}) == 1:
            yield dims


def _only_computes(captured: Captured, count: int) -> None:
    """Raises: NotProven: a run did more than computing results from its operands."""
    log = captured.log
    if captured.writes or captured.new_grads or captured.stepped or log.steps or log.backwards or log.walks:
        raise Refused("it writes to tensors from outside (running statistics, gradients, parameters)")
    if captured.drawn or captured.events:
        raise Refused("it draws random numbers, or reads what changes from call to call")
    if captured.nodes or any(spec[0] == "new" and (spec[3] is not None or spec[4]) for spec in captured.results):
        raise Refused("its results have an autograd history: run it under torch.no_grad()")
    if captured.reads:
        raise Refused("it reads numbers from tensors")
    if captured.stretch is None:
        raise Refused("it computes nothing")
    for kind, *rest in captured.results:
        if kind not in ("new", "value", "again") or (kind == "new" and rest[0][0] != "in"):
            raise Refused("it returns a tensor it was given, or found")
    for kind, i in captured.operands:
        if kind not in ("tensor", "constant") and not (kind in ("storage", "grad") and i >= count):
            raise Refused("it takes views of an argument that is a view itself: pass a copy")


def _operands(captured: Captured, count: int) -> list[Value]:
    """The operands from outside as they were when ``captured`` was made, as far as shapes go."""
    of = captured.guards.arguments
    found = []
    for kind, i in captured.operands:
        if kind == "tensor" and i < count:
            found.append(Value(of.leaves[of.tensors[i]][1], captured.stretch.device))
        else:
            found.append(captured._find((kind, i), [None] * count + captured.statics))
    return found


def _rows(plan: _Plan, size: int, captured: Captured, before: tuple[int, Captured], count: int) -> list[Rows | None]:
    """Where the operands hold rows: arguments by the plan, constants where their shapes vary as the size does.

    Raises:
        NotProven: a constant's shape varies otherwise.
    """
    if len(before[1].operands) != len(captured.operands):
        raise NotProven("it uses other tensors at other sizes")
    found = []
    for (kind, i), (_, other) in zip(captured.operands, before[1].operands, strict=True):
        dim = plan.dims.get(i) if kind == "tensor" and i < count else None
        if kind == "constant" and isinstance(other, Value) and other.aval is not i.aval:
            shape, was = tuple(i.aval.shape), tuple(other.aval.shape)
            differ = [d for d, (a, b) in enumerate(zip(shape, was, strict=False)) if a != b]
            if len(shape) != len(was) or len(differ) != 1 or (shape[differ[0]], was[differ[0]]) != (size, before[0]):
                raise NotProven("a tensor it makes from Python numbers depends on the size")
            dim = differ[0]
        found.append(None if dim is None else Rows(dim))
    return found


def _replay(sized: _Sized, size: int, tensors: list):
    """Run the bucket's program on padded arguments and cut its results."""
    captured = sized.captured
    outside = []
    for k, (place, rows) in enumerate(zip(captured.operands, sized.rows, strict=True)):
        value = sized.constants.get(k)
        if value is None:
            value = captured._find(place, tensors)
            if rows is not None and size != sized.bucket:
                value = resize.pad(value, rows.dim, sized.bucket)
                if place[0] == "constant":
                    sized.constants[k] = value
        outside.append(value)
    recorder.flush_all("a call that has a program of its own")  # whatever is pending is no part of it
    made = sized.stretch.append(outside, captured.slots, [])
    recorder.flush_all("a call that has a program of its own")
    results = []
    for spec, where in zip(captured.results, sized.cuts, strict=True):
        if spec[0] == "new":
            value = made[spec[1][1]]
            if where is not None and size != sized.bucket:
                value = resize.cut(value, *where)
            results.append(captured._tensor(value, spec, tensors, ()))
        else:
            results.append(spec[1] if spec[0] == "value" else results[spec[1]])
    return _pytree.tree_unflatten(results, captured.form) if captured.form.type is not None else results[0]
