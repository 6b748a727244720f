"""Run on every rank: checkpoints that ranks save together, and functional collectives. The argument is a folder."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import numpy as np
import pytest

import jtorch as torch
import jtorch.distributed as dist
import jtorch.distributed._functional_collectives as funcol
import jtorch.distributed.checkpoint as dcp
from jtorch import nn
from jtorch.distributed.checkpoint import state_dict as dsd
from jtorch.distributed.checkpoint.format_utils import BroadcastingTorchSaveReader, DynamicMetaLoadPlanner
from jtorch.nn.parallel import DistributedDataParallel as DDP

folder = sys.argv[1]
dist.init_process_group("gloo", timeout=timedelta(seconds=60))
RANK, N = dist.get_rank(), dist.get_world_size()


def saved_by_all():
    torch.manual_seed(0)
    model = DDP(nn.Linear(4, 3))
    opt = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    opt.step()
    state = dict(zip(("model", "optim"), dsd.get_state_dict(model, opt), strict=True))
    assert set(state["model"]) == {"weight", "bias"}
    metadata = dcp.save({**state, "n": 5}, checkpoint_id=f"{folder}/all")
    assert (metadata is not None) == (RANK == 0)
    dist.barrier()
    assert sorted(os.listdir(f"{folder}/all")) == [".metadata", *(f"__{r}_0.distcp" for r in range(N))]

    torch.manual_seed(1 + RANK)
    other = nn.Linear(4, 3)  # no wrapper
    loaded = {"model": dsd.get_model_state_dict(other), "n": 0}
    dcp.load(loaded, checkpoint_id=f"{folder}/all")
    dsd.set_model_state_dict(other, loaded["model"])
    assert loaded["n"] == 5 and torch.equal(other.weight, model.module.weight)


def saved_while_training_goes_on():
    x = torch.full((3,), float(RANK))
    saving = dcp.async_save({"x": x, f"own{RANK}": RANK}, checkpoint_id=f"{folder}/async")
    for _ in range(5):  # collectives meanwhile
        total = torch.ones(2)
        dist.all_reduce(total)
        assert total.tolist() == [N, N]
    x += 10
    saving.result()
    dist.barrier()
    loaded = {"x": torch.zeros(3), **{f"own{r}": None for r in range(N)}}
    dcp.load(loaded, checkpoint_id=f"{folder}/async")
    assert loaded["x"].tolist() in ([[float(r)] * 3 for r in range(N)]) and loaded["own1"] == 1


def read_by_one():
    if RANK == 0:
        torch.save({"w": torch.arange(3.0)}, f"{folder}/one.pt")
    dist.barrier()
    state = {"w": torch.zeros(3)}
    reader = BroadcastingTorchSaveReader(f"{folder}/one.pt" if RANK == 0 else "no file here")
    dcp.load(state, storage_reader=reader, planner=DynamicMetaLoadPlanner())
    assert state["w"].tolist() == [0, 1, 2]


def failures_reach_all_ranks():
    state = {"x": torch.zeros(3)} if RANK == 0 else {"x": torch.zeros(4)}
    with pytest.raises(dcp.CheckpointException) as caught:
        dcp.load(state, checkpoint_id=f"{folder}/async")
    assert list(caught.value.failures) == list(range(1, N)) and "Size mismatch" in str(caught.value)


def state_of_rank_0():
    torch.manual_seed(7 + RANK)
    model, options = nn.Linear(2, 2), dsd.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    given = dsd.get_model_state_dict(model) if RANK == 0 else {}
    dsd.set_model_state_dict(model, given, options=options)
    every = [torch.empty(2, 2) for _ in range(N)]
    dist.all_gather(every, model.weight.detach())
    assert all(torch.equal(w, every[0]) for w in every)
    host = dsd.get_model_state_dict(model, options=dsd.StateDictOptions(full_state_dict=True, cpu_offload=True))
    assert bool(host) == (RANK == 0)


def functional_collectives():
    group, total = dist.group.WORLD, sum(range(1, N + 1))
    x = torch.tensor([[1.0 + RANK, 2.0]], requires_grad=True)
    out = funcol.wait_tensor(funcol.all_reduce(x, "sum", group))
    assert out.tolist() == [[total, 2.0 * N]] and x[0, 0].item() == 1 + RANK
    (out * (RANK + 1)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[total, total]])
    assert funcol.all_reduce(x.detach(), "max", list(range(N))).tolist() == [[float(N), 2.0]]
    with pytest.raises(RuntimeError, match="only supports 'sum'"):
        funcol.all_reduce(x, "avg", group).sum().backward()
    for dim in (0, 1):
        x.grad = None
        out = funcol.all_gather_tensor(x, gather_dim=dim, group=group)
        assert torch.equal(out, torch.cat([torch.tensor([[1.0 + r, 2.0]]) for r in range(N)], dim))
        (out * (RANK + 1)).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), [[total, total]])
        wide = torch.arange(4.0 * N * N).view(2 * N, 2 * N).requires_grad_()
        part = funcol.reduce_scatter_tensor(wide * (RANK + 1), "sum", scatter_dim=dim, group=group)
        assert torch.equal(part, wide.chunk(N, dim)[RANK] * total)
        part.sum().backward()
        np.testing.assert_allclose(wide.grad.numpy(), np.full((2 * N, 2 * N), RANK + 1.0))
    y = torch.arange(float(N), requires_grad=True)
    out = funcol.all_to_all_single_autograd(y * (RANK + 1), None, None, group)
    assert out.tolist() == [RANK * (r + 1.0) for r in range(N)]
    out.sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), np.full(N, RANK + 1.0))
    rows = funcol.all_to_all_single(torch.full((N * 2,), float(RANK)), [2] * N, [2] * N, group)
    assert rows.tolist() == [float(r) for r in range(N) for _ in range(2)]
    assert funcol.broadcast(x.detach(), N - 1, group)[0, 0].item() == N
    assert funcol.permute_tensor(x.detach()[0], [(r + 1) % N for r in range(N)], group)[0].item() == (RANK - 1) % N + 1
    assert [t.item() for t in funcol.all_reduce_coalesced([torch.ones(()), torch.ones(1)], "sum", group)] == [N, N]
    assert not isinstance(out, funcol.AsyncCollectiveTensor)
    with pytest.raises(AssertionError, match="multiple of group_size"):
        funcol.reduce_scatter_tensor(torch.ones(2 * N + 1), "sum", 0, group)
    with pytest.raises(ValueError, match="reduceOp must be one of"):
        funcol.all_reduce(x, "median", group)
    with pytest.raises(ValueError, match="make it first"):
        funcol.all_reduce(x, "sum", [0, 9])


for check in (saved_by_all, saved_while_training_goes_on, read_by_one, failures_reach_all_ranks,
              state_of_rank_0,
              functional_collectives):  # fmt: skip
    check()
    dist.barrier()
dist.destroy_process_group()
print("ok")
