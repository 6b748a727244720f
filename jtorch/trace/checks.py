"""Index checks. XLA clamps out-of-range indices; here each program with index operands returns a word of flags.

The words are read together with results. A program that follows one whose word has not been read yet takes over its
verdict on the device, so that the host need not wait between steps: once something has failed, every later program
of that thread keeps the storages it would rewrite.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque

import numpy as np

NOTHING_FAILED = np.zeros((), np.bool_)


class OutOfRange(IndexError, RuntimeError):
    """An index operand was out of range. PyTorch raises one type or the other, operation by operation."""


OutOfRange.__name__ = OutOfRange.__qualname__ = "IndexError"  # what it is called where it ends a program
OutOfRange.__module__ = "builtins"


#: Arrays computed with a bad index: no program may go on from them. Keyed by identity.
_worthless: dict[int, tuple[weakref.ref, Exception]] = {}


class Queue:
    """The words of one thread's programs that have not been read yet, oldest first.

    Another thread may read them too, for the sake of a value it wants; what it finds is kept for the thread whose
    program failed.
    """

    def __init__(self):
        self.pending: deque[Check] = deque()
        self.lock = threading.RLock()
        self.error: Exception | None = None  # of the last program that failed: those after it share its verdict
        self.unheard: Exception | None = None  # found and not raised yet

    def settle(self, last: Check | None = None) -> None:
        """Read every word up to ``last``, waiting for the programs."""
        with self.lock:
            if not self.pending or last is not None and last not in self.pending:
                return
            # each word takes over the verdict of the one before: where the newest tells of nothing, none does
            sound = not np.asarray((last or self.pending[-1]).flags).any()
            while self.pending:
                check = self.pending.popleft()
                if sound:
                    self.error = None
                    check.release()
                else:
                    self._read(check)
                if check is last:
                    return

    def _read(self, check: Check) -> None:
        before, *flags = np.asarray(check.flags).tolist()
        if not before:
            self.error = None
        spoiled = error = None
        if before and self.error is not None:
            error = self.error  # it went on from a failed program: nothing it made counts
        elif before or any(flags):
            index, call, line = check.lines[flags.index(True)]
            kind = OutOfRange if call.error is IndexError else call.error
            error = self.error = kind(f"{call.message} (in {call.name}, recorded at {line})")
            self.unheard = self.unheard or error
            spoiled = check.program.spoiled(index)
        if error is None:
            check.release()
            return
        for slot, ref in check.values:
            value = ref()
            if value is None or value.error is not check:
                continue
            if spoiled is not None and slot not in spoiled:
                value.error = None
                continue
            key, array = id(value.array), value.array
            _worthless[key] = (weakref.ref(array, lambda _, key=key: _worthless.pop(key, None)), error)
            value.array, value.error = None, error

    def raise_found(self) -> None:
        error, self.unheard = self.unheard, None
        if error is not None:
            raise error


class _ThisThread(threading.local):
    def __init__(self):
        self.queue = Queue()


_this_thread = _ThisThread()


class Check:
    """One program's word: flags still on the device, what they stand for, and the values at stake.

    Until it is read it stands in ``value.error`` of each of those values.
    """

    __slots__ = ("flags", "failed", "lines", "program", "values", "device", "mesh", "queue")

    def __init__(self, word, trace, entry, values):
        self.flags, self.failed = word
        self.lines = [(i, trace.calls[i], line) for i, line in trace.checks]
        self.program, self.device, self.mesh = entry.program, trace.device, trace.mesh
        self.values = [(slot, weakref.ref(v)) for slot, v in values]
        self.queue = _this_thread.queue

    def release(self) -> None:
        """Nothing failed: the values at stake are sound."""
        for _, ref in self.values:
            value = ref()
            if value is not None and value.error is self:
                value.error = None

    def mine(self) -> bool:
        """Whether this thread's program returned it: then its verdict is taken over on the device."""
        return self.queue is _this_thread.queue

    def settle(self) -> None:
        """Read this word: the values at stake know afterwards whether they are sound."""
        self.queue.settle(self)


def expect(word, trace, entry, values) -> None:
    """Remember a program's word, and the ``(slot, value)`` pairs that are at stake."""
    check = Check(word, trace, entry, values)
    for _, value in values:
        value.error = check
    with check.queue.lock:
        check.queue.pending.append(check)


def failed_before(trace):
    """Whether anything of this thread whose word has not been read yet has failed: known to the device only."""
    queue = _this_thread.queue
    with queue.lock:
        if not queue.pending:
            return NOTHING_FAILED
        last = queue.pending[-1]
        if last.device is trace.device and last.mesh is trace.mesh:
            return last.failed
    settle()
    return NOTHING_FAILED


def refuse_worthless(arrays) -> None:
    """Raise the error of the first array that was computed with a bad index."""
    if _worthless:
        for array in arrays:
            if id(array) in _worthless:
                raise _worthless[id(array)][1]


def settle() -> None:
    """Wait for every word of this thread: a host read is about to hand out results.

    Raises:
        IndexError: naming the op and the line that recorded it.
    """
    queue = _this_thread.queue
    if queue.pending:
        queue.settle()
    if queue.unheard is not None:
        queue.raise_found()


def poll(unread: int = 0) -> None:
    """Read the words of programs that have finished, without waiting for others.

    Args:
        unread: so many words are read at a time: reading one takes as long as some operations.

    Raises:
        IndexError: as :func:`settle`.
    """
    queue = _this_thread.queue
    with queue.lock:
        ready = None
        if unread:
            if len(queue.pending) >= unread and queue.pending[unread - 1].flags.is_ready():
                ready = queue.pending[unread - 1]
        else:
            for check in queue.pending:
                if not check.flags.is_ready():
                    break
                ready = check
        if ready is not None:
            queue.settle(ready)
    if queue.unheard is not None:
        queue.raise_found()
