"""From a flushed trace to an XLA program: signature, cache, lowering, execution.

The signature of a trace is everything its program depends on: calls, operand slots, leaf avals, outputs, donations
and device. Values of Python numbers are not part of it. An entry is compiled with the numbers it first saw as
constants; the first time one of them differs, that position becomes a run-time operand and stays one.

A line that keeps meeting new programs (a sequence grows by a token at each step, batches differ in length) runs most
of them once: further ones are interpreted there (:mod:`.host`) or compiled quickly, and compiled properly once they
have proved to be used.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter, OrderedDict, deque

import jax
import numpy as np

from .. import config, errors
from . import awake, capture, checks, executable, explain, pieces
from .executable import Executable
from .host import Interpreted, Unsupported, interpreted
from .jaxapi import prepare_compilation_cache, x64
from .pieces import Pieces
from .program import Program

_entries: OrderedDict[tuple, Entry] = OrderedDict()
_lock = threading.Lock()
#: an output of each program started since the last :func:`wait`; of more than so many the first are forgotten
_started: deque[weakref.ref] = deque(maxlen=64)

#: programs of one line of the user's that are compiled properly at once
_PROPERLY = 8
#: runs after which a quickly compiled program is compiled properly: while it is the last its line has met, and later
_SETTLED, _PROVED = 1, 16
_compiled_at: Counter = Counter()  # programs, by line
#: (line, hash of the calls' names) -> hash of the calls and leaf avals of its last new program
_shapes_at: dict[tuple, int] = {}
_latest_at: dict[str, weakref.ref] = {}  # line -> the entry that was run last


class Counters:
    """What :func:`jtorch.debug.counters` reports."""

    flushes = compiles = upgrades = interpreted = hits = evictions = calls_recorded = 0
    compile_seconds = 0.0
    causes: Counter = Counter()


counters = Counters()


class Entry:
    """The compiled program of one signature."""

    __slots__ = ("program", "device", "shardings", "wanted", "rewritten", "fixed", "varying", "constant", "executable",
                 "line", "number", "varies", "quick", "runs", "host", "lock", "dropped", "__weakref__")  # fmt: skip

    def __init__(self, trace, outputs, donate, rewritten, shardings, line: str):
        self.program = Program.of(trace, outputs, rewritten)
        self.device, self.shardings = trace.device, shardings
        self.wanted, self.rewritten = donate, dict(rewritten)
        self.fixed: list = list(trace.scalars)
        self.varying: tuple[int, ...] = ()
        self.constant: list[int] = list(range(len(self.fixed)))  # positions compiled in as constants
        self.executable: Executable | Pieces | None = None
        _compiled_at[line] += 1
        self.line, self.number = line, _compiled_at[line]
        shapes = hash((tuple(trace.program), tuple(trace.leaf_avals)))
        kin = line, hash(frozenset([call.name for call in trace.calls]))
        self.varies = _shapes_at.setdefault(kin, shapes) != shapes
        _shapes_at[kin] = shapes
        self.quick, self.runs = self.number > _PROPERLY, 0
        self.host: Interpreted | None = None
        self.dropped = False  # whether it is kept no longer
        self.lock = threading.Lock()

    @property
    def donate(self) -> tuple[int, ...]:
        """The leaves whose buffers the program may reuse."""
        return self.program.donations(self.wanted, self.rewritten)

    def constants(self) -> dict[int, object]:
        """The Python numbers that are compiled in, by position."""
        return {i: self.fixed[i] for i in self.constant}

    def flat(self):
        """The program as a function of one flat argument list, and the avals of its arguments."""
        return executable.flat(self.program, self.constants(), self.varying)

    def compile(self, upgrade: bool = False) -> None:
        prepare_compilation_cache(config.cache_dir)
        start = time.perf_counter()
        quick = self.quick or config.quick_compile
        with awake.compiling(), capture.unprofiled():
            self.executable = self._built(quick)
        if upgrade:
            counters.upgrades += 1
        else:
            counters.compiles += 1
        counters.compile_seconds += time.perf_counter() - start

    def _built(self, quick: bool) -> Executable | Pieces:
        parts = pieces.cut(self.program, self.wanted, self.rewritten, self.quick) if self.shardings is None else None
        if parts is not None:
            return Pieces(parts, self.program.outputs, self.fixed, self.varying, self.device, quick)
        return Executable(self.program, self.constants(), self.varying, self.donate, self.device, self.shardings, quick)

    def compiled(self) -> Executable | Pieces:
        """What XLA made of the program, also if it has only been interpreted so far."""
        with self.lock:
            if self.executable is None:
                self.compile()
            return self.executable

    def _proved(self) -> bool:
        """Whether a quickly compiled program has run often enough to be worth compiling properly."""
        return self.runs >= (_SETTLED if _compiled_at[self.line] == self.number else _PROVED)

    def _repeats(self) -> bool:
        """Whether its line ran it the last time too."""
        latest = _latest_at.get(self.line)
        return latest is not None and latest() is self

    def run(self, trace):
        scalars = trace.scalars
        with self.lock:
            stale = self.executable is None
            upgrade = self.quick and not config.quick_compile and self._proved()
            if upgrade:
                self.quick = False
            if trace.recurs or self.shardings is not None or not config.interpret:
                self.host = None
            elif self.runs == 0 and stale:
                self.host = interpreted(self.program, self.device, self.varies)
            elif self.host is not None and self.host.updates and not self.host.small and self._repeats():
                self.host = None
            self.runs += 1
            if scalars != self.fixed:
                changed = [i for i in self.constant if scalars[i] != self.fixed[i]]
                if changed and self.executable is not None:
                    explain.scalars_vary(changed, self.fixed, scalars)
                    stale = True
                if changed:
                    self.varying = tuple(sorted({*self.varying, *changed}))
                    self.constant = [i for i in self.constant if i not in changed]
            host = self.host
            _latest_at[self.line] = weakref.ref(self)
            if host is not None:
                self.host = host if self.runs < host.runs else None
            elif stale or upgrade:
                self.compile(upgrade and not stale)
            call = host or self.executable
        before = checks.failed_before(trace) if trace.checks else checks.NOTHING_FAILED
        try:
            results = call(trace.leaf_arrays, trace.hypers, scalars, before)
            if host is None and self.device.type == "cpu":
                awake.working()
            counters.interpreted += host is not None
            return results
        except Unsupported:
            self.host = None
            return self.run(trace)


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
    signature = (
        trace.device, tuple(trace.program), tuple(trace.leaf_avals), outputs, donate, rewritten,
        tuple(trace.negative_zeros), len(trace.hypers), shardings,
    )  # fmt: skip
    explain.flush(trace, cause)
    with _lock:
        entry = _entries.get(signature)
        if entry is None:
            explain.miss(signature, trace, _entries)
            entry = _entries[signature] = Entry(trace, outputs, donate, rewritten, shardings, errors.user_line())
            while len(_entries) > config.max_executables:
                _entries.popitem(last=False)[1].dropped = True
                counters.evictions += 1
        else:
            counters.hits += 1
            _entries.move_to_end(signature)
    return entry, *_start(entry, trace, cause)


def again(entry: Entry, trace, cause: str) -> tuple:
    """Run the program of an entry whose signature is known to be the trace's; results and raises as :func:`run`, but
    for the entry."""
    explain.flush(trace, cause)
    counters.hits += 1
    return _start(entry, trace, cause)


def _start(entry: Entry, trace, cause: str) -> tuple:
    checks.refuse_worthless(trace.leaf_arrays)
    counters.flushes += 1
    counters.calls_recorded += len(trace.calls)
    counters.causes[cause] += 1
    explain.remember(entry)
    results, check = entry.run(trace)
    _started.append(weakref.ref(results[0]))
    return results, check


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
        for entry in _entries.values():
            entry.dropped = True
        _entries.clear()
        for table in (_compiled_at, _shapes_at, _latest_at):
            table.clear()
