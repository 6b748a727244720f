"""Keeping the processors of a crowded virtual machine awake while programs run or are compiled.

XLA's threads sleep whenever they wait for one another, some 200 times in a small training step. On a virtual machine
whose host has more to run than it has processors, a processor that sleeps is given to somebody else and comes back
milliseconds later. (PyTorch's OpenMP threads spin where they wait, and keep theirs.) So while programs run, and only
where the host is seen to take time away, each processor gets a thread that spins at the lowest priority: anything
else displaces it at once. See docs/decisions/0016-processors-kept-awake.md.

The threads are the C library's own: started at ``pthread_spin_lock``, they wait in it for a lock that is held until
they are to end, so that they never need Python's interpreter lock, which a thread of that priority must not hold.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from .. import config

#: seconds between looks at the processors' times, and from the last work to the end of watching
_PERIOD, _LINGER = 0.25, 1.0
#: the share of their time that others must have taken to begin; that ends it; and for so many looks
_CROWDED, _CALM, _CALM_LOOKS = 0.05, 0.01, 8
#: with more processors than this none is kept awake; only two were measured
_MOST_PROCESSORS = 16


class Times(list):
    """What Linux counts of all processors' time, in ticks: ``user nice system idle iowait irq softirq steal …``."""

    @classmethod
    def now(cls) -> Times:
        try:
            with open("/proc/stat") as file:
                return cls(int(word) for word in file.readline().split()[1:9])
        except OSError:  # not Linux
            return cls([0] * 8)

    def stolen_since(self, before: Times) -> float:
        """The share of the time since then in which processors had work, and the host ran something else."""
        return (self[7] - before[7]) / max(1, sum(self) - sum(before))


class Spinner:
    """A thread that keeps one processor awake until it is told to end.

    Raises:
        OSError: it cannot be started, or not be given the lowest priority.
    """

    def __init__(self, processor: int):
        library = ctypes.CDLL(None)
        self._lock, self._thread = ctypes.c_int(), ctypes.c_ulong()
        lock = ctypes.byref(self._lock)
        library.pthread_spin_init(lock, 0)
        library.pthread_spin_lock(lock)
        if library.pthread_create(ctypes.byref(self._thread), None, library.pthread_spin_lock, lock):
            raise OSError("pthread_create: no thread could be started")
        lowest = ctypes.c_int(0)  # struct sched_param
        if library.pthread_setschedparam(self._thread, os.SCHED_IDLE, ctypes.byref(lowest)):
            self.end()
            raise OSError("pthread_setschedparam: SCHED_IDLE is not allowed")
        mask = (ctypes.c_ubyte * 128)()
        mask[processor // 8] = 1 << processor % 8
        library.pthread_setaffinity_np(self._thread, ctypes.c_size_t(len(mask)), mask)

    def end(self) -> None:
        """Have the thread take the lock it waits for, and so return."""
        library = ctypes.CDLL(None)
        library.pthread_spin_unlock(ctypes.byref(self._lock))
        library.pthread_join(self._thread, None)


class Watch:
    """Decides, from one look at the processors' times after the other, whether they are kept awake."""

    def __init__(self, spinner=Spinner):
        self._spinner, self._spinners = spinner, []
        self._crowded, self._calm = False, 0

    @property
    def spinning(self) -> bool:
        return bool(self._spinners)

    def look(self, stolen: float) -> None:
        """Begin, go on or end, after a time of which others had this share."""
        self._calm = self._calm + 1 if stolen < _CALM else 0
        self._crowded = stolen > _CROWDED or self._crowded and self._calm < _CALM_LOOKS
        if not self._crowded:
            self.rest()
        elif not self.spinning:
            for processor in sorted(os.sched_getaffinity(0)):
                self._spinners.append(self._spinner(processor))

    def rest(self) -> None:
        """There is nothing to do; begin at once when there is again, as long as the machine is taken to be crowded."""
        while self._spinners:
            self._spinners.pop().end()


def _quota() -> bool:
    """Whether this container may use so much processor time and no more: spinning would use it up."""
    for name, unlimited in (("cpu.max", "max"), ("cpu/cpu.cfs_quota_us", "-1")):
        try:
            return Path("/sys/fs/cgroup", name).read_text().split()[0] != unlimited
        except (OSError, IndexError):
            continue
    return False


def possible() -> bool:
    """Whether processors can be kept awake here: on Linux, few of them, without a quota, if a trial succeeds."""
    if not hasattr(os, "SCHED_IDLE") or not os.path.exists("/proc/stat") or _quota():
        return False
    processors = os.sched_getaffinity(0)
    if len(processors) > _MOST_PROCESSORS:
        return False
    try:
        Spinner(min(processors)).end()
    except (OSError, AttributeError):  # not allowed, or a C library that has no such threads
        return False
    return True


class _State:
    lock, turn = threading.Lock(), threading.Lock()
    watch = Watch()
    times = Times.now()  # of the last look; the first counts from here
    watching = False
    last_work = 0.0
    compilations = 0


@contextmanager
def compiling():
    """There is work for this machine's processors inside the block."""
    with _State.lock:
        _State.compilations += 1
    working()
    try:
        yield
    finally:
        with _State.lock:
            _State.compilations -= 1
        _State.last_work = time.monotonic()


def working() -> None:
    """A program has been started on this machine's processors. Called at each start, so it must cost nothing."""
    _State.last_work = time.monotonic()
    if config.keep_awake and not _State.watching:
        with _State.lock:
            if not _State.watching:
                _State.watching = True
                if possible():  # if not, nobody watches for the rest of this process
                    threading.Thread(target=_keep_watch, name="jtorch-awake", daemon=True).start()


def _looks_on() -> bool:
    """One look and a pause; whether there was work meanwhile."""
    before, _State.times = _State.times, Times.now()
    _State.watch.look(_State.times.stolen_since(before))
    time.sleep(_PERIOD)
    with _State.lock:
        idle = time.monotonic() - _State.last_work > _LINGER and not _State.compilations
        _State.watching = config.keep_awake and not idle
        return _State.watching


def _keep_watch() -> None:
    with _State.turn:  # after the last thread's rest
        try:
            while _looks_on():
                pass
        finally:
            _State.watch.rest()


def _in_child() -> None:
    """A forked process has neither the thread that watches nor the threads that spin."""
    _State.lock, _State.turn, _State.watch = threading.Lock(), threading.Lock(), Watch()
    _State.watching, _State.compilations = False, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
