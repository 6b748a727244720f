"""Run on every rank: training with parameters cut over the ranks gives what one process gives on the joined batch."""

from __future__ import annotations

import contextlib
import sys
import tempfile

import numpy as np
import pytest

import jtorch as torch
import jtorch.distributed as dist
import jtorch.distributed.checkpoint as dcp
from jtorch import nn
from jtorch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)  # fmt: skip
from jtorch.distributed.fsdp import (
    FSDPModule,
    FullStateDictConfig,
    MixedPrecision,
    MixedPrecisionPolicy,
    ShardingStrategy,
    StateDictType,
    fully_shard,
)  # fmt: skip
from jtorch.distributed.fsdp import (
    FullyShardedDataParallel as FSDP,
)
from jtorch.distributed.fsdp.wrap import ModuleWrapPolicy
from jtorch.distributed.tensor import DTensor, Replicate, Shard
from jtorch.nn import functional as F
from jtorch.utils.checkpoint import checkpoint

dist.init_process_group("gloo")
RANK, N = dist.get_rank(), dist.get_world_size()
EVERYTHING = "--all" in sys.argv
BATCH = 4


class Block(nn.Module):
    def __init__(self, again: bool = False):
        super().__init__()
        self.ln, self.up, self.down = nn.LayerNorm(6), nn.Linear(6, 9), nn.Linear(9, 6)
        self.again = again

    def compute(self, x):
        return x + self.down(F.gelu(self.up(self.ln(x))))

    def forward(self, x):
        return checkpoint(self.compute, x, use_reentrant=False) if self.again else self.compute(x)


class Net(nn.Module):
    def __init__(self, again: bool = False):
        super().__init__()
        self.emb, self.blocks = nn.Embedding(7, 6), nn.ModuleList([Block(again) for _ in range(1 + EVERYTHING)])
        self.out = nn.Linear(6, 7)
        self.register_buffer("scale", torch.ones(1))
        self.out.bias.requires_grad_(False)

    def forward(self, ids):
        x = self.emb(ids) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.out(x)


def net(again: bool = False):
    torch.manual_seed(0)
    return Net(again)


def data(steps: int):
    torch.manual_seed(1)
    return [torch.randint(0, 7, (N * BATCH, 3)) for _ in range(steps)]


def mine(x):
    return x[RANK * BATCH : (RANK + 1) * BATCH]


def loss_of(model, ids):
    return F.cross_entropy(model(ids).flatten(0, 1).float(), ids.flatten())


def optimizer(model):
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)


def train(model, batches, clip=nn.utils.clip_grad_norm_, before=None, opt=None):
    """``before(model)``: a context for a batch whose gradients are kept (PyTorch's accumulation)."""
    opt = opt or optimizer(model)
    losses, norms = [], []
    for i, ids in enumerate(batches):
        if before is None or i % 2 == 0:
            opt.zero_grad()
        with before(model) if before is not None and i % 2 == 0 else contextlib.nullcontext():
            loss = loss_of(model, ids)
            loss.backward()
        losses.append(loss.item())
        if before is not None and i % 2 == 0:
            continue
        norms.append(clip(model.parameters(), 0.5).item())
        opt.step()
    return losses, norms, opt


def whole(model):
    return {k.replace("_fsdp_wrapped_module.", ""): v.full_tensor() if isinstance(v, DTensor) else v
            for k, v in ((k, v.detach()) for k, v in model.named_parameters())}  # fmt: skip


def close(model, reference, atol=2e-5):
    found = whole(model)
    for name, p in reference.named_parameters():
        np.testing.assert_allclose(found[name].numpy(), p.detach().numpy(), atol=atol, err_msg=name)


def mean(x: float) -> float:
    t = torch.tensor([x])
    dist.all_reduce(t, dist.ReduceOp.AVG)
    return t.item()


@contextlib.contextmanager
def keeping(model):
    model.set_requires_gradient_sync(False)
    yield
    model.set_requires_gradient_sync(True)


def shard(model, **options):
    for block in model.blocks:
        fully_shard(block, **options)
    return fully_shard(model, **options)


def fully_sharded():
    batches = data(4)
    reference = net()
    expected = train(reference, batches)
    for again, options in ((False, {}), (True, {"reshard_after_forward": False}))[: 1 + EVERYTHING]:
        model = shard(net(again), **options)
        assert isinstance(model, FSDPModule) and type(model).__name__ == "FSDPNet"
        p = model.blocks[0].up.weight
        assert (
            isinstance(p, DTensor) and isinstance(p, nn.Parameter) and p.shape == (9, 6) and p.placements == (Shard(0),)
        )
        assert p.to_local().shape[0] == len(torch.arange(9).chunk(N)[RANK])
        losses, norms, opt = train(model, [mine(x) for x in batches])
        np.testing.assert_allclose([mean(x) for x in losses], expected[0], atol=2e-5)
        np.testing.assert_allclose(norms, expected[1], rtol=1e-4)
        close(model, reference)
        assert model.blocks[0].up.weight is p and p.grad.placements == (Shard(0),) and model.out.bias.grad is None
        assert isinstance(opt.state[p]["exp_avg"], DTensor)
        assert isinstance(model.state_dict()["emb.weight"], DTensor)
    with torch.no_grad():
        np.testing.assert_allclose(model(batches[0]).numpy(), reference(batches[0]).numpy(), atol=1e-4)
    # a step that has been compiled is compiled no more
    before = torch.debug.counters()["compiles"]
    train(model, [mine(x) for x in batches], opt=opt)
    assert torch.debug.counters()["compiles"] - before <= 1, torch.debug.counters()


def gradients():
    batches = data(4)
    reference = net()

    @contextlib.contextmanager
    def nothing(model):
        yield

    expected = train(reference, batches, before=nothing)
    model = shard(net())
    losses, norms, _ = train(model, [mine(x) for x in batches], before=keeping)
    np.testing.assert_allclose([mean(x) for x in losses], expected[0], atol=2e-5)
    np.testing.assert_allclose(norms, expected[1], rtol=1e-4)
    close(model, reference)
    # a graph used twice; a divisor of one's own
    model, plain = shard(net()), net()
    loss = loss_of(model, mine(batches[0]))
    loss.backward(retain_graph=True)
    loss.backward()
    (2 * loss_of(plain, batches[0])).backward()
    np.testing.assert_allclose(model.emb.weight.grad.full_tensor().numpy(), plain.emb.weight.grad.numpy(), atol=1e-6)
    model.zero_grad()
    model.set_gradient_divide_factor(2.0 * N)
    loss_of(model, mine(batches[0])).backward()
    ours, theirs = model.emb.weight.grad.full_tensor(), plain.emb.weight.grad
    np.testing.assert_allclose(ours.numpy(), theirs.numpy() / 4, atol=1e-6)
    model.unshard()
    assert type(model.emb.weight) is torch.Tensor and model.emb.weight.shape == (7, 6)
    model.reshard()
    assert isinstance(model.emb.weight, DTensor)
    with pytest.raises(NotImplementedError, match="Muon"):
        opt = torch.optim.Muon([model.emb.weight], lr=1e-2)
        opt.step()
    with pytest.raises(ValueError, match="already"):
        fully_shard(model)


def precision():
    batches = [mine(x) for x in data(3)]
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    model, exact = shard(net(), mp_policy=policy), shard(net())
    seen = []
    model.blocks[0].up.register_forward_hook(lambda m, args, out: seen.append((m.weight.dtype, out.dtype)))
    losses, expected = train(model, batches)[0], train(exact, batches)[0]
    np.testing.assert_allclose(losses, expected, atol=2e-2)
    assert seen[0] == (torch.bfloat16, torch.bfloat16) and model.emb.weight.dtype is torch.float32
    assert model.emb.weight.grad.dtype is torch.float32 and losses != expected


def meta():
    with torch.device("meta"):
        model = Net()
    shard(model)
    assert model.emb.weight.is_meta and model.emb.weight.shape == (7, 6)
    with pytest.raises(RuntimeError, match="meta device"):
        model(torch.zeros(1, 3, dtype=torch.int64))
    model.to_empty(device="cpu")
    full = net().state_dict()
    set_model_state_dict(model, full, options=StateDictOptions(full_state_dict=True))
    assert all(torch.equal(whole(model)[k], full[k]) for k, _ in model.named_parameters())
    for p in model.parameters():
        nn.init.constant_(p, 0.5)
    assert whole(model)["out.weight"].sum().item() == 21


def wrapped():
    batches = data(4)
    reference = net()
    expected = train(reference, batches)
    policy = ModuleWrapPolicy({Block})
    variants: list = [{"sync_module_states": True}]
    if EVERYTHING:
        variants += [{"sharding_strategy": ShardingStrategy.NO_SHARD}, {"mixed_precision": MixedPrecision()}]
    for options in variants:
        plain = net()
        if RANK and "sync_module_states" in options:
            for p in plain.parameters():
                nn.init.zeros_(p)
        model = FSDP(plain, auto_wrap_policy=policy, use_orig_params=True, **options)
        assert model.world_size == N and model.rank == RANK
        clip = model.clip_grad_norm_
        losses, norms, opt = train(model, [mine(x) for x in batches], lambda params, most, clip=clip: clip(most))
        np.testing.assert_allclose([mean(x) for x in losses], expected[0], atol=2e-5)
        np.testing.assert_allclose(norms, expected[1], rtol=1e-4)
        close(model, reference)
    with FSDP.state_dict_type(model, StateDictType.FULL_STATE_DICT, FullStateDictConfig(True, rank0_only=True)):
        state = model.state_dict()
        assert len(state) == (len(reference.state_dict()) if RANK == 0 else 0)
        assert not any(isinstance(v, DTensor) for v in state.values())
    full = model.state_dict()
    assert list(full) == list(reference.state_dict()) and torch.equal(full["scale"], torch.ones(1))
    other = FSDP(net(), auto_wrap_policy=policy, use_orig_params=True)
    assert not any(other.load_state_dict(full))
    again = optimizer(other)
    again.load_state_dict(FSDP.optim_state_dict_to_load(other, again, FSDP.optim_state_dict(model, opt)))
    one = train(model, [mine(batches[0])], opt=opt)[0]
    np.testing.assert_allclose(train(other, [mine(batches[0])], opt=again)[0], one, atol=1e-6)
    for k, v in whole(model).items():
        np.testing.assert_allclose(whole(other)[k].numpy(), v.numpy(), atol=1e-5)
    with FSDP.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
        assert isinstance(model.state_dict()["out.weight"], DTensor)
    with FSDP.summon_full_params(model):
        assert "blocks.0.up.weight" in dict(model.named_parameters())
        assert type(model.module.out.weight) is nn.Parameter and model.module.out.weight.shape == (7, 6)
        nn.init.constant_(model.module.out.weight, 2.0)
    assert model.state_dict()["out.weight"].sum().item() == 84
    with FSDP.summon_full_params(model, writeback=False):
        nn.init.zeros_(model.module.out.weight)
    assert model.state_dict()["out.weight"].sum().item() == 84
    # accumulation
    expected, model = net(), FSDP(net(), auto_wrap_policy=policy, use_orig_params=True)
    (loss_of(expected, batches[0]) + loss_of(expected, batches[1])).backward()
    with model.no_sync():
        loss_of(model, mine(batches[0])).backward()
    loss_of(model, mine(batches[1])).backward()
    np.testing.assert_allclose(
        model.module.emb.weight.grad.full_tensor().numpy(), expected.emb.weight.grad.numpy(), atol=1e-6
    )


def checkpoints():
    batches = [mine(x) for x in data(3)]
    model = shard(net())
    opt = train(model, batches)[2]
    where = [tempfile.mkdtemp() if RANK == 0 else None]
    dist.broadcast_object_list(where, 0)
    model_state, optim_state = get_state_dict(model, opt)
    dcp.save({"model": model_state, "optim": optim_state, "step": 3}, checkpoint_id=where[0])
    everything = StateDictOptions(full_state_dict=True, cpu_offload=True)
    full, full_optim = (
        get_model_state_dict(model, options=everything), get_optimizer_state_dict(model, opt, options=everything)
    )  # fmt: skip
    assert (len(full), len(full_optim)) == ((len(model.state_dict()), 2) if RANK == 0 else (0, 0))
    # into another layout from the files, into the same one from rank 0's dict
    other, same = FSDP(net(), use_orig_params=True), shard(net())
    optims = optimizer(other), optimizer(same)
    states = dict(zip(("model", "optim"), get_state_dict(other, optims[0]), strict=True)) | {"step": 0}
    dcp.load(states, checkpoint_id=where[0])
    assert states["step"] == 3
    set_state_dict(other, optims[0], model_state_dict=states["model"], optim_state_dict=states["optim"])
    from_first = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(same, full, options=from_first)
    set_optimizer_state_dict(same, optims[1], full_optim, options=from_first)
    expected = train(model, batches, opt=opt)[0]
    for found, its in ((other, optims[0]), (same, optims[1])):
        np.testing.assert_allclose(train(found, batches, opt=its)[0], expected, atol=1e-5)
        for k, v in whole(model).items():
            np.testing.assert_allclose(whole(found)[k].numpy(), v.numpy(), atol=1e-5)


def two_dimensions():
    """Copies of parts; parts of what tensor parallelism has cut (four ranks)."""
    from jtorch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    batches = data(3)
    reference = net()
    expected = train(reference, batches)
    mesh = dist.init_device_mesh("cpu", (2, N // 2), mesh_dim_names=("dp", "tp"))
    model = shard(net(), mesh=mesh)
    assert model.emb.weight.placements == (Replicate(), Shard(0))
    losses, norms, _ = train(model, [mine(x) for x in batches])
    np.testing.assert_allclose([mean(x) for x in losses], expected[0], atol=2e-5)
    close(model, reference)
    model = net()
    for block in model.blocks:
        # 9 features over two ranks: from local parts, of 5 and 4, neither this nor PyTorch could tell that there are 9
        parallelize_module(
            block, mesh["tp"], {"up": ColwiseParallel(use_local_output=False), "down": RowwiseParallel()}
        )
    shard(model, mesh=mesh["dp"])
    assert len(model.blocks[0].up.weight.placements) == 2
    here = mesh["dp"].get_local_rank()
    parts = [x.chunk(2)[here] for x in batches]  # ranks that share a copy of the model have one batch
    losses = train(model, parts, clip=lambda params, most: torch.tensor(0.0))[0]
    plain = net()
    expected = train(plain, batches, clip=lambda params, most: torch.tensor(0.0))[0]
    np.testing.assert_allclose([mean(x) for x in losses], expected, atol=2e-5)
    close(model, plain)


CHECKS: list = [fully_sharded, gradients, meta, wrapped, checkpoints]
if EVERYTHING:
    CHECKS.append(precision)
if N == 4:
    CHECKS = [two_dimensions]
for check in CHECKS:
    check()
    dist.barrier()
print("ok")
dist.destroy_process_group()
