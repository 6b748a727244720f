"""What needs no second process: errors of init_process_group, stores, a job of one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta

import pytest

import jtorch as torch
import jtorch.distributed as dist
from jtorch.distributed import tcp_store

from . import launch

SHORT = timedelta(milliseconds=300)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_missing_environment(monkeypatch):
    values = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(launch.free_port())}
    for name in values:
        for other, value in values.items():
            monkeypatch.setenv(other, value)
        monkeypatch.delenv(name)
        with pytest.raises(ValueError, match=f"environment variable {name} expected, but not set"):
            dist.init_process_group("gloo")
        monkeypatch.setenv(name, "many")
        if name != "MASTER_ADDR":
            with pytest.raises(ValueError, match=f"{name} must be an integer"):
                dist.init_process_group("gloo")


def test_arguments():
    with pytest.raises(ValueError, match="rank and world size parameter missing"):
        dist.init_process_group("gloo", init_method="tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match="Invalid rank 2"):
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{launch.free_port()}", rank=2, world_size=2)
    with pytest.raises(RuntimeError, match="No rendezvous handler"):
        dist.init_process_group("gloo", init_method="mpi://")
    with pytest.raises(ValueError, match="both init_method and store"):
        dist.init_process_group("gloo", init_method="env://", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(ValueError, match="world_size must be positive"):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0)
    with pytest.raises(ValueError, match="Invalid backend"):
        dist.init_process_group("smoke", store=dist.HashStore(), rank=0, world_size=1)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="only supported with GPUs"):
            dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(TypeError, match="timedelta"):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=5)
    for ask in (dist.get_rank, dist.get_world_size, dist.barrier, dist.get_backend, dist.destroy_process_group):
        with pytest.raises(ValueError, match="process group"):
            ask()
    assert not dist.is_initialized() and dist.is_available() and not dist.is_mpi_available()


def test_after_the_backend_has_started():
    torch.ones(1).sum().item()
    with pytest.raises(RuntimeError, match="must come before anything that starts JAX's backend"):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=2)


def test_job_of_one(tmp_path):
    """It needs no launcher, works after the backend has started, and can be repeated."""
    torch.ones(1).sum().item()
    for method in (f"file://{tmp_path}/store", f"tcp://127.0.0.1:{launch.free_port()}"):
        dist.init_process_group("gloo", init_method=method, rank=0, world_size=1)
        assert dist.get_rank() == 0 and dist.get_world_size() == 1 and dist.is_initialized()
        x = torch.arange(4.0)
        for op in ("SUM", "AVG", "PRODUCT", "MAX"):
            dist.all_reduce(x, getattr(dist.ReduceOp, op))
        dist.broadcast(x, 0), dist.reduce(x, 0), dist.barrier()
        out = torch.empty(1, 4)
        dist.all_gather_into_tensor(out, x)
        assert out.tolist() == [[0, 1, 2, 3]]
        objects = [None]
        dist.all_gather_object(objects, {"a": 1})
        dist.scatter(x, [x + 1])
        dist.gather(x, parts := [torch.empty(4)])
        assert objects == [{"a": 1}] and parts[0].tolist() == [1, 2, 3, 4]
        ddp = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
        ddp(x).sum().backward()
        assert ddp.module.bias.grad.tolist() == [1]
        dist.destroy_process_group()


def test_missing_ranks_are_named():
    code = (
        "import datetime, jtorch.distributed as d; d.init_process_group('gloo', init_method='tcp://127.0.0.1:"
        f"{launch.free_port()}', rank=0, world_size=3, timeout=datetime.timedelta(seconds=2))"
    )
    env = dict(os.environ, JAX_PLATFORMS="cpu")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 1
    assert "1/3 clients joined; ranks [1, 2] are missing" in done.stderr, done.stderr


# --- stores --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["hash", "file", "tcp", "prefix"])
def store(request, tmp_path):
    if request.param == "file":
        return dist.FileStore(str(tmp_path / "store"), 1)
    if request.param == "tcp":
        return dist.TCPStore("127.0.0.1", 0, 1, is_master=True)
    return dist.PrefixStore("p", dist.HashStore()) if request.param == "prefix" else dist.HashStore()


def test_store(store):
    store.set("a", "1"), store.set("b", b"\x00\xff")
    assert store.get("a") == b"1" and store.get("b") == b"\x00\xff"
    assert store.add("n", 3) == 3 and store.add("n", 4) == 7 and store.get("n") == b"7"
    assert store.compare_set("a", "1", "2") == b"2" and store.compare_set("a", "1", "3") == b"2"
    assert store.compare_set("new", "", "x") == b"x" and store.compare_set("other", "y", "z") == b"y"
    store.append("log", "ab"), store.append("log", "cd")
    assert store.get("log") == b"abcd" and store.check(["a", "b"]) and not store.check(["a", "zzz"])
    assert store.delete_key("a") and not store.delete_key("a")
    with pytest.raises(dist.DistStoreError, match="wait timeout after 300ms, keys: .*a"):
        store.get("a", SHORT) if isinstance(store, dist.PrefixStore) else store.wait(["a"], SHORT)
    store.multi_set(["k1", "k2"], ["v1", "v2"])
    assert store.multi_get(["k1", "k2"]) == [b"v1", b"v2"]
    late = threading.Timer(0.1, lambda: store.set("late", "here"))
    late.start()
    assert store.get("late") == b"here"
    late.join()


def test_rank_0_hears_last_who_died(monkeypatch):
    """Its process serves the store, and may end on the news: the others would then be told of its death only."""
    server = tcp_store.Server("127.0.0.1", 0)
    sent = []

    def send(sock, *fields):
        if fields[0] == "lost":
            sent.append(sock.getpeername()[1])
        original(sock, *fields)

    original = tcp_store.send
    monkeypatch.setattr(tcp_store, "send", send)
    members = {}
    for rank in (0, 1, 2, 3):
        members[rank] = tcp_store.connect("127.0.0.1", server.port, 5.0)
        original(members[rank], "member", str(rank), "test")
        assert tcp_store.receive(members[rank])[0] == b"welcome"
    members.pop(1).close()
    for member in members.values():
        assert tcp_store.receive(member) == [b"lost", b"1", b"test"]
    assert sent[-1] == members[0].getsockname()[1] and len(sent) == 3
    for member in members.values():
        member.close()
    server.close()


def test_tcp_store_between_clients():
    master = dist.TCPStore("127.0.0.1", 0, None, is_master=True)
    other = dist.TCPStore("127.0.0.1", master.port)
    other.set("x", "1")
    assert master.get("x") == b"1" and master.num_keys() == 1
    with pytest.raises(dist.DistNetworkError, match="failed to listen"):
        dist.TCPStore("127.0.0.1", master.port, None, is_master=True)
    with pytest.raises(dist.DistNetworkError, match="timed out after 300ms"):
        dist.TCPStore("127.0.0.1", launch.free_port(), timeout=SHORT)
    with pytest.raises(dist.DistStoreError, match="1/2 clients joined"):
        dist.TCPStore("127.0.0.1", 0, 2, is_master=True, timeout=SHORT)
    master.close()
