"""Run on every rank: training with DistributedDataParallel against one process on the joined batch."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import jtorch as torch
import jtorch.distributed as dist
from jtorch import config, nn
from jtorch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from jtorch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from jtorch.distributed.optim import ZeroRedundancyOptimizer
from jtorch.nn import functional as F
from jtorch.nn.parallel import DistributedDataParallel as DDP

config.interpret = False  # what several processes train is compared with what one does, to the last digits
dist.init_process_group("gloo")
RANK, N = dist.get_rank(), dist.get_world_size()
BATCH = 4  # of one rank


def mine(x):
    return x[RANK * BATCH : (RANK + 1) * BATCH]


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(),
        nn.Linear(400, 5),
    )  # fmt: skip


def data(shape=(1, 8, 8), steps: int = 6, classes: int = 5):
    torch.manual_seed(1)
    return [(torch.randn(N * BATCH, *shape), torch.randint(0, classes, (N * BATCH,))) for _ in range(steps)]


def train(model, batches, optimizer=torch.optim.Adam, lr=1e-2):
    opt = optimizer(model.parameters(), lr=lr)
    losses = []
    for x, y in batches:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def close(a, b, atol=1e-5):
    for (name, p), (_, q) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=0, atol=atol, err_msg=name)


def mean(x: float) -> float:
    t = torch.tensor([x])
    dist.all_reduce(t, dist.ReduceOp.AVG)
    return t.item()


def equal_on_all_ranks(model):
    for name, p in model.state_dict().items():
        every = [torch.empty_like(p) for _ in range(N)]
        dist.all_gather(every, p)
        for other in every:
            assert torch.equal(other, every[0]), name


def equals_one_process():
    reference, batches = cnn(), data()
    expected = train(reference, batches)
    model = cnn()
    if RANK:
        for p in model.parameters():  # rank 0's count
            nn.init.zeros_(p)
    ddp = DDP(model)
    assert [k.removeprefix("module.") for k in ddp.state_dict()] == list(model.state_dict())
    assert all(k.startswith("module.") for k in ddp.state_dict()) and ddp.module is model
    before = torch.debug.counters()["compiles"]
    losses = train(ddp, [(mine(x), mine(y)) for x, y in batches])
    assert torch.debug.counters()["compiles"] - before <= 6, torch.debug.counters()  # not one for each step
    np.testing.assert_allclose([mean(x) for x in losses], expected, atol=1e-5)
    close(model, reference)
    equal_on_all_ranks(model)


def gradients_are_there_after_backward():
    reference, model = nn.Linear(3, 2), nn.Linear(3, 2)
    model.load_state_dict(reference.state_dict())
    ddp = DDP(model)
    dist.broadcast(reference.weight, 0), dist.broadcast(reference.bias, 0)
    torch.manual_seed(2)
    x = torch.randn(N * BATCH, 3)
    reference(x).square().mean().backward()
    ddp(mine(x)).square().mean().backward()
    np.testing.assert_allclose(model.weight.grad.numpy(), reference.weight.grad.numpy(), atol=1e-6)
    # accumulated over two batches, only the second of which communicates
    for m in (reference, model):
        m.zero_grad()
    y = torch.randn(N * BATCH, 3)
    (reference(x).square().mean() + reference(y).square().mean()).backward()
    with ddp.no_sync():
        ddp(mine(x)).square().mean().backward()
    own = model.weight.grad.clone()
    every = [torch.empty_like(own) for _ in range(N)]
    dist.all_gather(every, own)
    assert not torch.equal(every[0], every[1])
    held = model.weight.grad
    ddp(mine(y)).square().mean().backward()
    assert model.weight.grad is held
    np.testing.assert_allclose(held.numpy(), reference.weight.grad.numpy(), atol=1e-6)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x, which):
        return self.a(x) if which == "a" else self.b(x)


def unused_parameters():
    x = torch.ones(1, 2)
    for options in ({"find_unused_parameters": True}, {"static_graph": True}):
        ddp = DDP(Branches(), **options)
        m = ddp.module
        for _ in range(2):
            ddp.zero_grad()
            ddp(x, "a" if RANK == 0 else "b").sum().backward()  # rank 0 uses a, the others b; nobody c
            np.testing.assert_allclose(m.a.bias.grad.numpy(), np.full(2, 1 / N))
            np.testing.assert_allclose(m.b.bias.grad.numpy(), np.full(2, (N - 1) / N), rtol=1e-6)
            assert m.c.bias.grad is None
    strict = DDP(Branches())
    strict(x, "a").sum().backward()
    with pytest.raises(RuntimeError, match="Expected to have finished reduction.*b.weight, b.bias, c.weight"):
        strict(x, "a")
    with pytest.raises(RuntimeError, match="doesn't have any parameters"):
        DDP(nn.ReLU())
    with pytest.raises(ValueError, match="device_ids"):
        DDP(nn.Linear(1, 1), device_ids=[0])


def different_models():
    with pytest.raises(RuntimeError, match="params"):
        DDP(nn.Linear(2, 2 + RANK))
    with pytest.raises(RuntimeError, match="same model across all ranks"):
        DDP(nn.Sequential(*[nn.Linear(2, 2) for _ in range(1 + RANK)]))


def buffers():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5))
    ddp = DDP(model)
    batches = [(mine(x), mine(y)) for x, y in data((3,), steps=3)]
    train(ddp, batches)
    ddp(batches[0][0])  # takes rank 0's buffers; then each its own statistics
    means = [torch.empty(4) for _ in range(N)]
    dist.all_gather(means, model[1].running_mean)
    assert not torch.equal(means[0], means[1])
    ddp.eval()
    ddp(batches[0][0])
    equal_on_all_ranks(model)
    assert model[1].num_batches_tracked.item() == 4


def hooks():
    torch.manual_seed(0)
    batches = [(mine(x), mine(y)) for x, y in data((3,), steps=3)]
    models = []
    for hook in (None, default_hooks.allreduce_hook, default_hooks.bf16_compress_hook):
        torch.manual_seed(5)
        ddp = DDP(nn.Linear(3, 5))
        if hook is not None:
            ddp.register_comm_hook(None, hook)
        train(ddp, batches, torch.optim.SGD)
        models.append(ddp.module)
    close(models[1], models[0], 1e-7)
    close(models[2], models[0], 1e-3)
    assert not torch.equal(models[2].weight, models[0].weight)


def power_sgd():
    batches = [(mine(x), mine(y)) for x, y in data((3,), steps=4)]
    models = []
    for rank in (None, 8, 1):  # 8: all that there is, so nothing is lost
        torch.manual_seed(5)
        ddp = DDP(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 5)))
        if rank:
            state = powerSGD_hook.PowerSGDState(None, rank, start_powerSGD_iter=2, min_compression_rate=0.1)
            ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        train(ddp, batches, torch.optim.SGD, lr=0.1)
        equal_on_all_ranks(ddp)
        models.append(ddp.module)
    close(models[1], models[0], 1e-5)
    close(models[2], models[0], 0.1)
    assert not torch.equal(models[2][0].weight, models[0][0].weight) and state.compression_stats()[0] > 1
    with pytest.raises(ValueError, match="start_powerSGD_iter"):
        powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=0)


def optimizer_in_parts():
    batches = [(mine(x), mine(y)) for x, y in data(steps=3)]
    reference, model = DDP(cnn()), DDP(cnn())
    train(reference, batches)
    opt = ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, lr=1e-2)
    for x, y in batches:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    close(model, reference, 1e-6)
    equal_on_all_ranks(model)
    assert len(opt.optim.state) < len(list(model.parameters()))  # the rest is with the others
    opt.consolidate_state_dict(0)
    if RANK == 0:
        assert sorted(opt.state_dict()["state"]) == list(range(len(list(model.parameters()))))
    else:
        with pytest.raises(RuntimeError, match="consolidate_state_dict"):
            opt.state_dict()
    averager = PeriodicModelAverager(period=2, warmup_steps=1)
    for p in model.parameters():
        p.data += RANK
    averager.average_parameters(model.parameters())
    moved = next(model.parameters()) - next(reference.parameters())
    np.testing.assert_allclose(moved.detach().numpy(), np.full(moved.shape, RANK), atol=1e-5)  # not yet
    averager.average_parameters(model.parameters())
    moved = next(model.parameters()) - next(reference.parameters())
    np.testing.assert_allclose(moved.detach().numpy(), np.full(moved.shape, (N - 1) / 2), atol=1e-5)


def uneven_batches():
    """Rank r has 2 + r batches; the average counts those that are done as zeros, or leaves them out."""
    for initial in (True, False):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, momentum=1.0), nn.Linear(3, 1))
        reference = copy.deepcopy(model)
        ddp = DDP(model)
        opt = torch.optim.SGD(ddp.parameters(), lr=0.1)
        xs = {r: [torch.randn(4, 2) for _ in range(2 + r)] for r in range(N)}
        with ddp.join(divide_by_initial_world_size=initial):
            for x in xs[RANK]:
                opt.zero_grad()
                ddp(x).sum().backward()
                opt.step()
        plain = torch.optim.SGD(reference.parameters(), lr=0.1)
        for step in range(1 + N):
            active = [r for r in range(N) if step < 2 + r]
            plain.zero_grad()
            (sum(reference(xs[r][step]).sum() for r in active) / (N if initial else len(active))).backward()
            plain.step()
        for p, q in zip(model.parameters(), reference.parameters(), strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=1e-5)
        equal_on_all_ranks(model)
    with pytest.raises(RuntimeError, match="exhausted"):
        with ddp.join(throw_on_early_termination=True):
            for x in xs[RANK]:
                ddp(x).sum().backward()


def sync_batch_norm():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 3, 3, bias=False)  # a bias would have a gradient of zero, whose rounding Adam magnifies
    reference = nn.Sequential(conv, nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5))
    model = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(reference))
    assert isinstance(model[1], nn.SyncBatchNorm) and list(model.state_dict()) == list(reference.state_dict())
    batches = data()
    expected = train(reference, batches)
    losses = train(DDP(model), [(mine(x), mine(y)) for x, y in batches])
    np.testing.assert_allclose([mean(x) for x in losses], expected, atol=1e-5)
    close(model, reference)
    model.eval(), reference.eval()
    ours, theirs = (m(batches[0][0]).detach().numpy() for m in (model, reference))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def differentiable_collectives():
    d = dist.nn.functional
    x = torch.tensor([1.0 + RANK, 2.0], requires_grad=True)
    total = sum(range(1, N + 1))
    (d.all_reduce(x) ** 2).sum().backward()  # each rank's loss is S²; its gradient in x_r is Σ over ranks 2 S
    np.testing.assert_allclose(x.grad.numpy(), [2 * N * total, 2 * N * 2 * N])
    x.grad = None
    parts = d.all_gather(x)
    sum((i + 1) * p for i, p in enumerate(parts)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(2, N * (RANK + 1)))
    x.grad = None
    (d.broadcast(x, 1) * (RANK + 1)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(2, total if RANK == 1 else 0))
    x.grad = None
    out = d.all_to_all_single(torch.empty(N), x[0] * torch.arange(1.0, N + 1))
    np.testing.assert_allclose(out.detach().numpy(), (RANK + 1) * np.arange(1, N + 1))
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [total, 0])
    x.grad = None
    out = d.reduce_scatter(torch.empty(1), [x[:1] * (r + 1) for r in range(N)])
    assert out.item() == (RANK + 1) * total
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [total, 0])


for check in (equals_one_process, gradients_are_there_after_backward, unused_parameters, different_models, buffers,
              hooks, power_sgd, optimizer_in_parts, uneven_batches, sync_batch_norm,
              differentiable_collectives):  # fmt: skip
    check()
    dist.barrier()
print("ok")  # and no destroy_process_group: the ranks wait for each other at the end
