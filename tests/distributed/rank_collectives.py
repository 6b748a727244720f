"""Run on every rank: each collective against NumPy."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import warnings
from datetime import timedelta

import ml_dtypes
import numpy as np
import pytest

import jtorch as torch
import jtorch.distributed as dist
from jtorch.distributed import ReduceOp

dist.init_process_group("gloo", timeout=timedelta(seconds=60))
RANK, N = dist.get_rank(), dist.get_world_size()
assert (RANK, N) == (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
DTYPES = (
    "float64", "float32", "float16", "bfloat16", "complex64", "complex128", "int64", "int32", "int16", "int8", "uint8",
    "bool",
)  # fmt: skip

QUICK = "--all" not in sys.argv
USUAL = {"float32": ("SUM", "PRODUCT", "MIN", "MAX", "BAND"), "int64": ("SUM", "MAX", "BAND", "BOR", "BXOR"),
         "bool": ("SUM", "PRODUCT", "MAX", "BXOR"), "complex64": ("SUM", "MAX")}  # fmt: skip


def of(rank: int, shape=(2, 3), dtype: str = "float32") -> np.ndarray:
    """What rank ``rank`` contributes: small whole numbers, so that every dtype's arithmetic is exact."""
    x = np.random.default_rng(rank).integers(0, 3, shape)
    if "complex" in dtype:
        x = x + 1j * np.random.default_rng(rank + 100).integers(0, 3, shape)
    return x.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def tensor(rank: int, shape=(2, 3), dtype: str = "float32"):
    return torch.tensor(of(rank, shape, "float32" if dtype == "bfloat16" else dtype)).to(getattr(torch, dtype))


def numbers(t) -> np.ndarray:
    return t.float().numpy().astype(ml_dtypes.bfloat16) if t.dtype is torch.bfloat16 else t.numpy()


def same(t, expected):
    expected = np.asarray(expected)
    assert tuple(t.shape) == expected.shape, (t.shape, expected.shape)
    np.testing.assert_array_equal(numbers(t), expected.astype(numbers(t).dtype))


FOLDS = {
    "SUM": np.add, "PRODUCT": np.multiply, "MIN": np.minimum, "MAX": np.maximum, "BAND": np.bitwise_and,
    "BOR": np.bitwise_or, "BXOR": np.bitwise_xor,
}  # fmt: skip


def folded(op: str, dtype: str, shape=(2, 3), ranks=range(N)):
    return FOLDS[op].reduce(np.stack([of(r, shape, dtype) for r in ranks]), axis=0)


def all_reduce():
    for dtype, op in itertools.product(DTYPES, FOLDS):
        if QUICK and op not in USUAL.get(dtype, ("SUM",)):
            continue  # each pair is a program to compile
        x = tensor(RANK, dtype=dtype)
        floating = x.is_floating_point() or x.is_complex()
        if op.startswith("B") and floating or op in ("MIN", "MAX") and x.is_complex():
            with pytest.raises((RuntimeError, ValueError)):
                dist.all_reduce(x, getattr(ReduceOp, op))
            continue
        assert dist.all_reduce(x, getattr(ReduceOp, op)) is None
        same(x, folded(op, dtype))
    x = tensor(RANK)
    dist.all_reduce(x, op=dist.ReduceOp.AVG)
    same(x, np.stack([of(r) for r in range(N)]).mean(0).astype(np.float32))
    x = tensor(RANK, (3,))
    dist.all_reduce(x, dist._make_nccl_premul_sum(0.5))
    same(x, 0.5 * folded("SUM", "float32", (3,)))
    x = torch.tensor(float(RANK))  # no dimensions
    work = dist.all_reduce(x, async_op=True)
    assert work.wait() and work.is_completed() and work.is_success()
    assert x.item() == sum(range(N)) and x.shape == ()
    future = dist.all_reduce(x, async_op=True).get_future()
    assert future.then(lambda f: f.value()[0] + 1).wait() == N * sum(range(N)) + 1
    empty = torch.empty(0, 3)
    dist.all_reduce(empty)
    assert empty.shape == (0, 3)
    many = [tensor(RANK, (2, 2)), torch.ones(3, dtype=torch.float64), tensor(RANK, (400, 400)), torch.empty(0)]
    dist.all_reduce_coalesced(many)
    same(many[0], folded("SUM", "float32", (2, 2)))
    same(many[1], np.full(3, N))
    same(many[2], folded("SUM", "float32", (400, 400)))


def views():
    x = torch.zeros(4, 3)
    row, column, alias = x[1], x[:, 2], x.view(-1)
    row.fill_(RANK + 1.0)
    dist.all_reduce(row)
    total = sum(range(1, N + 1))
    expected = np.zeros((4, 3))
    expected[1] = total
    same(x, expected)
    column.fill_(RANK)
    dist.broadcast(column, N - 1)
    expected[:, 2] = N - 1
    same(x, expected)
    same(alias, expected.reshape(-1))
    part = x.t()[0:2]
    dist.all_gather_into_tensor(part, torch.full((8 // N,), float(RANK)))
    expected.T[0:2] = np.repeat(np.arange(N), 8 // N).reshape(2, 4)
    same(x, expected)
    p = torch.nn.Parameter(torch.full((2,), float(RANK)))
    version = p._version
    dist.all_reduce(p)
    same(p.detach(), np.full(2, sum(range(N))))
    assert p.is_leaf and p.requires_grad and p._version > version
    grad = (p * 2).sum()
    grad.backward()
    dist.all_reduce(p.grad)
    same(p.grad, np.full(2, 2 * N))


def reduce():
    for root in range(N):
        x = tensor(RANK)
        dist.reduce(x, root)
        same(x, folded("SUM", "float32") if root == RANK else of(RANK))
    x = tensor(RANK)
    dist.reduce(x, dst=N - 1, op=ReduceOp.MAX)
    same(x, folded("MAX", "float32") if RANK == N - 1 else of(RANK))


def broadcast():
    for root, dtype in itertools.product(range(N), DTYPES):
        if QUICK and root != 1 and dtype != "float32":
            continue
        x = tensor(RANK, dtype=dtype)
        dist.broadcast(x, src=root)
        same(x, of(root, dtype=dtype))
    with pytest.raises(ValueError):
        dist.broadcast(x, N)
    with pytest.raises(ValueError):
        dist.broadcast(x)


def all_gather():
    for dtype in DTYPES:
        outs = [torch.empty(2, 3, dtype=getattr(torch, dtype)) for _ in range(N)]
        dist.all_gather(outs, tensor(RANK, dtype=dtype))
        for r in range(N):
            same(outs[r], of(r, dtype=dtype))
    outs = [torch.empty(r + 1) for r in range(N)]  # sizes that differ
    dist.all_gather(outs, tensor(RANK, (RANK + 1,)))
    for r in range(N):
        same(outs[r], of(r, (r + 1,)))
    joined, stacked = torch.empty(2 * N, 3), torch.empty(N, 2, 3)
    dist.all_gather_into_tensor(joined, tensor(RANK))
    dist.all_gather_into_tensor(stacked, tensor(RANK))
    same(joined, np.concatenate([of(r) for r in range(N)]))
    same(stacked, np.stack([of(r) for r in range(N)]))
    zero_d = [torch.empty(()) for _ in range(N)]
    dist.all_gather(zero_d, torch.tensor(float(RANK)))
    assert [t.item() for t in zero_d] == list(range(N))
    with pytest.raises(ValueError):
        dist.all_gather(outs[:1], outs[0])
    with pytest.raises(RuntimeError, match="world_size times"):
        dist.all_gather_into_tensor(torch.empty(1), tensor(RANK))
    with pytest.raises(TypeError):
        dist.all_gather(torch.empty(2), torch.empty(2))


def reduce_scatter():
    cases = ("float32", "SUM"), ("int8", "SUM"), ("int64", "MAX"), ("bfloat16", "SUM"), ("float64", "PRODUCT")
    for dtype, op in cases:
        inputs = [tensor(RANK * 10 + r, dtype=dtype) for r in range(N)]
        expected = FOLDS[op].reduce(np.stack([of(s * 10 + RANK, dtype=dtype) for s in range(N)]), axis=0)
        out = torch.empty(2, 3, dtype=getattr(torch, dtype))
        dist.reduce_scatter(out, inputs, getattr(ReduceOp, op))
        same(out, expected)
        out.zero_()
        dist.reduce_scatter_tensor(out, torch.cat(inputs), getattr(ReduceOp, op))
        same(out, expected)
    with pytest.raises(RuntimeError):
        dist.reduce_scatter_tensor(torch.empty(3), torch.empty(N))


def scatter_and_gather():
    for root, dtype in itertools.product(range(N), ("float32", "bool", "bfloat16", "complex64")):
        x = torch.zeros(2, 3, dtype=getattr(torch, dtype))
        dist.scatter(x, [tensor(r, dtype=dtype) for r in range(N)] if RANK == root else None, src=root)
        same(x, of(RANK, dtype=dtype))
        outs = [torch.empty_like(x) for _ in range(N)] if RANK == root else None
        dist.gather(x, outs, dst=root)
        for r in range(N if outs else 0):
            same(outs[r], of(r, dtype=dtype))
    with pytest.raises(ValueError):
        dist.gather(x, None if RANK == 0 else [x])


def all_to_all():
    inputs = [tensor(10 * RANK + r) for r in range(N)]
    outs = [torch.empty(2, 3) for _ in range(N)]
    dist.all_to_all(outs, inputs)
    for r in range(N):
        same(outs[r], of(10 * r + RANK))
    out = torch.empty(2 * N, 3)
    dist.all_to_all_single(out, torch.cat(inputs))
    same(out, np.concatenate([of(10 * r + RANK) for r in range(N)]))
    # rank s sends (s + r) % 3 rows to rank r
    to, coming = [(RANK + r) % 3 for r in range(N)], [(r + RANK) % 3 for r in range(N)]
    parts = [of(100 + 10 * RANK + r, ((RANK + r) % 3, 2)) for r in range(N)]
    out = torch.empty(sum(coming), 2)
    dist.all_to_all_single(out, torch.tensor(np.concatenate(parts)), coming, to)
    same(out, np.concatenate([of(100 + 10 * r + RANK, ((r + RANK) % 3, 2)) for r in range(N)]))
    outs = [torch.empty(c, 2) for c in coming]
    dist.all_to_all(outs, [torch.tensor(p) for p in parts])
    for r in range(N):
        same(outs[r], of(100 + 10 * r + RANK, ((r + RANK) % 3, 2)))
    with pytest.raises(RuntimeError, match="divide equally"):
        dist.all_to_all_single(torch.empty(N + 1), torch.empty(N + 1))
    with pytest.raises(RuntimeError, match="Split sizes"):
        dist.all_to_all_single(torch.empty(N), torch.empty(N), [1] * N, [2] * N)


def point_to_point():
    right, left = (RANK + 1) % N, (RANK - 1) % N
    for dtype in DTYPES:
        x, y = tensor(RANK, dtype=dtype), torch.zeros(2, 3, dtype=getattr(torch, dtype))
        works = [dist.isend(x, right), dist.irecv(y, left)]
        for w in works:
            w.wait()
        same(y, of(left, dtype=dtype))
    whole = torch.zeros(4, 2)
    assert RANK % 2 or dist.send(torch.ones(2) * RANK, RANK + 1, tag=7) is None
    if RANK % 2:
        assert dist.recv(whole[2], RANK - 1, tag=7) == RANK - 1
        same(whole, [[0, 0], [0, 0], [RANK - 1] * 2, [0, 0]])
    if RANK == 0:
        got = []
        for _ in range(N - 1):
            t = torch.zeros(1)
            got.append((dist.recv(t, tag=3), t.item()))  # a tag that what follows does not use
        assert sorted(got) == [(r, 10.0 * r) for r in range(1, N)]
    else:
        dist.send(torch.tensor([10.0 * RANK]), dst=0, tag=3)
    first, second = torch.zeros(1), torch.zeros(1)  # in order, whatever is waited for first
    ops = [
        dist.P2POp(dist.isend, torch.tensor([1.0 + RANK]), right), dist.P2POp(dist.isend, torch.tensor([20.0]), right),
        dist.P2POp(dist.irecv, first, left), dist.P2POp(dist.irecv, second, left),
    ]  # fmt: skip
    for w in reversed(dist.batch_isend_irecv(ops)):
        w.wait()
    assert (first.item(), second.item()) == (1.0 + left, 20.0)
    if RANK == 0:
        dist.send(torch.ones(3), 1)
    if RANK == 1:
        with pytest.raises(RuntimeError, match="sent a tensor of shape"):
            dist.recv(torch.ones(4), 0)
    with pytest.raises(ValueError, match="should not be the same"):
        dist.send(x, RANK)


def objects():
    mine = {"rank": RANK, "x": torch.arange(3) * RANK}
    outs = [None] * N
    dist.all_gather_object(outs, mine)
    assert [o["rank"] for o in outs] == list(range(N)) and outs[N - 1]["x"].tolist() == [0, N - 1, 2 * (N - 1)]
    several = [RANK, "text", None] if RANK == 1 else [0, 0, 0]
    dist.broadcast_object_list(several, src=1)
    assert several == [1, "text", None]
    out = [None]
    dist.scatter_object_list(out, [f"for {r}" for r in range(N)] if RANK == 0 else None, src=0)
    assert out == [f"for {RANK}"]
    gathered = [None] * N if RANK == N - 1 else None
    dist.gather_object(RANK**2, gathered, dst=N - 1)
    assert gathered is None or gathered == [r**2 for r in range(N)]
    if RANK == 0:
        dist.send_object_list(["a" * 1_000_000, 2], 1)
    elif RANK == 1:
        got = [None, None]
        assert dist.recv_object_list(got, 0) == 0 and got[1] == 2 and len(got[0]) == 1_000_000


def groups():
    pair = dist.new_group([0, 1])
    last = dist.new_group([N - 1], backend="gloo")
    if RANK < 2:
        assert dist.get_rank(pair) == RANK and dist.get_world_size(pair) == 2
        assert dist.get_process_group_ranks(pair) == [0, 1] and dist.get_backend(pair) == "gloo"
        x = torch.tensor([RANK + 1.0])
        dist.all_reduce(x, group=pair)
        assert x.item() == 3
        dist.barrier(pair)
        outs = [None, None]
        dist.all_gather_object(outs, RANK, group=pair)
        assert outs == [0, 1]
    else:
        assert pair == dist.GroupMember.NON_GROUP_MEMBER and dist.get_rank(pair) == -1
        x = torch.tensor([5.0])
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert dist.all_reduce(x, group=pair) is None
        assert x.item() == 5 and "does not belong to the given group" in str(seen[0].message)
    if RANK == N - 1:
        x = torch.tensor([7.0])
        dist.all_reduce(x, group=last)
        assert x.item() == 7 and dist.get_group_rank(last, RANK) == 0 and dist.get_global_rank(last, 0) == RANK
    mine, every = dist.new_subgroups(N // 2)
    x = torch.tensor([float(RANK)])
    dist.all_reduce(x, group=mine)
    begin = RANK // (N // 2) * (N // 2)
    assert x.item() == sum(range(begin, begin + N // 2)) and len(every) == 2
    if RANK < 2:
        backwards = dist.new_group([1, 0], sort_ranks=False)
        out = torch.zeros(2)
        dist.all_gather_into_tensor(out, torch.tensor([float(RANK)]), group=backwards)
        assert out.tolist() == [1, 0]
        x = torch.tensor([RANK])
        dist.broadcast(x, group=backwards, group_src=0)
        assert x.item() == 1
    else:
        dist.new_group([1, 0], sort_ranks=False)
    with pytest.raises(ValueError):
        dist.new_group([0, N])
    whole = dist.new_group()
    assert dist.get_process_group_ranks(whole) == list(range(N)) and whole is not dist.group.WORLD
    dist.destroy_process_group(whole)


def threads():
    """Two threads that take turns may both communicate."""
    from concurrent.futures import ThreadPoolExecutor

    def one(i):
        x = torch.full((64,), float(RANK + i))
        dist.all_reduce(x)
        return x[0].item()

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        got = [pool.submit(one, i).result() for i, pool in enumerate([first, second] * 8)]
    assert got == [sum(range(N)) + N * i for i in range(16)]


def stores():
    store = dist.distributed_c10d._get_default_store()
    assert isinstance(store, dist.TCPStore)
    if RANK == 0:
        store.set("key", "value")
    assert store.get("key") == b"value"
    assert sorted(dist.all_gather_object(outs := [None] * N, store.add("count", 1)) or outs) == list(range(1, N + 1))
    own = dist.PrefixStore(f"rank{RANK}", store)
    own.set("x", str(RANK))
    store.wait([f"rank{r}/x" for r in range(N)])
    with pytest.raises(dist.DistStoreError, match="wait timeout after 100ms"):
        store.get("nobody", timedelta(milliseconds=100))


def names():
    assert dist.is_initialized() and dist.is_available() and dist.get_backend() == "gloo"
    assert dist.group.WORLD is dist.GroupMember.WORLD and dist.group.WORLD.size() == N
    assert str(ReduceOp.SUM) == "RedOpType.SUM" and dist.Backend("GLOO") == dist.Backend.GLOO == "gloo"
    with pytest.raises(ValueError, match="twice"):
        dist.init_process_group("gloo")
    with pytest.raises(ValueError):
        dist.Backend("mpi")


for check in (names, all_reduce, views, reduce, broadcast, all_gather, reduce_scatter, scatter_and_gather, all_to_all,
              point_to_point, objects, groups, threads, stores):  # fmt: skip
    check()
    dist.barrier()
    dist.monitored_barrier()
dist.group.WORLD.monitored_barrier(timeout=timedelta(seconds=60), wait_all_ranks=True)
dist.destroy_process_group()
assert not dist.is_initialized()
with pytest.raises(ValueError, match="has not been initialized"):
    dist.get_rank()
assert torch.ones(2).sum().item() == 2  # the process goes on by itself
alive = {t.name for t in threading.enumerate()}  # one that held an array could abort the process at its end
assert not alive & {"job watchdog", "mailbox out"}, alive
with pytest.raises(RuntimeError, match="one only"):
    dist.init_process_group("gloo", world_size=N, rank=RANK, store=dist.HashStore())
print("ok")
