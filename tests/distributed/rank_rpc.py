"""Functions called in another worker; what PyTorch prints for the same calls."""

import os
import time

import jtorch as torch
from jtorch.distributed import rpc
from tests.distributed.launch import refused


def add(a, b):
    return a + b


def fail(x):
    raise ValueError(f"no {x}")


def who():
    return rpc.get_worker_info().name


class Box:
    def __init__(self, n):
        self.w = torch.zeros(n)

    def bump(self, k=1):
        self.w = self.w + k
        return self.w


def read(rref):
    return rref.local_value() if rref.is_owner() else rref.to_here()


@rpc.functions.async_execution
def chained(to, x, y):
    return rpc.rpc_async(to, torch.add, args=(x, y)).then(lambda future: future.wait() * 2)


def held():
    from jtorch.distributed.rpc import rref

    return len(rref._values)


def calls():
    assert rpc.rpc_sync("worker1", add, args=(torch.ones(2), 3)).tolist() == [4, 4]
    assert rpc.rpc_sync("worker1", torch.add, args=(torch.ones(2), 1)).tolist() == [2, 2]
    assert [f.wait() for f in [rpc.rpc_async(1, add, args=(i, i)) for i in range(3)]] == [0, 2, 4]
    assert rpc.rpc_sync("worker1", who) == "worker1" and rpc.rpc_sync("worker0", who) == "worker0"
    assert repr(rpc.get_worker_info("worker1")) == "WorkerInfo(id=1, name=worker1)"
    assert rpc.rpc_sync("worker1", chained, args=("worker0", torch.ones(2), 1)).tolist() == [4, 4]
    x = torch.ones(2, requires_grad=True)
    assert not rpc.rpc_sync("worker1", add, args=(x * 2, 1)).requires_grad  # its graph stayed here
    refused(lambda: rpc.rpc_sync("worker1", fail, args=(7,)), ValueError, "no 7")
    refused(lambda: rpc.rpc_sync("worker1", fail, args=(7,)), ValueError, "WorkerInfo(id=1, name=worker1)")
    refused(lambda: rpc.rpc_sync("worker1", time.sleep, args=(2,), timeout=0.3), RuntimeError, "set timeout (300 ms)")
    late = rpc.rpc_async("worker1", time.sleep, args=(2,), timeout=0.3)
    late.then(lambda future: refused(future.wait, RuntimeError, "set timeout (300 ms)")).wait()
    assert rpc.rpc_async("worker1", add, args=(1, 2), timeout=20).wait() == 3
    refused(lambda: rpc.rpc_sync("nobody", who), RuntimeError, "nobody")
    refused(lambda: rpc.init_rpc("worker0"), RuntimeError, "already initialized")


def references():
    box = rpc.remote("worker1", Box, args=(3,))
    assert box.owner().name == box.owner_name() == "worker1" and not box.is_owner()
    assert box.rpc_sync().bump(2).tolist() == [2, 2, 2] and box.rpc_async().bump().wait().tolist() == [3, 3, 3]
    assert box.remote().bump().to_here().tolist() == [4, 4, 4]
    there, here = rpc.remote("worker1", add, args=(torch.ones(2), 5)), rpc.RRef(torch.arange(3))
    assert there.to_here().tolist() == rpc.rpc_sync("worker1", read, args=(there,)).tolist() == [6, 6]
    assert here.is_owner() and rpc.rpc_sync("worker1", read, args=(here,)).tolist() == [0, 1, 2]
    refused(lambda: rpc.remote("worker1", fail, args=(8,)).to_here(), ValueError, "no 8")
    refused(box.local_value, RuntimeError, "owner")
    for slow in [rpc.remote(owner, time.sleep, args=(2,)) for owner in ("worker0", "worker1")]:
        refused(lambda: slow.to_here(timeout=0.2), RuntimeError, "set timeout (200 ms)")  # noqa: B023


rank = int(os.environ["RANK"])
options = rpc.TensorPipeRpcBackendOptions(num_worker_threads=8, rpc_timeout=30)
rpc.init_rpc(f"worker{rank}", rank=rank, world_size=int(os.environ["WORLD_SIZE"]), rpc_backend_options=options)
if rank == 0:
    calls()
    references()
    end = time.monotonic() + 20
    while rpc.rpc_sync("worker1", held) or held():  # nobody refers to anything any more
        assert time.monotonic() < end, "values are kept for nobody"
        time.sleep(0.05)
rpc.shutdown()
refused(rpc.get_worker_info, RuntimeError, "not been initialized")
print(f"rank {rank}: done")
