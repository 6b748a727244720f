"""The trace: a flat list of calls per thread and device, and the one place that decides when it runs.

Recording appends integers: the call's id, then the slot of each array operand (outputs of calls count up from 0,
leaves count down from -1). Python numbers go to a list of their own. Nothing is run, hashed deeply or walked.

When a trace is flushed
    - a value is needed (``item``, ``numpy``, ``bool``, ``print``);
    - ``optimizer.step()`` returns, so that the device works while Python records the next step;
    - a loop is about to begin (``Module.train()``, the start of a pass over a ``DataLoader``, ``zero_grad()`` where
      nothing was read yet);
    - ``backward()`` returns, for leaves that have been seen to accumulate gradients over several backwards per step:
      a step then does not grow with the number of micro-batches;
    - it holds ``config.max_trace`` calls, or on ``jtorch.sync()``.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager

import jax

from .. import config, errors
from ..devices import device as Device
from . import capture, checks, executor
from .aval import Hyper
from .call import Call
from .jaxapi import x64
from .program import output_order
from .value import Value, any_pinned, pinned


class _ThreadState(threading.local):
    def __init__(self):
        self.traces: dict[Device, Trace] = {}
        self.latest: Trace | None = None  # the trace recorded into last, closed or not: saves a look-up per call
        self.redirected = 0  # blocks of recording_into this thread is in
        self.step = 0  # optimizer steps finished on this thread


_state = _ThreadState()


class _Pending(Exception):
    """An operand is another trace's, which has to run first: without this trace's lock, or two threads that use each
    other's results would wait for each other."""

    def __init__(self, value: Value):
        self.value = value


def unread(value: Value) -> bool:
    """Whether a value of another trace has yet to be computed, or a check of another thread's to be read."""
    return value.array is None or (isinstance(value.error, checks.Check) and not value.error.mine())


def fetch(value: Value) -> None:
    """Run what a value waits for.

    Raises:
        RuntimeError: that was interrupted.
    """
    value.concrete("a value recorded by another thread or device is needed")
    if unread(value):
        raise RuntimeError("a value that is needed was never computed: the program it belongs to was interrupted")


class Trace:
    """Calls recorded on one thread for one device since the last flush."""

    __slots__ = (
        "device", "lock", "closed", "calls", "program", "n_slots", "refs", "scalars", "hypers", "leaf_arrays",
        "leaf_refs", "leaf_avals", "checks", "written", "owner", "negative_zeros",
        "mesh", "shared", "recurs",
    )  # fmt: skip

    runs = True  # as a program, unlike recordings that are made for other ends

    def __init__(self, device: Device, owner: dict):
        self.device, self.owner = device, owner
        self.lock = threading.RLock()
        self.closed = False
        self.calls: list[Call] = []
        self.program: list[int] = []
        self.n_slots = 0
        self.refs: list[weakref.ref] = []
        self.scalars: list = []
        self.negative_zeros: list[int] = []
        self.recurs = False  # whether a function under ``compile`` recorded some of it
        self.mesh = None  # of the first leaf that lies on several devices
        self.shared = False  # another thread's trace has read a leaf of this one meanwhile
        self.hypers: list[float] = []
        self.leaf_arrays: list = []
        self.leaf_refs: list[weakref.ref] = []
        self.leaf_avals: list[int] = []
        self.checks: list[tuple[int, str]] = []  # (index of a call with index operands, the user's line)
        self.written: list = []  # (weakref to a storage, its value before this trace wrote it)

    def leaf(self, value: Value) -> int:
        """The slot of a value that is not an output of this trace."""
        if value.array is None or value.error is not None and unread(value):
            raise _Pending(value)
        other = value.trace
        if other is not None and other.leaf_arrays:
            slot = self._read_by_both(value, other)
            if slot:
                return slot
        if value.sharding is not None and self.mesh is None:
            self.mesh = value.sharding.mesh
        self.leaf_arrays.append(value.array)
        self.leaf_refs.append(weakref.ref(value))
        self.leaf_avals.append(value.aval.id)
        slot = -len(self.leaf_arrays)
        value.trace, value.slot = self, slot
        return slot

    def slot_of(self, value: Value) -> int:
        """The slot of any value; for callers that do not hold this trace's lock."""
        if value.trace is self:
            return value.slot
        while True:
            try:
                return self.leaf(value)
            except _Pending:
                fetch(value)

    def _read_by_both(self, value: Value, other: Trace) -> int:
        """Another thread's trace, which has not run yet, reads this buffer too: neither may donate it.

        Nor what else they read, or which buffers a program may reuse, and so which program it is, would be a matter of
        which thread came first. Returns the slot that ``value`` has in this trace already, or 0.
        """
        value.pin()
        if not (self.runs and other.runs):
            return 0
        self.shared = other.shared = True
        for i, ref in enumerate(self.leaf_refs):
            if ref() is value:
                value.trace, value.slot = self, -1 - i
                return -1 - i
        return 0

    def leaves(self, values: list[Value]) -> list[int]:
        """The slots of many values."""
        return [v.slot if v.trace is self else self.leaf(v) for v in values]

    def append(self, call: Call, operands) -> list[Value]:
        """Record ``call`` on flat operands (Values and Python numbers) and return its pending results."""
        program = self.program
        before = len(program), len(self.hypers), len(self.scalars)
        program.append(call.id)
        try:
            for kind, operand in zip(call.in_kinds, operands, strict=True):
                if kind is None:
                    program.append(operand.slot if operand.trace is self else self.leaf(operand))
                elif kind is Hyper:
                    self.hypers.append(operand if isinstance(operand, float) else float(operand))
                else:
                    if operand == 0 and str(operand)[0] == "-":
                        self.negative_zeros.append(len(self.scalars))  # equal to 0.0, and another number
                    self.scalars.append(operand)
        except Exception:  # an operand that failed earlier: this call was never recorded
            del program[before[0] :], self.hypers[before[1] :], self.scalars[before[2] :]
            raise
        if call.check is not None:
            self.checks.append((len(self.calls), errors.user_line()))
        self.calls.append(call)
        out = []
        slot, refs, dev = self.n_slots, self.refs, self.device
        for a in call.out_avals:
            value = Value(a, dev)
            value.trace, value.slot = self, slot
            refs.append(weakref.ref(value))
            out.append(value)
            slot += 1
        self.n_slots = slot
        return out

    def flush(self, cause: str) -> None:
        """Compile (or find) and start this trace's program, and resolve every value something still holds."""
        with self.lock:
            if self.closed:
                return
            capture.refuse(f"what is recorded has to run in the middle of the function ({cause})")
            self.closed = True
            # A program that goes on from an earlier one's results must know that those are sound: one with checks of
            # its own takes over the earlier verdict on the device, another waits for it here.
            earlier = None
            try:
                checks.poll() if self.checks else checks.settle()
            except IndexError as error:
                earlier = error
            if self.owner.get(self.device) is self:
                del self.owner[self.device]
            alive = [(i, v) for i, r in enumerate(self.refs) if (v := r()) is not None]
            try:
                if alive:
                    donate = tuple([r() is None for r in self.leaf_refs])
                    if self.shared:
                        donate = (False,) * len(donate)
                    elif any_pinned():
                        donate = tuple([d and not pinned(a) for d, a in zip(donate, self.leaf_arrays, strict=True)])
                    rewritten = self._rewritten()
                    values = dict(alive)
                    alive = [(s, values[s]) for s in output_order(values, rewritten, donate)]
                    shardings = self._spread(rewritten, alive) if self.mesh is not None else None
                    entry, outputs, word = executor.run(
                        self, tuple([i for i, _ in alive]), donate, tuple(rewritten.items()), shardings, cause
                    )
                    for (_, value), array in zip(alive, outputs, strict=True):
                        value.array, value.trace = array, None
                        if shardings is not None:
                            value.sharding = array.sharding
                    if word is not None:
                        checks.expect(word, self, entry, [(s, v) for s, v in alive if s not in rewritten])
            except Exception as error:
                self._fail(alive, error)
                raise
            except BaseException as stop:  # Ctrl-C while it compiles
                self._fail(alive, RuntimeError(f"the program that computes this was interrupted ({stop!r})"))
                raise
            finally:
                for name in ("calls", "program", "refs", "scalars", "hypers", "leaf_arrays", "leaf_refs", "written"):
                    setattr(self, name, [])
            if earlier is not None:
                raise earlier

    def discard(self) -> bool:
        """Forget what was recorded, if nobody holds a result of it; whether that was so."""
        with self.lock:
            if self.closed or any(r() is not None for r in self.refs):
                return False
            self.closed = True
            if self.owner.get(self.device) is self:
                del self.owner[self.device]
            for name in ("calls", "program", "refs", "scalars", "hypers", "leaf_arrays", "leaf_refs", "written"):
                setattr(self, name, [])
            return True

    def _rewritten(self) -> dict[int, int]:
        """``{output slot: leaf slot}`` of storages this trace rewrites, in slot order."""
        found = {}
        for storage_ref, before in self.written:
            storage = storage_ref()
            if storage is not None and isinstance(before, int) and storage.value.trace is self:
                found[storage.value.slot] = before
        return {slot: found[slot] for slot in sorted(found) if slot >= 0}

    def _spread(self, rewritten: dict[int, int], alive) -> tuple:
        """Bring every leaf onto the mesh (replicated unless it is sharded); the program's input and output shardings.

        A storage that is rewritten keeps its sharding; where other results lie is XLA's choice.
        """
        replicated = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec())
        inputs = []
        for i, (array, ref) in enumerate(zip(self.leaf_arrays, self.leaf_refs, strict=True)):
            value = ref()
            if len(array.sharding.device_set) == 1:
                with x64(True):
                    array = self.leaf_arrays[i] = jax.device_put(array, replicated)
                if value is not None:
                    value.array, value.sharding = array, replicated
            inputs.append(array.sharding)
        outputs = tuple(inputs[-1 - rewritten[slot]] if slot in rewritten else None for slot, _ in alive)
        return tuple(inputs), outputs, replicated

    def _fail(self, alive, error: Exception) -> None:
        """Give every value of this trace the error, and written storages their last good value where there is one."""
        for storage_ref, before in self.written:
            storage = storage_ref()
            if storage is None or storage.value.trace is not self:
                continue
            if isinstance(before, int):  # a leaf of this trace, whose owner is gone
                array = self.leaf_arrays[-1 - before]
                if not getattr(array, "is_deleted", lambda: False)():
                    storage.value = Value(storage.value.aval, self.device, array)
            elif (value := before()) is not None:
                storage.value = value
        for _, value in alive:
            value.error, value.trace = error, None


def record(call: Call, operands, device: Device) -> list[Value]:
    """Append a call to this thread's trace for ``device``; results are pending Values.

    On the meta device nothing is recorded: the results are avals without data.
    """
    state = _state
    trace = state.latest
    if trace is None or trace.closed or trace.device is not device:
        trace = state.traces.get(device)
        if trace is None:
            if device.type == "meta":
                return [Value(a, device) for a in call.out_avals]
            trace = state.traces[device] = Trace(device, state.traces)
        state.latest = trace
    try:
        with trace.lock:
            if not trace.closed:
                out = trace.append(call, operands)
                if len(trace.calls) >= config.max_trace:
                    trace.flush(f"trace length {config.max_trace}")
                return out
    except _Pending as needed:
        value = needed.value
    else:
        value = None  # another thread flushed it just now
    if value is not None:
        fetch(value)
    return record(call, operands, device)


def note_write(storage, before: Value) -> None:
    """A storage is about to be rebound from ``before``: remember it, should the trace fail."""
    trace = _state.latest
    if trace is None or trace.closed or trace.device is not before.device:
        trace = _state.traces.get(before.device)
        if trace is None:
            return
    if before.trace is trace:
        if before.slot < 0:
            trace.written.append((weakref.ref(storage), before.slot))
    elif before.array is not None:
        trace.written.append((weakref.ref(storage), weakref.ref(before)))


@contextmanager
def recording_into(trace: Trace):
    """Record into ``trace`` on this thread inside the block, instead of the thread's own traces."""
    before = _state.traces, _state.latest
    trace.owner[trace.device] = trace
    _state.traces, _state.latest = trace.owner, trace
    _state.redirected += 1
    try:
        yield trace
    finally:
        _state.redirected -= 1
        _state.traces, _state.latest = before


def trace_for(device: Device) -> Trace:
    """This thread's open trace for a device."""
    trace = _state.traces.get(device)
    if trace is None or trace.closed:
        trace = _state.traces[device] = Trace(device, _state.traces)
    _state.latest = trace
    return trace


def open_traces() -> dict[Device, Trace]:
    """This thread's pending traces."""
    return {device: trace for device, trace in _state.traces.items() if not trace.closed}


def redirected() -> bool:
    """Whether this thread records into a trace that is not its own (:func:`recording_into`)."""
    return _state.redirected > 0


def idle(device: Device) -> bool:
    """Whether this thread has nothing pending on a device."""
    return device.type != "meta" and device not in _state.traces


def flush_all(cause: str) -> None:
    """Flush this thread's pending traces on every device.

    Raises:
        IndexError: an index operand of something that ran before was out of range.
    """
    for trace in list(_state.traces.values()):
        trace.flush(cause)


def boundary(cause: str, constants: bool = False) -> None:
    """A loop is about to begin: start what was recorded, which would else make its first step another program than the
    others, and cost a second compilation. Or it may have gone round, without reading anything. Not while a function is
    captured, or recorded without running.

    Args:
        constants: only where all of it is made from nothing (``linspace``), and so has to do with no batch.
    """
    if not _state.traces or capture.state.log is not None or _state.redirected:
        return
    if not (constants and any(trace.leaf_arrays for trace in _state.traces.values())):
        flush_all(cause)


def step_boundary() -> None:
    """An optimizer finished a step: start what was recorded, without waiting for it."""
    _state.step += 1
    log = capture.state.log
    if log is not None:
        log.steps += 1
        if log.hold:
            return  # a function that is captured is one stretch: the trace ends where the function does
    with capture.watching(None):
        flush_all("optimizer.step()")


def current_step() -> int:
    """How many optimizer steps this thread has finished."""
    return _state.step


def backward_boundary(accumulates: bool) -> None:
    """A ``backward()`` finished; ``accumulates``: it reached leaves that take part in several backwards per step."""
    log = capture.state.log
    if log is not None:
        log.backwards += 1
        log.accumulates |= accumulates
    if accumulates and (log is None or not log.hold):
        with capture.watching(None):
            flush_all("backward() that accumulates gradients")


def sync() -> None:
    """Run everything recorded on this thread and wait until it is done.

    Raises:
        IndexError: an index operand was out of range in anything that ran.
    """
    flush_all("jtorch.sync()")
    executor.wait()
