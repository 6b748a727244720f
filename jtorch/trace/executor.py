"""From a flushed trace to an XLA program: signature, cache, lowering, execution.

The signature of a trace is everything its program depends on: calls, operand slots, leaf avals, outputs, donations
and device. Values of Python numbers are not part of it. An entry is compiled with the numbers it first saw as
constants; the first time one of them differs, that position becomes a run-time operand and stays one.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter, OrderedDict, deque

import jax
import jax.numpy as jnp
import numpy as np

from .. import config, devices
from . import checks, explain
from .aval import Hyper, aval_of
from .jaxapi import compile_program, prepare_compilation_cache, x64

_entries: OrderedDict[tuple, Entry] = OrderedDict()
_lock = threading.Lock()
#: an output of each program started since the last :func:`wait`; of more than so many the first are forgotten
_started: deque[weakref.ref] = deque(maxlen=64)


class Counters:
    """What :func:`jtorch.debug.counters` reports."""

    flushes = compiles = hits = evictions = calls_recorded = 0
    compile_seconds = 0.0
    causes: Counter = Counter()


counters = Counters()


class Program:
    """A trace's calls without its arrays: what lowering needs, and what the debug views print."""

    __slots__ = ("steps", "outputs", "guards", "leaf_avals", "checks", "n_hypers", "scalar_kinds")

    def __init__(self, trace, outputs: tuple[int, ...], rewritten: tuple[tuple[int, int], ...]):
        self.outputs, self.guards = outputs, dict(rewritten) if trace.checks else {}
        self.checks = tuple(i for i, _ in trace.checks)
        self.leaf_avals = [aval_of(a) for a in trace.leaf_arrays]
        self.steps, self.scalar_kinds = [], []
        position = slot = hyper = 0
        for call in trace.calls:
            position += 1
            operands = []
            for kind in call.in_kinds:
                if kind is None:
                    operands.append(("slot", trace.program[position]))
                    position += 1
                elif kind is Hyper:
                    operands.append(("hyper", hyper))
                    hyper += 1
                else:
                    operands.append(("scalar", len(self.scalar_kinds)))
                    self.scalar_kinds.append(kind)
            self.steps.append((call, operands, slot))
            slot += len(call.out_avals)
        self.n_hypers = hyper

    def live(self) -> list[bool]:
        """Which steps something depends on."""
        needed = set(self.outputs)
        keep = [False] * len(self.steps)
        checked = set(self.checks)
        for i in range(len(self.steps) - 1, -1, -1):
            call, operands, slot = self.steps[i]
            if i in checked or not needed.isdisjoint(range(slot, slot + len(call.out_avals))):
                keep[i] = True
                needed.update(s for kind, s in operands if kind == "slot")
        return keep

    def dependents(self, index: int) -> set[int]:
        """The slots that step ``index`` contributes to, its own included."""
        found: set[int] = set()
        for i, (call, operands, slot) in enumerate(self.steps[index:]):
            if i == 0 or any(kind == "slot" and s in found for kind, s in operands):
                found.update(range(slot, slot + len(call.out_avals)))
        return found

    def function(self, constants: dict[int, object], varying: tuple[int, ...], platform: str | None = None):
        """A JAX function ``(leaves, hypers, floats, ints, complexes, failed before) -> (outputs, check)``.

        The check is None without index operands, else ``(flags, failed)``: whether an earlier program had failed and
        whether each checked call did, and whether anything has failed so far.
        """
        keep, checked = self.live(), set(self.checks)
        places = {}
        counts = {"f": 0, "i": 0, "c": 0}
        for p in varying:
            bank = _bank(self.scalar_kinds[p])
            places[p] = (bank, counts[bank])
            counts[bank] += 1

        def program(leaves, hypers, floats, ints, complexes, before):
            banks = {"f": floats, "i": ints, "c": complexes}
            env = {}
            bad = []
            for i, (call, operands, slot) in enumerate(self.steps):
                if not keep[i]:
                    continue
                arrays = []
                for kind, where in operands:
                    if kind == "slot":
                        arrays.append(env[where] if where >= 0 else leaves[-1 - where])
                    elif kind == "hyper":
                        arrays.append(hypers[where])
                    elif where in places:
                        bank, j = places[where]
                        number = banks[bank][j]
                        arrays.append(number != 0 if self.scalar_kinds[where] is bool else number)
                    else:
                        arrays.append(_literal(self.scalar_kinds[where], constants[where]))
                for j, out in enumerate(call.jitted(*arrays)):
                    env[slot + j] = out
                if i in checked:
                    bad.append(call.check(*arrays))
            if not bad:
                return tuple(env[s] for s in self.outputs), None
            flags = jnp.stack([before, *bad])
            failed = flags.any()
            for slot, leaf in self.guards.items():
                env[slot] = jnp.where(failed, leaves[-1 - leaf], env[slot])
            return tuple(env[s] for s in self.outputs), (flags, failed)

        return program, counts


def _bank(kind) -> str:
    return "f" if kind is float else "c" if kind is complex else "i"


_NUMPY_KIND = {float: np.float64, int: np.int64, bool: np.bool_, complex: np.complex128}


def _literal(kind, value):
    return _NUMPY_KIND[kind](value)


class Entry:
    """The compiled program of one signature."""

    __slots__ = (
        "program",
        "donate",
        "device",
        "shardings",
        "fixed",
        "varying",
        "constant",
        "executable",
        "lock",
        "numbers",
    )

    def __init__(self, trace, outputs, donate, rewritten, shardings):
        self.shardings = shardings
        self.program = Program(trace, outputs, rewritten)
        self.device = trace.device
        self.donate = _useful_donations(self.program, donate, dict(rewritten))
        self.fixed: list = list(trace.scalars)
        self.varying: tuple[int, ...] = ()
        self.constant: list[int] = list(range(len(self.fixed)))  # positions compiled in as constants
        self.executable = None
        self.lock = threading.Lock()
        self.numbers: list[tuple] = [(None, None)] * 4  # per bank: the values of the last run, and their array

    def flat(self, platform: str | None = None):
        """The program as a function of one flat argument list, and the avals of its arguments."""
        constants = {i: self.fixed[i] for i in self.constant}
        program, counts = self.program.function(constants, self.varying, platform)
        n = len(self.program.leaf_avals)

        def flat(*arguments):
            return program(arguments[:n], *arguments[n:])

        avals = [a.sds for a in self.program.leaf_avals] + [
            jax.ShapeDtypeStruct((self.program.n_hypers,), np.float64),
            jax.ShapeDtypeStruct((counts["f"],), np.float64),
            jax.ShapeDtypeStruct((counts["i"],), np.int64),
            jax.ShapeDtypeStruct((counts["c"],), np.complex128),
            jax.ShapeDtypeStruct((), np.bool_),
        ]
        return flat, avals

    def compile(self) -> None:
        prepare_compilation_cache(config.cache_dir)
        start = time.perf_counter()
        with x64(True):
            self.executable = compile_program(
                *self.flat(), self.donate, devices.jax_device(self.device), self.shardings
            )
        counters.compiles += 1
        counters.compile_seconds += time.perf_counter() - start

    def run(self, trace):
        scalars = trace.scalars
        with self.lock:
            if self.executable is None:
                self.compile()
            elif scalars != self.fixed:
                changed = [i for i in self.constant if scalars[i] != self.fixed[i]]
                if changed:
                    explain.scalars_vary(changed, self.fixed, scalars)
                    self.varying = tuple(sorted({*self.varying, *changed}))
                    self.constant = [i for i in self.constant if i not in changed]
                    self.compile()
            varying, executable = self.varying, self.executable
        floats, ints, complexes = [], [], []
        for i in varying:
            kind = self.program.scalar_kinds[i]
            (floats if kind is float else complexes if kind is complex else ints).append(scalars[i])
        banks = (trace.hypers, floats, ints, complexes)
        with x64(True):
            return executable(
                *trace.leaf_arrays,
                *[self._number_array(k, values) for k, values in enumerate(banks)],
                checks.failed_before(trace) if trace.checks else checks.NOTHING_FAILED,
            )

    def _number_array(self, k: int, values: list):
        """The run-time numbers of one bank as an array, kept from the last run while they are the same."""
        kept, array = self.numbers[k]
        if kept != values:
            array = np.array(values, _BANK_DTYPES[k])
            if self.shardings is None:  # a mesh program places its own arguments
                array = jax.device_put(array, devices.jax_device(self.device))
            self.numbers[k] = (list(values), array)
        return array


_BANK_DTYPES = (np.float64, np.float64, np.int64, np.complex128)  # Hyper numbers, floats, ints and bools, complexes


def _useful_donations(program: Program, donate, rewritten: dict[int, int]) -> tuple[int, ...]:
    """Donations XLA can use: a buffer is reused for an output of the same shape and dtype, once.

    A leaf that is rewritten keeps its buffer for its new value, which stands among the outputs in the leaves' order;
    other leaves come in for what outputs are left, where they cannot take a rewritten one's place.
    """
    avals = {}
    for call, _, slot in program.steps:
        for j, a in enumerate(call.out_avals):
            avals[slot + j] = a
    free = Counter(avals[s] for s in program.outputs)
    chosen, last = [], {}
    for slot, leaf in rewritten.items():
        i = -1 - leaf
        if donate[i] and avals.get(slot) is program.leaf_avals[i] and free[avals[slot]] > 0:
            free[avals[slot]] -= 1
            chosen.append(i)
            last[avals[slot]] = max(i, last.get(avals[slot], i))
    for i, wanted in enumerate(donate):
        a = program.leaf_avals[i]
        if wanted and free[a] > 0 and i > last.get(a, -1):
            free[a] -= 1
            chosen.append(i)
    return tuple(sorted(chosen))


def run(trace, outputs: tuple[int, ...], donate: tuple[bool, ...], rewritten, shardings, cause: str) -> tuple:
    """Run a trace's program.

    Args:
        outputs: the slots to return.
        donate: per leaf, whether nobody holds its buffer any more.
        rewritten: ``(output slot, leaf slot)`` pairs: the new values of storages, and where the old ones stand. They
            keep the old value should an index check fail.
        shardings: None on one device, else those of the leaves, of the outputs (None: XLA's choice) and of the rest.

    Returns:
        The entry, the output arrays, which may still be being computed, and the check (None without index operands).

    Raises:
        RuntimeError: compilation or execution failed.
    """
    checks.refuse_worthless(trace.leaf_arrays)
    signature = (
        trace.device, tuple(trace.program), tuple(trace.leaf_avals), outputs, donate, rewritten,
        tuple(trace.negative_zeros), len(trace.hypers), shardings,
    )  # fmt: skip
    counters.flushes += 1
    counters.calls_recorded += len(trace.calls)
    counters.causes[cause] += 1
    explain.flush(trace, cause)
    with _lock:
        entry = _entries.get(signature)
        if entry is None:
            explain.miss(signature, trace, _entries)
            entry = _entries[signature] = Entry(trace, outputs, donate, rewritten, shardings)
            while len(_entries) > config.max_executables:
                _entries.popitem(last=False)
                counters.evictions += 1
        else:
            counters.hits += 1
            _entries.move_to_end(signature)
    explain.remember(entry)
    results, check = entry.run(trace)
    _started.append(weakref.ref(results[0]))
    return entry, results, check


def wait() -> None:
    """Block until every device has finished what was started, and raise what the index checks found."""
    checks.settle()
    outputs = []
    while _started:
        outputs.append(_started.popleft()())
    for array in outputs:
        # of a donated output, the program that took it over has an output here
        if array is not None and not array.is_deleted():
            array.block_until_ready()
    if len(outputs) == _started.maxlen or any(array is None for array in outputs):
        _drain()


def _drain() -> None:
    """Wait for programs of which nothing is left to wait for: one more goes through each device's queue."""
    for device in jax.local_devices():
        with x64(True):
            (jax.device_put(np.zeros(()), device) + 0).block_until_ready()


def clear() -> None:
    """Drop every compiled program."""
    with _lock:
        _entries.clear()
