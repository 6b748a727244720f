"""``torch.multiprocessing``: processes, queues, pools, and one failure that ends them all."""

import os
import signal
import time

import pytest

import jtorch
from jtorch import multiprocessing as mp


def double(queue, tensor):
    queue.put((os.environ["JTORCH_TEST"], tensor * 2))


def fail(i, how):
    if i == 1:
        if how == "raise":
            raise ValueError("bad rank")
        os.kill(os.getpid(), signal.SIGKILL) if how == "kill" else os._exit(3)
    time.sleep(60)


def square(x):
    return x * x


def test_a_tensor_there_and_back(monkeypatch):
    monkeypatch.setenv("JTORCH_TEST", "seen")
    assert mp.get_start_method() == "forkserver"
    queue = mp.Queue()
    process = mp.Process(target=double, args=(queue, jtorch.tensor([1.0, 2.0])))
    process.start()
    word, tensor = queue.get(timeout=60)
    process.join(30)
    assert word == "seen" and tensor.tolist() == [2, 4] and process.exitcode == 0


def test_a_pool():
    with mp.Pool(2) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]


@pytest.mark.parametrize(
    "how, kind, match",
    [
        ("raise", mp.ProcessRaisedException, "(?s)-- Process 1 terminated with the following error:.*ValueError: bad"),
        ("kill", mp.ProcessExitedException, "process 1 terminated with signal SIGKILL"),
        ("exit", mp.ProcessExitedException, "process 1 terminated with exit code 3"),
    ],
)
def test_one_failure_ends_all(how, kind, match):
    context = mp.start_processes(fail, (how,), nprocs=2, join=False, start_method="forkserver")
    with pytest.raises(kind, match=match) as caught:
        while not context.join(grace_period=0.1):
            pass
    assert caught.value.error_index == 1 and caught.value.error_pid == context.pids()[1]
    assert not any(process.is_alive() for process in context.processes)


def test_start_methods_are_chosen_once():
    try:
        mp.set_start_method("spawn")
        assert mp.get_start_method() == mp.get_context().get_start_method() == "spawn"
        with pytest.raises(RuntimeError, match="context has already been set"):
            mp.set_start_method("fork")
    finally:
        mp.set_start_method(None, force=True)
    with pytest.raises(ValueError, match="cannot find context for 'threads'"):
        mp.get_context("threads")
    with pytest.raises(ValueError, match="unknown sharing strategy"):
        mp.set_sharing_strategy("other")
