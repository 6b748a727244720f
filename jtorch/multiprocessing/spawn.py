"""``spawn``: the same function in several processes, and one failure ends them all."""

from __future__ import annotations

import ctypes
import signal
import sys
import time
import traceback
import warnings
from multiprocessing import connection


class ProcessException(Exception):
    """A process failed: ``error_index`` is its number, ``error_pid`` its process id."""

    def __init__(self, msg: str, error_index: int, error_pid: int):
        super().__init__(msg)
        self.msg, self.error_index, self.error_pid = msg, error_index, error_pid

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.error_pid)


class ProcessRaisedException(ProcessException):
    """An exception in a process; the message holds its traceback."""


class ProcessExitedException(ProcessException):
    """A process ended by a signal (``signal_name``) or with a non-zero ``exit_code``."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.error_pid, self.exit_code, self.signal_name)


def die_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


def _run(fn, i: int, args: tuple, report) -> None:
    from multiprocessing import parent_process

    die_with_parent(signal.SIGINT)
    if parent_process() is not None and not parent_process().is_alive():
        return
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # the parent ends us
    except Exception:
        report.send(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """The processes of one :func:`start_processes`."""

    def __init__(self, processes: list, reports: list):
        self.processes, self.reports = processes, reports
        self.sentinels = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """The process ids, by number."""
        return [process.pid for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until a process ends; True when all have ended well.

        Args:
            timeout: seconds to wait at most.
            grace_period: when one fails, the seconds the others get before SIGTERM, and again before SIGKILL
                (default: none, and 30).

        Raises:
            ProcessRaisedException: a process raised; the others have been ended.
            ProcessExitedException: a process was killed, or exited with another code than 0.
        """
        for sentinel in connection.wait(list(self.sentinels), timeout):
            i = self.sentinels.pop(sentinel)
            self.processes[i].join()
            if self.processes[i].exitcode != 0:
                self._end(grace_period)
                raise self._error(i)
        return not self.sentinels

    def _end(self, grace: float | None) -> None:
        if grace is not None:
            self._join(grace)
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        self._join(30 if grace is None else grace)
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()

    def _join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))

    def _error(self, i: int) -> ProcessException:
        process = self.processes[i]
        try:
            text = self.reports[i].recv() if self.reports[i].poll() else None
        except EOFError:
            text = None
        if text is not None:
            message = f"\n\n-- Process {i} terminated with the following error:\n{text}"
            return ProcessRaisedException(message, i, process.pid)
        code = process.exitcode
        if code >= 0:
            return ProcessExitedException(f"process {i} terminated with exit code {code}", i, process.pid, code)
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"<Unknown signal {-code}>"
        return ProcessExitedException(f"process {i} terminated with signal {name}", i, process.pid, code, name)


class SpawnContext(ProcessContext):
    """The earlier name of :class:`ProcessContext`."""

    def __init__(self, processes, reports):
        warnings.warn("SpawnContext is renamed to ProcessContext since 1.4 release.", stacklevel=2)
        super().__init__(processes, reports)


def start_processes(fn, args=(), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method="spawn"):
    """Run ``fn(i, *args)`` in ``nprocs`` processes.

    Args:
        join: wait for them all, and raise if one fails; otherwise return a :class:`ProcessContext`.
        daemon: end them when this process ends.
        start_method: ``"spawn"``, ``"forkserver"`` or ``"fork"``.

    Raises:
        ProcessRaisedException, ProcessExitedException: as :meth:`ProcessContext.join`.
    """
    from jtorch.multiprocessing import get_context

    context = get_context(start_method)
    processes, reports = [], []
    for i in range(nprocs):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(fn, i, args, theirs), daemon=daemon)
        process.start()
        theirs.close()
        processes.append(process)
        reports.append(ours)
    started = ProcessContext(processes, reports)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(fn, args=(), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method="spawn"):
    """:func:`start_processes` with fresh interpreters, which import the script anew: it needs
    ``if __name__ == "__main__"``."""
    if start_method != "spawn":
        warnings.warn(
            f"This method only supports start_method=spawn (got: {start_method}).\n"
            "To use a different start_method use:\n\t\t torch.multiprocessing.start_processes(...)",
            FutureWarning,
            stacklevel=2,
        )
    return start_processes(fn, args, nprocs, join, daemon, "spawn")
