"""Run on every rank: operations on DTensors give what they give on whole tensors, and so do their gradients."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import jtorch as torch
import jtorch.distributed as dist
from jtorch import nn
from jtorch.distributed.tensor import (
    DTensor,
    Partial,
    Replicate,
    Shard,
    distribute_module,
    distribute_tensor,
    init_device_mesh,
)  # fmt: skip
from jtorch.distributed.tensor.experimental import implicit_replication
from jtorch.nn import functional as F

dist.init_process_group("gloo")
RANK, N = dist.get_rank(), dist.get_world_size()
MESH = init_device_mesh("cpu", (N,), mesh_dim_names=("tp",))
EVERYTHING = "--all" in sys.argv
torch.manual_seed(0)

FEW = [
    ("add", lambda x, y: x + 2 * y), ("broadcast", lambda x, y: x * y[0]), ("linear", lambda x, y: F.linear(x, y)),
    ("sum", lambda x, y: x.sum(0) - y.sum()), ("mean", lambda x, y: x.mean() * y.mean(1)),
    ("softmax", lambda x, y: F.softmax(x, -1) * y), ("reshape", lambda x, y: x.reshape(2, 2, 6).flatten() * 2),
    ("cat", lambda x, y: torch.cat([x, y], 1).square()), ("norm", lambda x, y: x.norm() + y.norm(dim=1)),
]  # fmt: skip
MANY = [
    ("gelu", lambda x, y: F.gelu(x).tanh() / y.exp()), ("where", lambda x, y: torch.where(x > 0, x, y)),
    ("mm", lambda x, y: x @ y.t()), ("mm left", lambda x, y: x.t() @ y),
    ("bmm", lambda x, y: torch.bmm(x.unsqueeze(0), y.t().unsqueeze(0))), ("outer", lambda x, y: x[:, :1] @ y[:1]),
    ("var", lambda x, y: x.var(0) + y.std(1).sum()), ("amax", lambda x, y: x.amax(0) * y.amin(1).sum()),
    ("logsumexp", lambda x, y: x.logsumexp(0) + y.logsumexp(1).sum()),
    ("layer_norm", lambda x, y: F.layer_norm(x, (6,), y[0], y[1])),
    ("rms_norm", lambda x, y: F.rms_norm(x, (6,), y[0])),
    ("log_softmax 0", lambda x, y: F.log_softmax(x, 0) * y), ("cumsum", lambda x, y: x.cumsum(1) * y.cumsum(0)),
    ("permute", lambda x, y: x.permute(1, 0) * y.transpose(0, 1)),
    ("expand", lambda x, y: x.unsqueeze(1).expand(4, 3, 6)),
    ("unflatten", lambda x, y: x.unflatten(1, (3, 2)).movedim(2, 0)),
    ("squeeze", lambda x, y: x.unsqueeze(0).squeeze()),
    ("narrow", lambda x, y: x.narrow(1, 1, 3) * y[:, 2:5]), ("select", lambda x, y: x[1] + y[:, 2].sum()),
    ("chunk", lambda x, y: x.chunk(2, 0)[1] * y.split(3, 1)[0].sum()), ("stack", lambda x, y: torch.stack([x, y], 1)),
    ("gather", lambda x, y: x.gather(1, torch.zeros(4, 1, dtype=torch.int64)) * y),
    ("mse", lambda x, y: F.mse_loss(x, y)), ("l1 sum", lambda x, y: F.l1_loss(x, y, reduction="sum")),
    ("einsum", lambda x, y: torch.einsum("ij,kj->ik", x, y)), ("attention", lambda x, y: F.scaled_dot_product_attention(
        x.reshape(1, 2, 2, 6), y.reshape(1, 2, 2, 6), x.reshape(1, 2, 2, 6), is_causal=True)),
    ("addmm", lambda x, y: torch.addmm(y[:, 0], x, y.t())), ("prod", lambda x, y: x.prod(0)),
    ("pad", lambda x, y: F.pad(x, (1, 1)) * 3), ("triu", lambda x, y: (x @ y.t()).triu()),
    ("clamp", lambda x, y: x.clamp(-0.5, 0.5) + y.abs().sqrt()), ("flip", lambda x, y: x.flip(0) * y),
    ("neg of sum", lambda x, y: -(x.sum(0) / 2).to(torch.float64) + y.sum(0)), ("topk", lambda x, y: x.topk(2)[0]),
]  # fmt: skip


def operations(table):
    """Several layouts of both operands; the gradient of a sum with weights."""
    x, y = torch.randn(4, 6), torch.randn(4, 6)
    whole, rows, columns = Replicate(), Shard(0), Shard(1)
    layouts = [(rows, columns)]
    if EVERYTHING:
        layouts += [(rows, whole), (whole, rows), (rows, rows), (columns, columns)]
    for name, fn in table:
        plain = [t.clone().requires_grad_() for t in (x, y)]
        expected = fn(*plain)
        torch.manual_seed(1)
        weight = torch.randn(expected.shape, dtype=expected.dtype)
        (expected * weight).sum().backward()
        for p, q in layouts:
            given = [distribute_tensor(t, MESH, [at]).requires_grad_() for t, at in ((x, p), (y, q))]
            with implicit_replication():
                found = fn(*given)
                assert isinstance(found, DTensor) and found.shape == expected.shape, name
                (found * weight).sum().backward()
            np.testing.assert_allclose(
                found.full_tensor().detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5,
                err_msg=f"{name} {p} {q}",
            )  # fmt: skip
            for t, u in zip(plain, given, strict=True):
                if t.grad is None:
                    assert u.grad is None, name
                    continue
                np.testing.assert_allclose(
                    u.grad.full_tensor().numpy(), t.grad.numpy(), rtol=1e-4, atol=1e-5, err_msg=f"grad {name} {p} {q}"
                )


def facts():
    x = torch.arange(15.0).reshape(5, 3)
    d = distribute_tensor(x, MESH, [Shard(0)])
    assert isinstance(d, DTensor) and isinstance(d, torch.Tensor) and not isinstance(x, DTensor)
    assert d.shape == (5, 3) and d.size(0) == 5 and d.numel() == 15 and d.stride() == (3, 1) and len(d) == 5
    assert d.device_mesh == MESH and d.placements == (Shard(0),)
    mine = x.chunk(N)[RANK] if RANK < len(x.chunk(N)) else x[:0]
    assert torch.equal(d.to_local(), mine) and torch.equal(d.full_tensor(), x)
    assert torch.equal(d.redistribute(placements=[Shard(1)]).full_tensor(), x)
    assert d.sum().placements == (Partial(),) and d.sum().item() == 105 and float(d.max()) == 14
    assert repr(d).startswith("DTensor(local_tensor=tensor(") and "placements=(Shard(dim=0),)" in repr(d)
    d.zero_()
    assert d.full_tensor().sum().item() == 0
    d.add_(1)
    assert d.mean().item() == 1
    terms = DTensor.from_local(torch.full((N, 2), 1.0 + RANK), MESH, [Partial()])
    total = sum(range(1, N + 1))
    assert terms.full_tensor().tolist() == [[total] * 2] * N
    assert terms.redistribute(placements=[Shard(0)]).to_local().tolist() == [[total] * 2]
    p = nn.Parameter(d)
    assert isinstance(p, nn.Parameter) and isinstance(p, DTensor) and p.requires_grad
    with pytest.raises(RuntimeError, match="mixed torch.Tensor and DTensor"):
        d + torch.ones(5, 3)
    with pytest.raises(RuntimeError, match="full_tensor"):
        d.numpy()
    with pytest.raises(RuntimeError, match="Partial"):
        distribute_tensor(x, MESH, [Partial()])
    assert torch.distributed.tensor.zeros(4, 2, device_mesh=MESH, placements=[Shard(0)]).to_local().shape[0] <= 2
    # gradients go to and fro between parts and wholes
    w = torch.ones(2, 3, requires_grad=True)
    whole = DTensor.from_local(w * (RANK + 1), MESH, [Shard(0)]).full_tensor()
    (whole * torch.arange(2.0 * N)[:, None]).sum().backward()
    rows = torch.arange(2.0 * N)[2 * RANK : 2 * RANK + 2, None]
    np.testing.assert_allclose(w.grad.numpy(), (rows * (RANK + 1)).expand(2, 3).numpy())


def meshes():
    assert MESH.size() == N and MESH.shape == (N,) and MESH.get_local_rank() == RANK and MESH["tp"] is MESH
    assert dist.get_process_group_ranks(MESH.get_group()) == list(range(N)) and MESH.get_coordinate() == (RANK,)
    two = init_device_mesh("cpu", (1, N), mesh_dim_names=("dp", "tp"))
    assert two["tp"].size() == N and two["dp"].size() == 1 and two["dp"].get_local_rank() == 0
    assert two.get_local_rank("tp") == RANK and two["dp", "tp"] is two and two._flatten("all").shape == (N,)
    assert two.mesh.tolist() == [list(range(N))]
    with pytest.raises(KeyError, match="pp"):
        two["pp"]
    with pytest.raises(RuntimeError, match="mesh_dim"):
        two.get_group()
    with pytest.raises(RuntimeError, match="bigger"):
        init_device_mesh("cpu", (N + 1,))
    summed = dist._functional_collectives.all_reduce(torch.ones(2), "sum", (two, 1))
    assert summed.tolist() == [N, N]
    x = distribute_tensor(torch.arange(8.0).reshape(4, 2), two, [Replicate(), Shard(0)])
    assert x.full_tensor()[:, 0].tolist() == [0, 2, 4, 6]


class Block(nn.Module):
    def __init__(self, d: int):
        super().__init__()
        self.ln, self.q, self.k, self.v = nn.LayerNorm(d), nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.o, self.up, self.down = nn.Linear(d, d), nn.Linear(d, 3 * d), nn.Linear(3 * d, d)

    def forward(self, x):
        h = self.ln(x)
        b, t = h.shape[:2]
        q, k, v = (f(h).view(b, -1, f(h).shape[-1] // 2, 2).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.o(y.reshape(b, y.shape[1], -1))
        return x + self.down(F.silu(self.up(x)))


class Net(nn.Module):
    def __init__(self, d: int = 4 * N):
        super().__init__()
        torch.manual_seed(0)
        self.emb, self.block, self.norm, self.out = nn.Embedding(9, d), Block(d), nn.LayerNorm(d), nn.Linear(d, 12)

    def forward(self, ids):
        return self.out(self.norm(self.block(self.emb(ids))))


def train(model, around=None):
    opt = torch.optim.AdamW(model.parameters(), lr=1e-2)
    torch.manual_seed(3)
    losses = []
    for _ in range(3):
        ids = torch.randint(0, 9, (2, 2 * N))
        opt.zero_grad()
        with around() if around else torch.enable_grad():
            loss = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
            loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def tensor_parallel():
    from jtorch.distributed.tensor import parallel as tp

    expected = train(Net())
    cut, row = tp.ColwiseParallel, tp.RowwiseParallel
    # the sequence is cut between blocks, the classes in the loss
    model = Net()
    tp.parallelize_module(model, MESH, {
        "emb": row(input_layouts=Replicate(), output_layouts=Shard(1)), "norm": tp.SequenceParallel(),
        "out": cut(input_layouts=Shard(1), use_local_output=False),
        "block": tp.PrepareModuleInput(input_layouts=Shard(1), desired_input_layouts=Shard(1), use_local_output=True),
        "block.ln": tp.SequenceParallel(), "block.q": cut(input_layouts=Shard(1)),
        "block.k": cut(input_layouts=Shard(1)), "block.v": cut(input_layouts=Shard(1)),
        "block.o": row(output_layouts=Shard(1)), "block.up": cut(input_layouts=Shard(1)),
        "block.down": row(output_layouts=Shard(1)),
    })  # fmt: skip
    np.testing.assert_allclose(train(model, tp.loss_parallel), expected, atol=1e-5)
    assert model.block.up.weight.to_local().shape == (12, 4 * N)
    if not EVERYTHING:
        return
    plan = {"q": cut(), "k": cut(), "v": cut(), "o": row(), "up": cut(), "down": row()}
    model = Net()
    tp.parallelize_module(model.block, MESH, plan)
    np.testing.assert_allclose(train(model), expected, atol=1e-5)
    # every parameter whole, the batch cut
    model = distribute_module(
        Net(), MESH, input_fn=lambda m, args, mesh: (distribute_tensor(args[0], mesh, [Shard(0)]),)
    )
    np.testing.assert_allclose(train(model), expected, atol=1e-5)


for check in [facts, meshes, tensor_parallel]:
    check()
    dist.barrier()
operations(FEW + MANY if EVERYTHING else FEW)
print("ok")
dist.destroy_process_group()
