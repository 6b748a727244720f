"""Recording a stretch of a program with ``jax.profiler``, once or by a schedule of steps."""

from __future__ import annotations

import enum
import gzip
import json
import os
import pathlib
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax

from ..trace.recorder import sync
from .events import EventList


class ProfilerActivity(enum.Enum):
    """What may be recorded; JAX's profiler always records all there is."""

    CPU = 0
    XPU = 1
    CUDA = 2
    MTIA = 3
    HPU = 4


class ProfilerAction(enum.Enum):
    """What a schedule says about a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


def supported_activities() -> set[ProfilerActivity]:
    """The activities that :class:`profile` takes."""
    return {ProfilerActivity.CPU, ProfilerActivity.CUDA}


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0):
    """Steps in cycles: ``wait`` idle, ``warmup`` not recorded, ``active`` recorded; ``repeat`` cycles (0: no end)."""

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        cycle, step = divmod(step, wait + warmup + active)
        if repeat > 0 and cycle >= repeat:
            return ProfilerAction.NONE
        if step < wait:
            return ProfilerAction.NONE
        if step < wait + warmup:
            return ProfilerAction.WARMUP
        last = step == wait + warmup + active - 1
        return ProfilerAction.RECORD_AND_SAVE if last else ProfilerAction.RECORD

    return action


class profile:
    """``with profile() as prof:`` record what the block does.

    With a ``schedule`` call ``prof.step()`` after each step; ``on_trace_ready(prof)`` is called after each recorded
    cycle, otherwise at the end. Work is waited for where recording starts and stops.

    Args:
        activities, record_shapes, profile_memory, with_stack, with_flops, with_modules, acc_events: accepted; what is
            recorded is what ``jax.profiler`` records.
    """

    def __init__(
        self, *, activities=None, schedule: Callable[[int], ProfilerAction] | None = None, on_trace_ready=None,
        record_shapes: bool = False, profile_memory: bool = False, with_stack: bool = False, with_flops: bool = False,
        with_modules: bool = False, experimental_config=None, execution_trace_observer=None, acc_events: bool = False,
        use_cuda: bool | None = None, custom_trace_id_callback=None, post_processing_timeout_s: float | None = None,
    ):  # fmt: skip
        if experimental_config is not None or execution_trace_observer is not None:
            raise NotImplementedError("profile: experimental_config and execution_trace_observer belong to Kineto")
        self._schedule = schedule or (lambda step: ProfilerAction.RECORD)
        self._on_trace_ready = on_trace_ready
        self.step_num = 0
        self._folder: str | None = None
        self._trace: bytes | None = None
        self._metadata: dict[str, Any] = {}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def start(self) -> None:
        """Begin, as the schedule says of step 0."""
        if self._schedule(self.step_num) in _RECORDING:
            self._record()

    def step(self) -> None:
        """The next step begins."""
        before = self._schedule(self.step_num)
        self.step_num += 1
        if before is ProfilerAction.RECORD_AND_SAVE:
            self._finish()
        if self._folder is None and self._schedule(self.step_num) in _RECORDING:
            self._record()

    def stop(self) -> None:
        """End; what is being recorded is kept."""
        self._finish()

    def _record(self) -> None:
        sync()
        self._folder = tempfile.mkdtemp(prefix="jtorch-profile-")
        jax.profiler.start_trace(self._folder)

    def _finish(self) -> None:
        if self._folder is None:
            return
        folder, self._folder = self._folder, None
        try:
            sync()
            jax.profiler.stop_trace()
            found = list(pathlib.Path(folder).rglob("*.trace.json.gz"))
            if not found:
                raise RuntimeError("jax.profiler wrote no trace")
            self._trace = gzip.decompress(found[0].read_bytes())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if self._on_trace_ready is not None:
            self._on_trace_ready(self)

    def _recorded(self) -> bytes:
        if self._trace is None:
            raise RuntimeError("nothing is recorded yet: leave the `with` block, or call stop(), first")
        return self._trace

    def add_metadata(self, key: str, value: str) -> None:
        """A string to stand in exported traces under that key."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """A value, given as JSON, to stand in exported traces under that key."""
        self._metadata[key] = json.loads(value)

    def export_chrome_trace(self, path) -> None:
        """Write the events in Chrome's trace format (compressed if the name ends in ``.gz``)."""
        data = self._recorded()
        if self._metadata:
            data = json.dumps({**json.loads(data), **self._metadata}).encode()
        pathlib.Path(path).write_bytes(gzip.compress(data) if str(path).endswith(".gz") else data)

    def events(self) -> EventList:
        """Every recorded event."""
        return EventList.read(json.loads(self._recorded()))

    @property
    def function_events(self) -> EventList:
        """Every recorded event."""
        return self.events()

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds on the host."""
        return self.events().self_cpu_time_total

    def total_average(self):
        """All events as one."""
        return self.events().total_average()

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_name_column_width: int = 55) -> str:
        """Every recorded event as text."""
        return self.events().table(sort_by, row_limit, max_name_column_width)

    def __str__(self) -> str:
        return repr(self) if self._trace is None else self.table()

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """The events of each name as one, with their number and their total time.

        Shapes and stacks are not recorded: grouping by them warns, and groups by name.
        """
        if group_by_input_shape or group_by_stack_n:
            warnings.warn(
                "input shapes and stacks are not recorded by jax.profiler: key_averages() groups by name only",
                stacklevel=2,
            )
        return self.events().averages()


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False, use_python_export: bool = False
):
    """An ``on_trace_ready`` that writes each trace to a file of its own in ``dir_name``."""

    def handler(prof: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        name = f"{worker}.{time.time_ns()}.pt.trace.json" + (".gz" if use_gzip else "")
        prof.export_chrome_trace(os.path.join(dir_name, name))

    return handler
