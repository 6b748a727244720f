"""Processors are kept awake while programs run, where the host takes them away, and only then."""

import os
import subprocess
import sys
import threading
import time

import pytest

import jtorch
from jtorch import config
from jtorch.trace import awake

linux = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="the scheduler's idle class is Linux's")


class Counted:
    """Stands for a thread that spins."""

    alive = 0

    def __init__(self, processor):
        type(self).alive += 1

    def end(self):
        type(self).alive -= 1


def spinning_threads():
    policies = {}
    for task in map(int, os.listdir("/proc/self/task")):
        try:
            policies[task] = os.sched_getscheduler(task)
        except ProcessLookupError:  # ended meanwhile
            continue
    return [task for task, policy in policies.items() if policy == os.SCHED_IDLE]


def became(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_stolen_time_is_a_share_of_all_processors_time():
    before = awake.Times([100, 0, 10, 1000, 0, 0, 0, 50])
    after = awake.Times([130, 0, 10, 1060, 0, 0, 0, 60])
    assert after.stolen_since(before) == pytest.approx(0.1)
    assert before.stolen_since(before) == 0


@linux
def test_begins_when_time_is_stolen_and_ends_after_a_calm_while():
    watch, processors = awake.Watch(Counted), len(os.sched_getaffinity(0))
    watch.look(0.04)
    assert Counted.alive == 0
    watch.look(0.06)
    assert Counted.alive == processors
    for _ in range(7):
        watch.look(0.0)
    watch.look(0.02)  # neither calm nor crowded: the count starts again
    for _ in range(7):
        watch.look(0.0)
    assert watch.spinning
    watch.look(0.0)
    assert Counted.alive == 0 and not watch.spinning


@linux
def test_begins_again_at_once_after_a_rest():
    watch = awake.Watch(Counted)
    watch.look(0.5)
    watch.rest()
    assert Counted.alive == 0
    watch.look(0.0)
    assert watch.spinning
    watch.rest()


@linux
def test_a_spinner_runs_on_its_processor_at_the_lowest_priority_until_told():
    processor, before = max(os.sched_getaffinity(0)), set(spinning_threads())
    spinner = awake.Spinner(processor)
    try:
        (task,) = set(spinning_threads()) - before
        assert os.sched_getaffinity(task) == {processor}
        assert threading.active_count() == len(threading.enumerate())  # it is none of Python's
    finally:
        spinner.end()
    assert became(lambda: task not in spinning_threads())


@linux
def test_not_where_the_lowest_priority_is_refused(monkeypatch):
    assert awake.possible() == (len(os.sched_getaffinity(0)) <= 16 and not awake._quota())
    monkeypatch.setattr(awake.os, "SCHED_IDLE", 99)  # no such policy
    with pytest.raises(OSError, match="not allowed"):
        awake.Spinner(min(os.sched_getaffinity(0)))
    assert not awake.possible()


@linux
def test_programs_are_watched_while_they_run(monkeypatch):
    monkeypatch.setattr(config, "interpret", False)
    monkeypatch.setattr(config, "keep_awake", True)
    monkeypatch.setattr(awake, "possible", lambda: True)
    monkeypatch.setattr(awake, "_LINGER", 0.0)
    monkeypatch.setattr(awake, "_PERIOD", 0.05)
    became(lambda: "jtorch-awake" not in {thread.name for thread in threading.enumerate()})  # an earlier test's
    awake._State.watching = False  # also where this machine was found unfit
    watching, keep_watch = threading.Event(), awake._keep_watch
    monkeypatch.setattr(awake, "_keep_watch", lambda: (watching.set(), keep_watch()))
    x = jtorch.ones(20, 20)
    (x @ x).sum().item()
    assert watching.wait(60)
    assert became(lambda: not awake._State.watching)


@linux
def test_watching_goes_on_through_a_long_compilation(monkeypatch):
    monkeypatch.setattr(config, "keep_awake", True)
    monkeypatch.setattr(awake, "possible", lambda: True)
    monkeypatch.setattr(awake, "_LINGER", 0.0)
    monkeypatch.setattr(awake, "_PERIOD", 0.01)
    became(lambda: "jtorch-awake" not in {thread.name for thread in threading.enumerate()})
    awake._State.watching = False
    with awake.compiling():
        time.sleep(0.3)
        assert awake._State.watching
    assert became(lambda: not awake._State.watching)


@linux
def test_a_forked_process_watches_anew():
    script = (
        "import os, jtorch; from jtorch.trace import awake; awake.working(); assert awake._State.watching\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(3 if awake._State.watching else 0)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    environment = {**os.environ, "JTORCH_KEEP_AWAKE": "1"}
    assert subprocess.run([sys.executable, "-c", script], env=environment, timeout=120).returncode == 0


def test_can_be_turned_off(monkeypatch):
    monkeypatch.setattr(config, "keep_awake", False)
    monkeypatch.setattr(awake._State, "watching", False)
    awake.working()
    assert not awake._State.watching
