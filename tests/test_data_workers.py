"""Loader workers: PyTorch's batches and random numbers, errors as PyTorch raises them, nothing left behind."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import jtorch
from jtorch.utils import data

ROOT = Path(__file__).parents[1]


def run_script(path, source, *options, code=0):
    path.write_text(textwrap.dedent(source))
    env = dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    done = subprocess.run([sys.executable, *options, path], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done


class Squares(data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i, jtorch.tensor(float(i * i))


class Numbers(data.IterableDataset):
    def __iter__(self):
        info = data.get_worker_info()
        return iter(range(info.id, 7, info.num_workers))


def lists(loader):
    return [[x.tolist() for x in batch] for batch in loader]


def test_same_batches_as_in_process():
    for options in ({"shuffle": True}, {"drop_last": True}, {"batch_size": None}):
        found = []
        for workers in (0, 2):
            generator = jtorch.Generator().manual_seed(3)
            found.append(list(data.DataLoader(Squares(10), **{"batch_size": 3, "generator": generator, **options},
                                              num_workers=workers)))  # fmt: skip
        for a, b in zip(*found, strict=True):
            assert [jtorch.as_tensor(x).tolist() for x in a] == [jtorch.as_tensor(x).tolist() for x in b]


def test_an_unguarded_script_draws_pytorch_numbers(tmp_path):
    torch = pytest.importorskip("torch")
    script = """
        import random, numpy as np, torch
        from torch.utils.data import DataLoader, Dataset, get_worker_info

        class D(Dataset):
            def __len__(self): return 6
            def __getitem__(self, i):
                return torch.rand(2), np.random.rand(), random.random(), i, get_worker_info().seed

        torch.ones(2).sum().item()
        torch.manual_seed(5)
        for batch in DataLoader(D(), 2, shuffle=True, num_workers=2, collate_fn=lambda b: [list(x) for x in zip(*b)]):
            print([x.tolist() for x in batch[0]], batch[1:])
    """
    ours = run_script(tmp_path / "script.py", script, "-m", "jtorch").stdout
    env = dict(os.environ)
    theirs = subprocess.run([sys.executable, tmp_path / "script.py"], env=env, capture_output=True, text=True,
                            timeout=120)  # fmt: skip
    assert theirs.returncode == 0, theirs.stderr
    assert torch.__version__ and ours == theirs.stdout and ours.count("\n") == 3


def test_persistent_workers_and_streams():
    loader = data.DataLoader(Numbers(), 2, num_workers=2, persistent_workers=True)
    first = [batch.tolist() for batch in loader]
    pids = [worker.process.pid for worker in loader._workers._workers]
    assert first == [[0, 2], [1, 3], [4, 6], [5]]
    next(iter(loader))  # a pass that is broken off
    assert [batch.tolist() for batch in loader] == first
    assert pids == [worker.process.pid for worker in loader._workers._workers]
    loader._workers.shutdown()


def test_large_batches_come_through_shared_memory_and_leave_nothing():
    array = np.arange(2 * 300 * 300, dtype=np.float32).reshape(2, 300, 300)
    before = len(os.listdir("/proc/self/fd"))
    tensors = data.TensorDataset(jtorch.from_numpy(array), jtorch.arange(2).bfloat16())
    for _ in range(2):
        ((x, y),) = data.DataLoader(tensors, 2, num_workers=1)
        assert np.array_equal(x.numpy(), array) and y.dtype is jtorch.bfloat16 and y.tolist() == [0, 1]
    x += 1  # writable, and nobody else's
    assert x.max().item() == array.max() + 1
    assert len(os.listdir("/proc/self/fd")) <= before + 8


def test_errors_of_workers():
    class Bad(Squares):
        def __getitem__(self, i):
            if self.n == 2:
                raise KeyError("no such sample")
            if self.n == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.n == 4:
                time.sleep(60)
            return lambda: 0  # by value: nothing to complain of

    def init(worker_id):
        raise OSError("no data")

    with pytest.raises(KeyError, match="(?s)Caught KeyError in DataLoader worker process 0.*__getitem__"):
        next(iter(data.DataLoader(Bad(2), num_workers=1)))
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid \d+\) is killed by signal: Killed"):
        next(iter(data.DataLoader(Bad(3), num_workers=1)))
    with pytest.raises(RuntimeError, match="timed out after 1 seconds"):
        slow = iter(data.DataLoader(Bad(4), num_workers=1, timeout=1))
        try:
            next(slow)
        finally:
            os.kill(slow._workers[0].process.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="Caught OSError in DataLoader worker process 0"):
        next(iter(data.DataLoader(Squares(2), num_workers=1, worker_init_fn=init)))


def test_more_workers_than_processors_are_warned_of(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    data.DataLoader(Squares(2), num_workers=1)
    with pytest.warns(UserWarning, match="This DataLoader will create 2 worker processes in total"):
        loader = data.DataLoader(Squares(2), num_workers=2)
    with pytest.warns(UserWarning, match="This DataLoader will create 2 worker processes in total"):
        assert len(list(loader)) == 2


def test_a_plain_fork_is_refused_once_xla_runs():
    jtorch.ones(1).sum().item()
    with pytest.raises(RuntimeError, match="cannot fork: XLA has started"):
        iter(data.DataLoader(Squares(2), num_workers=1, multiprocessing_context="fork"))
    with pytest.raises(ValueError, match="valid start method"):
        data.DataLoader(Squares(2), num_workers=1, multiprocessing_context="threads")


def test_workers_end_with_a_killed_program(tmp_path):
    script = """
        import os, signal, jtorch
        class D:
            def __len__(self): return 1000
            def __getitem__(self, i): return os.getpid()
        batches = iter(jtorch.utils.data.DataLoader(D(), num_workers=1))
        print(next(batches).item(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    pid = int(run_script(tmp_path / "script.py", script, code=-9).stdout)
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")


# --- samplers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, replicas", [(10, 3), (9, 3), (2, 5)])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_distributed_sampler_is_pytorchs(n, replicas, shuffle, drop_last):
    reference = pytest.importorskip("torch.utils.data.distributed")
    for rank in range(replicas):
        options = dict(num_replicas=replicas, rank=rank, shuffle=shuffle, seed=4, drop_last=drop_last)
        ours, theirs = (c(range(n), **options) for c in (data.DistributedSampler, reference.DistributedSampler))
        for epoch in (0, 2):
            ours.set_epoch(epoch), theirs.set_epoch(epoch)
            assert list(ours) == list(theirs) and len(ours) == len(theirs)


def test_buckets_bound_the_number_of_programs():
    rng = random.Random(0)
    texts = [[rng.randrange(1, 50) for _ in range(rng.randrange(1, 90))] for _ in range(200)]
    sampler = data.BucketBatchSampler([len(t) for t in texts], 8, 4, generator=jtorch.Generator().manual_seed(0))
    batches = list(sampler)
    assert len(batches) == len(sampler) and {len(b) for b in batches} == {8}
    assert {i for b in batches for i in b} == set(range(200))
    collate = data.pad_collate(sampler.boundaries)
    embedding = jtorch.nn.Embedding(50, 4)
    optimizer = jtorch.optim.SGD(embedding.parameters(), 0.1)
    compiles = []
    for _ in range(2):
        before = jtorch.debug.counters()["compiles"]
        for tokens, mask in data.DataLoader(texts, batch_sampler=sampler, collate_fn=collate):
            weights = mask.float().unsqueeze(2)
            loss = ((embedding(tokens) * weights).sum(1) / weights.sum(1)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        compiles.append(jtorch.debug.counters()["compiles"] - before)
    assert compiles[0] <= 8 and compiles[1] == 0
