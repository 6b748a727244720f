"""One process of a job: joining ``jax.distributed``, noticing the end of other processes, and leaving.

XLA's collectives cannot be interrupted, and they may wait for ever for a process that is gone. So each process keeps a
connection to the store's server, which tells the others when it closes. A collective that fails then names the rank
that is gone; one that hangs ends the process, a few seconds later, with the same message.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import socket
import sys
import threading
import time
from collections import deque
from datetime import timedelta

import jax

from ..trace import jaxapi
from ..trace.recorder import sync
from . import programs
from .constants import DistBackendError, DistNetworkError, DistStoreError
from .mailbox import Mailbox
from .store import Store
from .tcp_store import TCPStore, connect, is_loopback, listen, receive, send

#: Seconds between the death of a process and the end of those that hang in a collective with it.
GRACE = 5.0
#: The same where a process has ended its program in order, and what it sent may still be on its way.
PATIENCE = 30.0
#: Seconds rank 0 stays when another has died, for JAX ends the others where the coordinator is gone, in mid-message.
FAREWELL = 3.0
#: Seconds a collective may outlast the job's timeout before the process is ended.
MARGIN = 10.0
_STATUS = re.compile(r"[A-Z_]+: ")  # how the message of an XLA error begins


class Monitor:
    """Knows which processes of the job are gone, and what this one waits for."""

    def __init__(self, host: str, port: int, rank: int, world_size: int, timeout: float):
        self.rank, self.world_size, self.timeout = rank, world_size, timeout
        self.lost: dict[int, str] = {}
        self.left: set[int] = set()
        self.gone_since: dict[int, float] = {}
        self.waiting: dict[object, tuple[str, tuple[int, ...], float, float]] = {}  # what the threads wait for now
        self.under_way: deque[tuple[str, tuple[int, ...], float, jax.Array]] = deque()  # started, not waited for
        self.changed = threading.Condition()
        self._closed = threading.Event()
        self.socket = connect(host, port, timeout)
        send(self.socket, "member", str(rank), f"process {os.getpid()} on {socket.gethostname()}")
        answer = receive(self.socket)
        if answer is None or answer[0] != b"welcome":
            why = answer[1].decode() if answer else "the process that serves the store is gone"
            raise DistNetworkError(f"rank {rank} cannot join the job: {why}")
        threading.Thread(target=self._listen, name="job", daemon=True).start()
        self._watchdog = threading.Thread(target=self._watch, name="job watchdog", daemon=True)
        self._watchdog.start()

    def _listen(self) -> None:
        while True:
            message = receive(self.socket)
            with self.changed:
                if message is None:
                    if not self._closed.is_set():
                        self.lost.setdefault(0, "the process through which the ranks keep contact")
                        self.gone_since.setdefault(0, time.monotonic())
                        self.changed.notify_all()
                    return
                kind, rank, *why = (m.decode() for m in message)
                if kind == "lost":
                    self.lost[int(rank)] = why[0]
                else:
                    self.left.add(int(rank))
                self.gone_since[int(rank)] = time.monotonic()
                self.changed.notify_all()

    def _watch(self) -> None:
        while not self._closed.wait(0.5):
            while self.under_way and self.under_way[0][3].is_ready():
                self.under_way.popleft()
            now = time.monotonic()
            waiting = list(self.waiting.values())
            if self.under_way:
                waiting.append((*self.under_way[0][:3], PATIENCE))
            for name, ranks, since, patience in waiting:
                gone = self.gone(ranks)
                if any(r in self.lost for r in gone):
                    patience = GRACE
                if gone and now - max(since, *(self.gone_since[r] for r in gone)) > patience:
                    self._end(f"{name} cannot complete: {self.describe(gone)}")
                if now - since > self.timeout + MARGIN:
                    self._end(
                        f"{name} of ranks {list(ranks)} did not complete within the timeout of {self.timeout:.0f} s. "
                        "Some rank has not called it, or called something else: TORCH_DISTRIBUTED_DEBUG=DETAIL names it"
                    )

    def _end(self, why: str) -> None:
        print(f"[rank{self.rank}] {why}", file=sys.stderr, flush=True)
        self.see_off()
        end_now(1)

    def see_off(self) -> None:
        """Rank 0, which the coordinator of ``jax.distributed`` ends with, lets the others end first."""
        if self.rank == 0:
            with self.changed:
                self.changed.wait_for(lambda: len(self.gone_since) >= self.world_size - 1, FAREWELL)

    def describe(self, ranks) -> str:
        """What is known about ranks that are gone."""
        return "; ".join(
            f"rank {r} died ({self.lost[r]})" if r in self.lost else f"the program of rank {r} has ended" for r in ranks
        )

    def gone(self, ranks) -> list[int]:
        """Which of ``ranks`` can take part in nothing more."""
        return [r for r in ranks if r in self.gone_since]

    @contextlib.contextmanager
    def during(self, name: str, ranks: tuple[int, ...], started: bool = False):
        """While this thread waits for the other ranks.

        Args:
            started: the operation is under way. A rank that has ended its program may have done its part in it.

        Raises:
            DistBackendError: one of them is gone, or the operation failed.
        """
        if not started and (gone := self.gone(ranks)):
            raise DistBackendError(f"[rank {self.rank}] {name} cannot start: {self.describe(gone)}")
        token = object()
        self.waiting[token] = name, ranks, time.monotonic(), PATIENCE if started else GRACE
        try:
            yield
        except (DistBackendError, DistStoreError):
            raise
        except (jax.errors.JaxRuntimeError, ValueError, DistNetworkError) as error:
            if isinstance(error, ValueError) and not _STATUS.match(str(error)):
                raise  # not XLA's
            with self.changed:  # the news may be slower than the failure
                self.changed.wait_for(lambda: self.gone(ranks), 2.0)
            gone = self.gone(ranks)
            what = self.describe(gone) if gone else str(error)
            raise DistBackendError(f"[rank {self.rank}] {name} failed: {what}") from error
        finally:
            del self.waiting[token]

    def started(self, name: str, ranks: tuple[int, ...], token: jax.Array) -> None:
        """An operation goes on by itself; ``token`` is there when it has finished."""
        self.under_way.append((name, ranks, time.monotonic(), token))

    def leave(self) -> None:
        """Tell the others that this process takes part in nothing more."""
        with contextlib.suppress(OSError):
            send(self.socket, "leave")

    def close(self) -> None:
        self._closed.set()
        self._watchdog.join()  # a thread that lets go of an array while the interpreter ends aborts the process
        with contextlib.suppress(OSError):
            self.socket.close()


class Job:
    """This process's part in a job: its rank, the store, the monitor (None in a job of one process)."""

    def __init__(self, rank: int, world_size: int, store: Store, timeout: float):
        self.rank, self.world_size, self.store, self.timeout = rank, world_size, store, timeout
        self.monitor: Monitor | None = None
        self.tcp: TCPStore | None = None
        self.mailbox: Mailbox | None = None

    def during(self, name: str, ranks: tuple[int, ...], started: bool = False):
        """A block in which this process waits for ``ranks``; see :meth:`Monitor.during`."""
        return contextlib.nullcontext() if self.monitor is None else self.monitor.during(name, ranks, started)

    def barrier(self, key: str, ranks: tuple[int, ...], timeout: float, name: str = "barrier") -> list[int]:
        """Wait until all ``ranks`` have come to ``key``; those that have not come in time.

        Raises:
            DistBackendError: a rank is gone and will not come.
        """
        if self.tcp is None:
            return []
        with self.during(name, ranks):
            missing, gone = self.tcp.ask("barrier", key, str(self.rank), ",".join(map(str, ranks)), str(timeout))
            if gone:
                found = [int(r) for r in gone.split(b",")]
                with self.monitor.changed:
                    self.monitor.changed.wait_for(lambda: self.monitor.gone(found), 2.0)
                raise DistBackendError(f"[rank {self.rank}] {name} failed: {self.monitor.describe(found)}")
        return [int(r) for r in missing.split(b",")] if missing else []


_members_of_jax = False  # this process has joined jax.distributed, which it can do once


def join(rank: int, world_size: int, store: Store, timeout: float, device_index: int | None = None) -> Job:
    """Join the job, or make one of a single process.

    Raises:
        RuntimeError: JAX's backend has started already, or this process has belonged to a job before.
        DistStoreError: not all ranks came in time.
        ValueError: ranks disagree about the world size.
    """
    global _members_of_jax
    job = Job(rank, world_size, store, timeout)
    if world_size == 1:
        return job
    if _members_of_jax:
        raise RuntimeError(
            "init_process_group: this process has been part of a job of several processes before, and JAX lets a "
            "process join one only. Keep the group (new_group makes others), or start new processes"
        )
    if jaxapi.backend_started():
        raise RuntimeError(
            "init_process_group must come before anything that starts JAX's backend: creating a tensor, moving a "
            "module, asking for the number of devices. Call it at the beginning of the program"
        )
    host, tcp = _common_store(store, rank, timeout)
    job.tcp, job.monitor = tcp, Monitor(host, tcp.port, rank, world_size, timeout)
    try:
        job.mailbox = Mailbox(job, _address_towards(host, tcp.port))
        _agree(job, world_size)
        coordinator = _coordinator(job, host)
        _join_jax(job, coordinator, device_index)
    except BaseException:
        job.monitor.close()
        raise
    _members_of_jax = True
    _install_exits(job)
    return job


def _common_store(store: Store, rank: int, timeout: float) -> tuple[str, TCPStore]:
    """A TCP store between the ranks: the given one, or a new one made known through it."""
    if isinstance(store, TCPStore):
        return store.host, store
    if rank == 0:
        host = _own_address()
        tcp = TCPStore(host, 0, is_master=True, timeout=timedelta(seconds=timeout))
        store.set("jtorch/store", f"{host} {tcp.port}")
        return host, tcp
    host, port = store.get("jtorch/store", timedelta(seconds=timeout)).decode().split()
    return host, TCPStore(host, int(port), timeout=timedelta(seconds=timeout))


def _address_towards(host: str, port: int) -> str:
    """Under which address the other ranks reach this machine: the one it reaches rank 0 from."""
    with connect(host, port, 5.0) as sock:
        return sock.getsockname()[0]


def _own_address() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def _agree(job: Job, world_size: int) -> None:
    """All ranks are here and expect the same number."""
    if job.rank == 0:
        job.tcp.set("jtorch/world_size", str(world_size))
    theirs = int(job.tcp.get("jtorch/world_size", timedelta(seconds=job.timeout)))
    if theirs != world_size:
        raise ValueError(f"rank {job.rank} was told that world_size is {world_size}, rank 0 that it is {theirs}")
    missing = job.barrier("jtorch/join", tuple(range(world_size)), job.timeout, "init_process_group")
    if missing:
        raise DistStoreError(
            f"Timed out after {job.timeout:.0f} seconds waiting for clients. {world_size - len(missing)}/{world_size} "
            f"clients joined; ranks {missing} are missing. Is world_size right, and were all processes started?"
        )


def _coordinator(job: Job, host: str) -> str:
    """The address of JAX's coordination service, which runs beside rank 0."""
    if job.rank == 0:
        with listen(host, 0) as free:
            port = free.getsockname()[1]
        job.tcp.set("jtorch/coordinator", f"{host}:{port}")
    return job.tcp.get("jtorch/coordinator", timedelta(seconds=job.timeout)).decode()


def _local_index(job: Job) -> int:
    """Which of its machine's devices is this process's: ``LOCAL_RANK``, or its number among those of the machine."""
    if os.environ.get("LOCAL_RANK", "").isdigit():
        return int(os.environ["LOCAL_RANK"])
    job.tcp.set(f"jtorch/host/{job.rank}", socket.gethostname())
    before = [job.tcp.get(f"jtorch/host/{r}") for r in range(job.rank)]
    return before.count(socket.gethostname().encode())


def _join_jax(job: Job, coordinator: str, device_index: int | None) -> None:
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    if (os.cpu_count() or 1) < 2:
        os.environ.setdefault("NPROC", "2")  # a collective occupies a thread of XLA's pool while it waits
    flag = "--xla_cpu_collective_timeout_seconds"
    if flag not in os.environ.get("XLA_FLAGS", "") and job.timeout != 1800:  # which is XLA's own default
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}={max(1, round(job.timeout))}".strip()
    index = _local_index(job) if device_index is None else device_index
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    one_visible = bool(visible) and "," not in visible  # the launcher has chosen already
    quick = max(10, min(30, round(job.timeout)))
    jax.distributed.initialize(
        coordinator,
        job.world_size,
        job.rank,
        local_device_ids=None if one_visible else [index],
        cluster_detection_method="deactivate",
        initialization_timeout=max(10, round(job.timeout)),
        heartbeat_timeout_seconds=quick,
        shutdown_timeout_seconds=max(300, round(job.timeout)),
        coordinator_bind_address=coordinator if is_loopback(coordinator.rpartition(":")[0]) else None,
    )
    with job.during("init_process_group", tuple(range(job.world_size))):
        jax.devices()  # all ranks exchange what devices they have


# --- the end of the process ----------------------------------------------------------------------------------------

_current: Job | None = None
_exit_code: int | str | None = None


def _install_exits(job: Job) -> None:
    global _current
    _current = job
    previous_hook, previous_exit = sys.excepthook, sys.exit

    def on_exception(kind, error, traceback):
        previous_hook(kind, error, traceback)
        if _current is None or hasattr(sys, "ps1"):
            return
        if gone := _current.monitor.gone(range(job.world_size)):
            print(f"[rank{job.rank}] {_current.monitor.describe(gone)}", file=sys.stderr, flush=True)
            _current.monitor.see_off()
        # JAX would wait for the other processes, and they for this one.
        end_now(130 if issubclass(kind, KeyboardInterrupt) else 1)

    def leave(code=None, /):
        global _exit_code
        _exit_code = code
        previous_exit(code)

    sys.excepthook, sys.exit = on_exception, leave
    atexit.register(_at_exit)


def end_now(code: int) -> None:
    """End this process at once, so that the others learn of it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def _at_exit() -> None:
    """The program has ended without ``destroy_process_group``: wait for the others, unless it ended with an error."""
    job = _current
    if job is None:
        return
    if _exit_code not in (None, 0):
        end_now(_exit_code if isinstance(_exit_code, int) else 1)
    with contextlib.suppress(Exception):
        sync()
        programs.wait()
    monitor = job.monitor
    monitor.leave()
    others = set(range(job.world_size)) - {job.rank}
    with monitor.changed:
        monitor.changed.wait_for(lambda: others <= monitor.gone_since.keys())
    if monitor.lost:
        end_now(0)  # JAX's own farewell would abort this process for the sake of the one that is gone
    quit_job(job)


def quit_job(job: Job) -> None:
    """Leave ``jax.distributed`` and close connections; all ranks do so together."""
    global _current
    if job.monitor is None:
        return
    _current = None
    jax.distributed.shutdown()
    job.mailbox.close()
    job.monitor.leave()
    job.monitor.close()
    job.tcp.close()
