"""The processes of one machine: started together, ended together, started again after a failure.

XLA's collectives cannot go on without a rank, and a process joins one job only. So a failure ends all ranks, and a
restart begins them all anew, on another port; the program goes on from its checkpoint.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from jtorch.distributed.elastic.multiprocessing import errors

#: Seconds between SIGTERM and SIGKILL.
GRACE = 5.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Spec:
    """What to run, how often, and where its output goes. Streams: 1 is stdout, 2 stderr, 3 both."""

    command: list[str]
    nproc: int
    nnodes: int = 1
    node_rank: int = 0
    master_addr: str = "127.0.0.1"
    master_port: int = 0  # 0: a free one at each attempt
    max_restarts: int = 0
    interval: float = 0.1
    run_id: str = "none"
    role: str = "default"
    log_dir: str | None = None
    redirects: dict[int, int] = field(default_factory=dict)
    tee: dict[int, int] = field(default_factory=dict)


def free_port(host: str) -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def _own_group() -> None:
    """In the child: a process group of its own, which ends with the launcher however that ends."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Worker:
    """One started rank."""

    def __init__(self, spec: Spec, local_rank: int, attempt: int, port: int):
        self.local_rank, self.rank = local_rank, spec.node_rank * spec.nproc + local_rank
        folder = os.path.join(spec.log_dir, f"attempt_{attempt}", str(local_rank))
        os.makedirs(folder, exist_ok=True)
        self.error_file = os.path.join(folder, "error.json")
        redirect, tee = spec.redirects.get(local_rank, 0), spec.tee.get(local_rank, 0)
        self.files, streams = [], {}
        for bit, name in ((1, "stdout"), (2, "stderr")):
            if tee & bit:
                streams[name] = subprocess.PIPE
            elif redirect & bit:
                streams[name] = open(os.path.join(folder, f"{name}.log"), "wb")
                self.files.append(streams[name])
        self.process = subprocess.Popen(
            spec.command, env=self._environment(spec, attempt, port), preexec_fn=_own_group, **streams
        )
        for file in self.files:
            file.close()
        prefix = f"[{spec.role}{local_rank}]:".encode()
        self.pumps = []
        for name in ("stdout", "stderr"):
            source = getattr(self.process, name)
            if source is not None:
                copy = os.path.join(folder, f"{name}.log")
                pump = threading.Thread(target=_pump, args=(source, getattr(sys, name), prefix, copy), daemon=True)
                pump.start()
                self.pumps.append(pump)

    def _environment(self, spec: Spec, attempt: int, port: int) -> dict[str, str]:
        world = spec.nproc * spec.nnodes
        new = {
            "LOCAL_RANK": self.local_rank, "RANK": self.rank, "GROUP_RANK": spec.node_rank, "ROLE_RANK": self.rank,
            "ROLE_NAME": spec.role, "LOCAL_WORLD_SIZE": spec.nproc, "WORLD_SIZE": world,
            "GROUP_WORLD_SIZE": spec.nnodes, "ROLE_WORLD_SIZE": world, "MASTER_ADDR": spec.master_addr,
            "MASTER_PORT": port, "TORCHELASTIC_RESTART_COUNT": attempt,
            "TORCHELASTIC_MAX_RESTARTS": spec.max_restarts, "TORCHELASTIC_RUN_ID": spec.run_id,
            "TORCHELASTIC_USE_AGENT_STORE": False,  # rank 0 serves the store itself
            "TORCHELASTIC_ERROR_FILE": self.error_file,
        }  # fmt: skip
        environment = {**os.environ, **{name: str(value) for name, value in new.items()}}
        if spec.nproc > 1:
            environment.setdefault("OMP_NUM_THREADS", "1")
        return environment

    def signal(self, number: int) -> None:
        """Send a signal to the rank and the processes it started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def failure(self) -> errors.ProcessFailure:
        """How it ended."""
        said = errors.read(self.error_file) or {}
        return errors.ProcessFailure(
            self.local_rank, self.process.pid, self.process.returncode, self.error_file,
            said.get("message", ""), said.get("timestamp", int(time.time())),
        )  # fmt: skip


_output = threading.Lock()


def _pump(source, target, prefix: bytes, copy: str) -> None:
    """Copy lines to the launcher's stream, with the rank before each, and to a log file."""
    with source, open(copy, "wb", buffering=0) as file:
        for line in source:
            file.write(line)
            with _output:
                target.buffer.write(prefix + line)
                target.flush()


class Agent:
    """Runs a :class:`Spec` to its end."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self.workers: list[Worker] = []
        self.received: int | None = None
        self.failures: dict[int, errors.ProcessFailure] = {}  # of the last attempt, by rank

    def run(self) -> int:
        """The exit code: 0 if an attempt succeeded, 128 + n after signal n, else 1."""
        before = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            for attempt in range(self.spec.max_restarts + 1):
                failed = self._attempt(attempt)
                if self.received is not None:
                    return 128 + self.received
                self.failures = {worker.rank: worker.failure() for worker in failed}
                if not failed:
                    return 0
                left = self.spec.max_restarts - attempt
                print(self._summary(attempt, left), file=sys.stderr, flush=True)
            return 1
        finally:
            self._end(signal.SIGTERM)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame) -> None:
        self.received = number

    def _attempt(self, attempt: int) -> list[Worker]:
        """Run all ranks once; those that failed by themselves."""
        spec = self.spec
        port = spec.master_port if spec.master_port and attempt == 0 else free_port(spec.master_addr)
        self.workers = []
        for local_rank in range(spec.nproc):
            self.workers.append(Worker(spec, local_rank, attempt, port))
        while self.received is None:
            codes = [worker.process.poll() for worker in self.workers]
            failed = [worker for worker, code in zip(self.workers, codes, strict=True) if code not in (None, 0)]
            if failed or all(code == 0 for code in codes):
                self._end(signal.SIGTERM)
                return failed
            time.sleep(spec.interval)
        self._end(self.received)
        return []

    def _end(self, number: int) -> None:
        """End every rank's group: ``number``, grace, SIGKILL."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.signal(number)
        deadline = time.monotonic() + GRACE
        for worker in self.workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        for worker in self.workers:
            worker.signal(signal.SIGKILL)  # also what a rank that has ended left behind
            worker.process.wait()
            for pump in worker.pumps:
                pump.join(GRACE)
        self.workers = []

    def _summary(self, attempt: int, left: int) -> str:
        then = (
            f"restarting all ranks ({left} restarts left)" if left else "no restarts left; the other ranks were ended"
        )
        command = " ".join(self.spec.command)
        ends = [failure.line(rank) for rank, failure in self.failures.items()]
        lines = [f"{command} FAILED (attempt {attempt})", *ends, f"  {then}"]
        return "\n".join(lines)
