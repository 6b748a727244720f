"""Small programs run by NumPy instead of being compiled.

Compiling a program of three calls takes XLA 30 ms, and NumPy runs it in 40 us. So a small program on the CPU is
interpreted: what a call traces to (its jaxpr) is turned into a list of NumPy functions, once. When it has been run so
often that compiling it would have cost as much it is compiled. Training steps (programs with an optimizer's update) are
going to run often, and are interpreted only if that pays for hundreds of runs; functions that are captured are compiled
at once, and so is what NumPy cannot do as XLA does it (:mod:`.primitives`). Where one line of the user's keeps meeting
the same calls at other shapes (texts of different lengths, the last batch of an epoch), programs are interpreted that
are not small.
See docs/decisions/0015-small-programs.md.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import jax
import numpy as np

from .. import config, devices
from . import blas, kept, primitives_linalg, primitives_windows  # noqa: F401 (the rules of two)
from .call import Call
from .jaxapi import is_literal, jaxpr_parts, live_equations, put, scan_counts, traced
from .primitives import PRODUCTS, RULES, WORK, Unsupported
from .program import NUMPY_KIND, Program

#: Work is counted in elements of results; a function of NumPy's takes as long as so many of them.
_FUNCTION = 1500
#: what XLA takes to compile a program, and how much more for each function
_COMPILING, _PER_COMPILED = 30_000_000, 2_500_000
#: how often a program must be worth interpreting, if it is not one of many that differ in shapes; a training step
_SMALL, _SMALL_STEP = 60, 200
#: what takes XLA as long as NumPy
_EITHER = 15_000
#: the most work of one run, and the most functions
_MOST, _LONGEST = 1_000_000_000, 100_000
#: functions that a call is made of, as a rule at most
_OF_A_CALL = 30
#: how often a loop goes round, at most
_ROUNDS = 256
#: computed in float32 and rounded after each primitive
_HALVES = ("float16", "bfloat16")
#: primitives that look at the bits of such numbers
_BITS = ("nextafter", "bitcast_convert_type", "reduce_precision")
#: what primitives that only call a program call it
_CALLED = {"jit": "jaxpr", "closed_call": "call_jaxpr", "remat2": "jaxpr", "custom_jvp_call": "call_jaxpr",
           "custom_vjp_call": "call_jaxpr"}  # fmt: skip


def _called(equation, operands: list) -> tuple | None:
    """The program that an equation calls, and with what; None: it calls none."""
    name, params = equation.primitive.name, equation.params
    if name in _CALLED:
        return params[_CALLED[name]], operands
    if name == "custom_linear_solve":
        lengths = params["const_lengths"]
        start, end = lengths.matvec + lengths.vecmat, sum(lengths)
        return params["jaxprs"].solve, [*operands[start : start + lengths.solve], *operands[end:]]
    return None


class Code:
    """A jaxpr as a list of functions over registers.

    Args:
        results: which of its results are wanted, all by default.

    Attributes:
        work: see ``_FUNCTION``.
        length: how many functions, those of a loop once.
        divided: whether NumPy would divide a product among threads.
    """

    def __init__(self, closed, results=None):
        jaxpr, consts = jaxpr_parts(closed)
        outvars = jaxpr.outvars if results is None else [jaxpr.outvars[i] for i in results]
        self.work = self.length = 0
        self.divided = False
        self._registers: list = []  # of constants the values
        self._steps: list[tuple] = []
        names: dict = {}
        self._inputs = [self._new(names, v) for v in jaxpr.invars]
        for v, c in zip(jaxpr.constvars, consts, strict=True):
            self._registers[self._new(names, v)] = np.asarray(c)
        self._inline(jaxpr, names, outvars)
        self._outputs = [self._read(names, v) for v in outvars]
        uses = [(*operands, *outs) for _, operands, outs, _ in self._steps]
        self._steps = [(*step, dead) for step, dead in zip(self._steps, last_uses(uses, self._outputs), strict=True)]

    def _new(self, names: dict, variable) -> int:
        names[variable] = len(self._registers)
        self._registers.append(None)
        return names[variable]

    def _read(self, names: dict, variable) -> int:
        if not is_literal(variable):
            return names[variable]
        self._registers.append(np.asarray(variable.val, variable.aval.dtype))
        return len(self._registers) - 1

    def _inline(self, jaxpr, names: dict, outvars) -> None:
        for equation in live_equations(jaxpr, outvars):
            name = equation.primitive.name
            operands = [self._read(names, v) for v in equation.invars]
            called = _called(equation, operands)
            if called is not None:
                inner, consts = jaxpr_parts(called[0])
                inside = dict(zip(inner.invars, called[1], strict=True))
                for v, c in zip(inner.constvars, consts, strict=True):
                    self._registers[self._new(inside, v)] = np.asarray(c)
                self._inline(inner, inside, inner.outvars)
                for v, made in zip(equation.outvars, inner.outvars, strict=True):
                    names[v] = self._read(inside, made)
                continue
            function = self._function(name, equation)
            outs = [self._new(names, v) for v in equation.outvars]
            self._steps.append((function, operands, outs, equation.primitive.multiple_results))
            self.work += _FUNCTION + sum(math.prod(v.aval.shape) for v in equation.outvars)
            self.length += 1
            if self.length > _LONGEST or self.work > _MOST:
                raise Unsupported

    def _function(self, name: str, equation) -> Callable:
        inputs, outputs = [v.aval for v in equation.invars], [v.aval for v in equation.outvars]
        if name in ("cond", "while", "scan"):
            function, work, inner = _CONTROL[name](equation.params)
            self.work += work
            self.length += sum(code.length for code in inner)
            self.divided |= any(code.divided for code in inner)
            return function
        if name not in RULES:
            raise Unsupported
        if name in WORK:
            work = WORK[name](equation.params, inputs, outputs)
            self.work += work
            self.divided |= name in PRODUCTS and work * PRODUCTS[name] > blas.DIVIDED
        return _with_halves(name, equation.params, inputs, outputs)

    def __call__(self, arrays) -> list:
        registers = self._registers.copy()
        for register, x in zip(self._inputs, arrays, strict=True):
            registers[register] = x
        for function, operands, outs, several, dead in self._steps:
            made = function(*[registers[i] for i in operands])
            if several:
                for i, x in zip(outs, made, strict=True):
                    registers[i] = x
            else:
                registers[outs[0]] = made
            for i in dead:
                registers[i] = None
        return [registers[i] for i in self._outputs]


def last_uses(uses: list, kept) -> list[list]:
    """Of what each step uses, what no later one does and nobody keeps: its memory is free."""
    seen, found = set(kept), []
    for used in reversed(uses):
        found.append([x for x in dict.fromkeys(used) if x not in seen])
        seen.update(used)
    return found[::-1]


def _with_halves(name: str, params: dict, inputs, outputs) -> Callable:
    """A primitive's function; of half precision, that in float32 with its results rounded."""
    if all(a.dtype.name not in _HALVES for a in (*inputs, *outputs)):
        if any(a.dtype.kind not in "biufc" for a in (*inputs, *outputs)):
            raise Unsupported
        return RULES[name](params, inputs, outputs)
    if name in _BITS:
        raise Unsupported
    wide = [_wide(a) for a in outputs]
    function = RULES[name](params, [_wide(a) for a in inputs], wide)
    halves = [i for i, a in enumerate(inputs) if a.dtype.name in _HALVES]
    dtypes = [a.dtype for a in outputs]

    def rounded(*arrays):
        arrays = list(arrays)
        for i in halves:
            arrays[i] = arrays[i].astype(np.float32)
        made = function(*arrays)
        if isinstance(made, (list, tuple)):
            return [np.asarray(x).astype(d) for x, d in zip(made, dtypes, strict=True)]
        return np.asarray(made).astype(dtypes[0])

    return rounded


def _wide(aval):
    return jax.ShapeDtypeStruct(aval.shape, np.float32) if aval.dtype.name in _HALVES else aval


# --- control flow --------------------------------------------------------------------------------------------------
# from the parameters, the function, its work and the codes it is made of


def _cond(params: dict) -> tuple[Callable, int, list[Code]]:
    branches = [Code(b) for b in params["branches"]]

    def function(index, *arrays):
        return branches[min(max(int(index), 0), len(branches) - 1)](arrays)

    return function, max(b.work for b in branches), branches


def _where(going, made, before):
    """What of a batch of loops goes on (the first dimensions) as the body made it, the rest as it was."""
    return np.where(going.reshape(going.shape + (1,) * (made.ndim - going.ndim)), made, before)


def _while(params: dict) -> tuple[Callable, int, list[Code]]:
    condition, body = Code(params["cond_jaxpr"]), Code(params["body_jaxpr"])
    n_condition, n = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]

    def function(*arrays):
        state = list(arrays[n:])
        for _ in range(_ROUNDS):
            going = np.asarray(condition([*arrays[:n_condition], *state])[0])
            if not going.any():
                return state
            made = body([*arrays[n_condition:n], *state])
            state = [_where(going, m, s) for m, s in zip(made, state, strict=True)] if going.ndim else made
        raise Unsupported

    return function, _ROUNDS // 8 * (condition.work + body.work), [condition, body]


def _scan(params: dict) -> tuple[Callable, int, list[Code]]:
    body, length, (n_consts, n_carry) = Code(params["jaxpr"]), params["length"], scan_counts(params)
    rounds = range(length)[::-1] if params["reverse"] else range(length)
    if not length:
        raise Unsupported

    def function(*arrays):
        consts, carry = arrays[:n_consts], arrays[n_consts : n_consts + n_carry]
        scanned, rows = arrays[n_consts + n_carry :], []
        for i in rounds:
            made = body([*consts, *carry, *[x[i] for x in scanned]])
            carry = made[:n_carry]
            rows.append(made[n_carry:])
        if params["reverse"]:
            rows.reverse()
        return [*carry, *[np.stack(column) for column in zip(*rows, strict=True)]]

    return function, length * body.work, [body]


_CONTROL = {"cond": _cond, "while": _while, "scan": _scan}


# --- programs ------------------------------------------------------------------------------------------------------


def code_of(call: Call) -> Code:
    """What runs a call.

    Raises:
        Unsupported: it has to be compiled.
    """
    if call.code is None:
        call.code = _code(lambda: Code(*(call.program or [_traced(call.jitted, call)])))
        if call.kept_as is not None:
            known = [call.code.work, call.code.length] if call.code else []
            kept.keep_fact(_effort_name(call), known)
    return _supported(call.code)


def _effort_name(call: Call) -> str:
    return f"{call.kept_as}-effort"


def effort_of(call: Call) -> list | None:
    """A call's ``work`` and ``length``, None if it would have to be traced; empty if it has to be compiled."""
    if call.code is not None:
        return [call.code.work, call.code.length] if call.code else []
    return None if call.kept_as is None else kept.fact(_effort_name(call))


def check_of(call: Call) -> Code:
    """What runs its check of indexes.

    Raises:
        Unsupported: it has to be compiled.
    """
    if call.check_code is None:
        call.check_code = _code(lambda: Code(_traced(jax.jit(call.check), call)))
    return _supported(call.check_code)


def _traced(jitted, call: Call):
    return traced(jitted, [a.sds for a in call.in_avals])


def _code(make: Callable) -> Code | bool:
    """What ``make()`` gives, False where that has to be compiled."""
    try:
        return make()
    except Unsupported:
        return False


def _supported(code: Code | bool) -> Code:
    if code is False:
        raise Unsupported
    return code


class Interpreted:
    """A program run by NumPy; called as an :class:`~.executable.Executable` is.

    Attributes:
        runs: how often it is interpreted before it is compiled.
        small: whether it is worth that even if it is going to run often.
        updates: whether it is a training step.

    Args:
        varies: the program is one of many at a line of the user's, which differ in shapes.

    Raises:
        Unsupported: it has to be compiled.
    """

    def __init__(self, program: Program, device, varies: bool = False):
        self._program, self._device = program, devices.jax_device(device)
        self.work = length = 0
        self._steps, divided = [], False
        self.updates = any(_is_update(step.call) for step in program.steps)
        if self.updates and (config.deterministic or jax.process_count() > 1):
            raise Unsupported  # what it computes must not depend on how often it has run, here or in another process
        often = _SMALL_STEP if self.updates else _SMALL
        checked, least = set(program.checks), 1 if varies else often
        steps = [(i, s) for i, (s, live) in enumerate(zip(program.steps, program.live(), strict=True)) if live]
        # a process that goes on where another was need not trace what it will load compiled
        work = length = 0
        for i, step in steps:
            effort = effort_of(step.call)
            if effort is None:
                break
            if not effort:
                raise Unsupported
            work, length = work + effort[0], length + effort[1]
            self._worth(work, length, len(program.steps) - 1 - i, least)
        length = 0
        for i, step in steps:
            code = code_of(step.call)
            check = check_of(step.call) if i in checked else None
            self._steps.append((code, step.operands, step.outs, check))
            self.work += code.work
            divided |= code.divided
            length += code.length
            self._worth(self.work, length, len(program.steps) - 1 - i, least)
        uses = [(*(s for kind, s in operands if kind == "slot"), *outs) for _, operands, outs, _ in self._steps]
        kept = {*program.outputs, *program.guards, *program.guards.values()}
        self._steps = [(*step, dead) for step, dead in zip(self._steps, last_uses(uses, kept), strict=True)]
        compiling = _COMPILING + _PER_COMPILED * length
        self.runs = math.inf if self.work <= _EITHER else compiling // self.work
        self.small = self.runs >= often
        self._around = blas.one_thread if divided else contextlib.nullcontext()

    @staticmethod
    def _worth(work: int, length: int, rest: int, least: int) -> None:
        """Raises:
        Unsupported: a program with so much work and so many functions, and ``rest`` more calls, is to be compiled.
        """
        compiling = _COMPILING + _PER_COMPILED * (length + _OF_A_CALL * rest)
        if work > min(_MOST, compiling / least) or length > _LONGEST:
            raise Unsupported

    def __call__(self, leaves, hypers: list, scalars: list, before) -> tuple:
        """``(outputs, check)``.

        Raises:
            Unsupported: it has to be compiled, for these values.
        """
        program = self._program
        env = {-1 - i: np.asarray(x) for i, x in enumerate(leaves)}
        flags = [np.asarray(before)]
        with np.errstate(all="ignore"), self._around:
            for code, operands, outs, check, dead in self._steps:
                arrays = [
                    env[where] if kind == "slot"
                    else np.float64(hypers[where]) if kind == "hyper"
                    else NUMPY_KIND[program.scalar_kinds[where]](scalars[where])
                    for kind, where in operands
                ]  # fmt: skip
                env.update(zip(outs, code(arrays), strict=True))
                if check is not None:
                    flags.append(np.asarray(check(arrays)[0]))
                for slot in dead:
                    del env[slot]
        if len(flags) == 1 and not program.guards:
            return self._put([env[s] for s in program.outputs]), None
        failed = np.asarray(any(flags))
        if failed:
            env.update((slot, env[leaf]) for slot, leaf in program.guards.items())
        *outputs, word, failed = self._put([*(env[s] for s in program.outputs), np.stack(flags), failed])
        return tuple(outputs), (word, failed)

    def _put(self, arrays: list) -> tuple:
        # an array of its own each: JAX takes over what NumPy allocated
        arrays = [x if isinstance(x, np.ndarray) and x.flags.owndata else np.array(x) for x in arrays]
        return tuple([put(x, self._device) for x in arrays])


def _is_update(call: Call) -> bool:
    """Whether it is an optimizer's: the program is a training step, and will be met again."""
    return call.op is not None and ".optimizer" in call.op.fn.__module__


def interpreted(program: Program, device, varies: bool = False) -> Interpreted | None:
    """What runs a program of this device at first, or None if that has to be compiled."""
    if device.type != "cpu" or len(program.steps) > _LONGEST:
        return None
    try:
        return Interpreted(program, device, varies)
    except Unsupported:
        return None
