"""Run by ``test_distributed_checkpoint.py`` in a process with eight (fake) CPU devices: resharding, and the wrapper."""

from __future__ import annotations

import copy
import functools
import os
import pathlib

import numpy as np
import pytest

import jtorch as torch
import jtorch.distributed as dist
import jtorch.distributed.checkpoint as dcp
from jtorch import nn
from jtorch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from jtorch.distributed.checkpoint import metadata_file
from jtorch.distributed.checkpoint import state_dict as dsd
from jtorch.distributed.fsdp import (
    BackwardPrefetch,
    CPUOffload,
    DataParallelMeshDims,
    FSDPModule,
    FullOptimStateDictConfig,
    FullStateDictConfig,
    MixedPrecision,
    MixedPrecisionPolicy,
    OptimStateKeyType,
    ShardingStrategy,
    StateDictType,
    fully_shard,
    register_fsdp_forward_method,
)
from jtorch.distributed.fsdp import FullyShardedDataParallel as FSDP
from jtorch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from jtorch.distributed.fsdp.wrap import CustomPolicy, ModuleWrapPolicy, size_based_auto_wrap_policy
from jtorch.distributed.tensor import Replicate, Shard, distribute_tensor
from jtorch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from jtorch.nn import functional as F
from jtorch.serialization.safetensors import load_file

LINEARS = ModuleWrapPolicy({nn.Linear})


def mlp(width: int = 32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 8))


def train(model, opt=None, steps: int = 3):
    torch.manual_seed(1)
    x, y = torch.randn(32, 16), torch.randint(0, 8, (32,))
    opt = opt or torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        opt.zero_grad()
        loss = F.cross_entropy(model(x).float(), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses, opt


@pytest.fixture(scope="module")
def expected():
    """Losses, model and optimizer of one device."""
    model = mlp()
    losses, opt = train(model)
    return losses, model, opt


def same(a: dict, b: dict, atol: float = 1e-5) -> None:
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_allclose(a[name].float().numpy(), b[name].float().numpy(), rtol=0, atol=atol, err_msg=name)


# --- checkpoints: from any layout to any other -----------------------------------------------------------------------


def tensor_parallel(model):
    mesh = dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "tp"))
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel()})
    return fully_shard(model, mesh=mesh["dp"])


LAYOUTS = {
    "plain": lambda m: m,
    "fully_shard": fully_shard,
    "wrapper": lambda m: FSDP(m, auto_wrap_policy=LINEARS),
    "fsdp x tp": tensor_parallel,
}


def blocks(folder) -> dict[str, int]:
    metadata = dcp.FileSystemReader(folder).read_metadata()
    return {name: len(e.chunks) for name, e in metadata.state_dict_metadata.items() if hasattr(e, "chunks")}


@pytest.mark.parametrize(("source", "target"), [
    ("fully_shard", "plain"), ("plain", "wrapper"), pytest.param("wrapper", "fsdp x tp", marks=pytest.mark.slow),
    pytest.param("fsdp x tp", "fully_shard", marks=pytest.mark.slow),
])  # fmt: skip
def test_training_goes_on_in_another_layout(source, target, tmp_path):
    reference = mlp()
    before, opt = train(reference)
    after, _ = train(reference, opt)
    model = LAYOUTS[source](mlp())
    losses, opt = train(model)
    assert losses == pytest.approx(before, abs=1e-5)
    state = dict(zip(("model", "optim"), dsd.get_state_dict(model, opt), strict=True))
    dcp.save(state, checkpoint_id=tmp_path)
    assert (max(blocks(tmp_path).values()) > 1) == (source != "plain")

    other = LAYOUTS[target](nn.Sequential(*copy.deepcopy(list(mlp()))).apply(zero))
    layouts = [getattr(p, "placements", None) for p in other.parameters()]
    opt = torch.optim.AdamW(other.parameters(), lr=1.0)
    state = dict(zip(("model", "optim"), dsd.get_state_dict(other, opt), strict=True))
    dcp.load(state, checkpoint_id=tmp_path)
    dsd.set_state_dict(other, opt, model_state_dict=state["model"], optim_state_dict=state["optim"])
    assert opt.param_groups[0]["lr"] == 1e-2
    assert [getattr(p, "placements", None) for p in other.parameters()] == layouts
    for p in other.parameters():
        assert getattr(opt.state[p]["exp_avg"], "placements", None) == getattr(p, "placements", None)
    assert train(other, opt)[0] == pytest.approx(after, abs=1e-5)


def zero(m):
    for p in m.parameters(recurse=False):
        nn.init.zeros_(p)


def test_blocks_of_any_shape(tmp_path):
    mesh = dist.init_device_mesh("cpu", (2, 4))
    t = torch.arange(16 * 24.0).view(16, 24)
    kinds = {
        "rows": [Shard(0), Replicate()], "columns": [Replicate(), Shard(1)], "both": [Shard(0), Shard(1)],
        "twice": [Shard(1), Shard(1)], "copies": [Replicate(), Replicate()],
    }  # fmt: skip
    dcp.save({k: distribute_tensor(t, mesh, p) for k, p in kinds.items()}, checkpoint_id=tmp_path)
    assert blocks(tmp_path) == {"rows": 2, "columns": 4, "both": 8, "twice": 8, "copies": 1}
    for placements in (*kinds.values(), None):
        state = {k: torch.zeros(16, 24) for k in kinds}
        if placements is not None:
            state = {k: distribute_tensor(t, mesh, placements) for k, t in state.items()}
        held = dict(state)
        dcp.load(state, checkpoint_id=tmp_path)
        for name, found in state.items():
            assert found is held[name] and torch.equal(found, t), (name, placements)
            assert placements is None or found.placements == tuple(placements)
    dcp.save({"t": distribute_tensor(t, mesh, kinds["both"])},
             storage_writer=dcp.HuggingFaceStorageWriter(tmp_path / "whole"))  # fmt: skip
    assert torch.equal(load_file(tmp_path / "whole" / "model-00001-of-00001.safetensors")["t"], t)
    state = {"t": distribute_tensor(torch.zeros(16, 24), mesh, kinds["columns"])}
    dcp.load(state, storage_reader=dcp.HuggingFaceStorageReader(tmp_path / "whole"))
    assert torch.equal(state["t"], t)
    view = torch.zeros(2, 16, 24)
    dcp.load({"both": view[1]}, checkpoint_id=tmp_path)
    assert torch.equal(view[1], t) and not view[0].any()


def test_types_and_uneven_tensors(tmp_path):
    mesh = dist.init_device_mesh("cpu", (8,))
    state = {
        "half": distribute_tensor(torch.arange(16.0).bfloat16(), mesh, [Shard(0)]),
        "whole": distribute_tensor(torch.arange(8), mesh, [Shard(0)]),
        "odd": torch.arange(7.0), "flag": torch.tensor(True), "none": torch.zeros(0, 3),
    }  # fmt: skip
    dcp.save(state, checkpoint_id=tmp_path)
    empty = {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in state.items()}
    dcp.load(empty, checkpoint_id=tmp_path)
    for name in state:
        assert torch.equal(empty[name], state[name]), name
    other = {"half": torch.zeros(16), "odd": torch.zeros(7, dtype=torch.float64)}  # the tensors' own dtypes count
    dcp.load(other, checkpoint_id=tmp_path)
    assert other["half"].dtype is torch.float32 and other["half"][9] == 9 and other["odd"].dtype is torch.float64


def test_asynchronous_save_is_of_the_moment(tmp_path, expected):
    model = FSDP(mlp(), auto_wrap_policy=LINEARS)
    _, opt = train(model, steps=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    saving = dcp.async_save({"model": dsd.get_model_state_dict(model)}, checkpoint_id=tmp_path)
    train(model, opt)
    assert type(saving.result()).__name__ == "Metadata" and blocks(tmp_path)["model.0.weight"] == 8
    loaded = {"model": dsd.get_model_state_dict(mlp())}
    dcp.load(loaded, checkpoint_id=tmp_path)
    same(loaded["model"], before, 0)
    assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])


def test_optimizer_state_by_its_own_name(tmp_path):
    model = fully_shard(mlp())
    _, opt = train(model)
    dcp.save({"model": dsd.get_model_state_dict(model), "optim": dsd.get_optimizer_state_dict(model, opt)},
             checkpoint_id=tmp_path)  # fmt: skip
    found = dcp.load_sharded_optimizer_state_dict(
        dsd.get_model_state_dict(model), "optim", dcp.FileSystemReader(tmp_path)
    )["optim"]
    moment = found["state"]["0.weight"]["exp_avg"]
    assert moment.placements == (Shard(0),) and torch.equal(moment, opt.state[model[0].weight]["exp_avg"])
    assert found["param_groups"][0]["lr"] == 1e-2


def test_one_for_another_librarys_reader():
    """Left for ``test_distributed_checkpoint.py``, which reads it with PyTorch."""
    folder = pathlib.Path(os.environ["CHECKPOINT_FOLDER"])
    mesh = dist.init_device_mesh("cpu", (2, 4))
    t = torch.arange(8 * 12.0).view(8, 12)
    dcp.save({"m": {"w": distribute_tensor(t, mesh, [Shard(0), Shard(1)])}, "n": 3}, checkpoint_id=folder)
    assert metadata_file.loads((folder / ".metadata").read_bytes()).planner_data["m.w"] == ("m", "w")


# --- state by plain names --------------------------------------------------------------------------------------------


def test_state_whole_on_the_host_or_flat(expected):
    model = FSDP(mlp(), auto_wrap_policy=LINEARS)
    _, opt = train(model)
    model[0].bias.requires_grad_(False)
    whole = dsd.StateDictOptions(full_state_dict=True, cpu_offload=True)
    found, optim = dsd.get_state_dict(model, opt, options=whole)
    assert not any(hasattr(t, "placements") for t in found.values())
    same(found, expected[1].state_dict())
    assert optim["param_groups"][0]["params"] == list(found)
    dsd.set_model_state_dict(model, {k: v + 1 for k, v in found.items()}, options=whole)
    same(model.state_dict(), {k: v + 1 for k, v in found.items()})
    assert model[0].weight.placements == (Shard(0),)
    frozen = dsd.get_model_state_dict(model, options=dsd.StateDictOptions(ignore_frozen_params=True))
    assert list(frozen) == [k for k in found if k != "0.bias"]
    model[0].bias.requires_grad_(True)

    sgd = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    train(model, sgd, 1)
    flat = dsd.get_optimizer_state_dict(model, sgd, options=dsd.StateDictOptions(flatten_optimizer_state_dict=True))
    assert flat["param_groups.4.bias.lr"] == 0.5
    assert torch.equal(flat["state.4.bias.momentum_buffer"], sgd.state[model[4].bias]["momentum_buffer"])
    other = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    dsd.set_optimizer_state_dict(model, other, flat)
    assert other.param_groups[0]["lr"] == 0.5
    same({"": other.state[model[4].bias]["momentum_buffer"]}, {"": flat["state.4.bias.momentum_buffer"]}, 0)


# --- FullyShardedDataParallel ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {"auto_wrap_policy": LINEARS, "use_orig_params": True, "backward_prefetch": BackwardPrefetch.BACKWARD_POST},
    {"sharding_strategy": ShardingStrategy.NO_SHARD},
    {"sharding_strategy": ShardingStrategy.SHARD_GRAD_OP, "auto_wrap_policy": CustomPolicy(
        lambda m: {"sharding_strategy": ShardingStrategy.FULL_SHARD} if isinstance(m, nn.Linear) else False)},
    pytest.param({"sharding_strategy": ShardingStrategy.HYBRID_SHARD, "device_mesh": (2, 4)}, marks=pytest.mark.slow),
], ids=["full", "none", "grad", "hybrid"])  # fmt: skip
def test_losses_and_state_of_one_device(options, expected):
    if "device_mesh" in options:
        options = {**options, "device_mesh": dist.init_device_mesh("cpu", options["device_mesh"])}
    model = FSDP(mlp(), **options)
    losses, opt = train(model)
    assert losses == pytest.approx(expected[0], abs=1e-5)
    same(model.state_dict(), expected[1].state_dict())
    parts = {None: 8, ShardingStrategy.NO_SHARD: 1, ShardingStrategy.HYBRID_SHARD: 4}
    p = model.module[2].weight if not isinstance(model.module[2], FSDP) else model.module[2].module.weight
    assert p.numel() // p.to_local().numel() == parts.get(options.get("sharding_strategy"), 8)
    named = FSDP.optim_state_dict(model, opt)
    for name, q in expected[1].named_parameters():
        same({"": named["state"][name]["exp_avg"]}, {"": expected[2].state[q]["exp_avg"]})


def test_state_dict_types(expected):
    model = FSDP(mlp(), auto_wrap_policy=LINEARS)
    _, opt = train(model)
    with FSDP.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
        cut = model.state_dict()
        assert all(t.placements == (Shard(0),) for t in cut.values())
        assert FSDP.optim_state_dict(model, opt)["state"]["0.weight"]["exp_avg"].shape == (32, 16)
    config = FullStateDictConfig(offload_to_cpu=True, rank0_only=True), FullOptimStateDictConfig(rank0_only=True)
    before = FSDP.set_state_dict_type(model, StateDictType.FULL_STATE_DICT, *config)
    assert before.state_dict_type is StateDictType.FULL_STATE_DICT and before.state_dict_config == FullStateDictConfig()
    whole, optim = model.state_dict(), FSDP.optim_state_dict(model, opt)
    same(whole, expected[1].state_dict())
    assert FSDP.get_state_dict_type(model).optim_state_dict_config == config[1]
    other = FSDP(mlp().apply(zero), auto_wrap_policy=LINEARS)
    other.load_state_dict(whole)
    same(other.state_dict(), whole, 0)
    assert all(p.placements == (Shard(0),) for p in other.parameters())
    adam = torch.optim.AdamW(other.parameters(), lr=0.1)
    FSDP.optim_state_dict_to_load(other, adam, optim, load_directly=True)
    assert adam.param_groups[0]["lr"] == 1e-2 and train(other, adam)[0] == pytest.approx(train(model, opt)[0], abs=1e-5)
    numbered = FSDP.rekey_optim_state_dict(optim, OptimStateKeyType.PARAM_ID, expected[1])
    assert list(numbered["state"]) == list(range(6)) == numbered["param_groups"][0]["params"]
    assert list(FSDP.rekey_optim_state_dict(numbered, OptimStateKeyType.PARAM_NAME, expected[1])["state"]) == list(
        whole
    )
    with pytest.warns(FutureWarning, match="replaced by"):
        assert set(FSDP.full_optim_state_dict(model, opt)["state"]) == set(whole)
    with pytest.raises(NotImplementedError, match="SHARDED_STATE_DICT"):
        FSDP.set_state_dict_type(model, StateDictType.LOCAL_STATE_DICT)
    with pytest.raises(RuntimeError, match="Expected state_dict_config of type"):
        FSDP.set_state_dict_type(model, StateDictType.SHARDED_STATE_DICT, FullStateDictConfig())


def test_names_and_summoned_parameters():
    model = FSDP(mlp(), auto_wrap_policy=LINEARS)
    assert next(n for n, _ in model.named_parameters()) == "_fsdp_wrapped_module.0._fsdp_wrapped_module.weight"
    assert len(FSDP.fsdp_modules(model)) == 4 and FSDP.fsdp_modules(model, root_only=True) == [model]
    assert isinstance(model.module, nn.Sequential) and model[0].in_features == 16 and model.check_is_root()
    before = model.state_dict()
    with FSDP.summon_full_params(model, writeback=False, offload_to_cpu=True):
        assert [n for n, _ in model.named_parameters()] == list(before)
        for p in model.parameters():
            assert not hasattr(p, "placements")
            p.data.fill_(3.0)
    same(model.state_dict(), before, 0)
    with FSDP.summon_full_params(model):
        for p in model.parameters():
            p.data.add_(1.0)
    same(model.state_dict(), {k: v + 1 for k, v in before.items()})
    assert all(p.placements == (Shard(0),) for p in model.parameters())
    with pytest.raises(NotImplementedError, match="writeback=False"), FSDP.summon_full_params(model, rank0_only=True):
        pass
    with FSDP.summon_full_params(model, offload_to_cpu=True):
        for p in model.parameters():
            p.data.fill_(2.0)
    assert all(p.placements == (Shard(0),) and (p == 2).all() for p in model.parameters())
    model.double()
    assert all(p.placements == (Shard(0),) and p.dtype is torch.float64 for p in model.parameters())
    model.apply(zero)
    assert not any(p.any() for p in model.parameters())
    assert all(p.placements == (Shard(0),) for p in model.parameters())


def test_clipping_and_accumulation():
    plain, model = mlp(), FSDP(mlp(), auto_wrap_policy=LINEARS)
    x = torch.randn(32, 16)
    for half in x.chunk(2):
        plain(half).sum().backward()
    with model.no_sync():
        model(x[:16]).sum().backward()
    model(x[16:]).sum().backward()
    norms = [m(1.0).item() for m in (lambda v: nn.utils.clip_grad_norm_(plain.parameters(), v), model.clip_grad_norm_)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    for p, q in zip(plain.parameters(), model.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=1e-5)
    with pytest.raises(RuntimeError, match="root"):
        model[0].clip_grad_norm_(1.0)


def test_scaled_gradients(expected):
    model, scaler = FSDP(mlp(), auto_wrap_policy=LINEARS), ShardedGradScaler("cpu")
    torch.manual_seed(1)
    x, y = torch.randn(32, 16), torch.randint(0, 8, (32,))
    opt, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(3):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(opt), scaler.update()
        losses.append(loss.item())
    assert losses == pytest.approx(expected[0], abs=1e-5) and scaler.get_scale() == 2.0**16
    before = model.module[0].module.bias.detach().clone()
    model.module[0].module.bias.grad = torch.full_like(before, float("inf"))
    scaler.step(opt), scaler.update()
    assert torch.equal(model.module[0].module.bias, before) and scaler.get_scale() == 2.0**15


class Typed(nn.Module):
    """Notes what it computes with."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lin, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)
        self.register_buffer("shift", torch.ones(16))
        self.seen = []

    def forward(self, x):
        out = self.lin(x) + self.shift
        self.seen.append((x.dtype, self.lin.weight.dtype, self.shift.dtype, self.norm.weight.dtype, out.dtype))
        return out


def test_mixed_precision():
    low, x = torch.bfloat16, torch.randn(16, 16)
    model = FSDP(Typed(), mixed_precision=MixedPrecision(low, torch.float32, low))
    model(x).float().sum().backward()
    assert model.seen == [(low, low, low, torch.float32, low)]
    assert model.lin.weight.dtype is torch.float32 and model.lin.weight.grad.dtype is torch.float32
    assert model.state_dict()["shift"].dtype is torch.float32
    plain = Typed()
    plain(x).sum().backward()
    np.testing.assert_allclose(model.lin.weight.grad.numpy(), plain.lin.weight.grad.numpy(), rtol=0.02, atol=0.1)
    assert fully_shard(mlp()).to(low)[2].weight.placements == (Shard(0),)
    policy = MixedPrecisionPolicy(low, torch.float32, torch.float32)
    model = fully_shard(Typed(), mp_policy=policy, reshard_after_forward=False)
    assert model(x).dtype is torch.float32 and model.seen[0] == (low, low, torch.float32, low, torch.float32)


def test_ignored_modules_and_meta_parameters():
    model = mlp()
    model = FSDP(model, ignored_modules=[model[2]], auto_wrap_policy=LINEARS)
    assert not hasattr(model[2].weight, "placements") and isinstance(model[0], FSDP) and not isinstance(model[2], FSDP)
    assert train(model)[0] == pytest.approx(train(mlp())[0], abs=1e-5)
    with torch.device("meta"):
        model = mlp()
    torch.manual_seed(3)
    model = FSDP(model, auto_wrap_policy=LINEARS)
    assert all(p.placements == (Shard(0),) for p in model.parameters()) and model[0].weight.std() > 0
    with torch.device("meta"):
        model = mlp()
    model = FSDP(model, param_init_fn=lambda m: zero(m.to_empty(device="cpu", recurse=False)))
    assert not any(p.any() for p in model.parameters())


@pytest.mark.slow
def test_size_based_policy_and_activation_checkpoints(expected):
    policy = functools.partial(size_based_auto_wrap_policy, min_num_params=600)
    model = FSDP(mlp(), auto_wrap_policy=policy)
    assert [isinstance(m, FSDP) for m in model.module] == [False, False, True, False, False]
    model = FSDP(checkpoint_wrapper(mlp()))
    assert isinstance(model.module, nn.Sequential)
    assert train(model)[0] == pytest.approx(expected[0], abs=1e-5)
    same(dsd.get_model_state_dict(model), expected[1].state_dict())


def test_methods_other_than_forward():
    model = nn.Linear(8, 8)
    model.twice = lambda x: (model.weight.placements, model(model(x)))
    fully_shard(model)
    register_fsdp_forward_method(model, "twice")
    placements, out = model.twice(torch.ones(8, 8))
    assert placements == (Replicate(),) and out.shape == (8, 8)
    assert model.weight.placements == (Shard(0),)
    model.set_requires_gradient_sync(False), model.unshard(async_op=True).wait(), model.reshard()


def test_lists_of_modules_and_dimensions_of_a_mesh(expected):
    mesh = dist.init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("pp", "copies", "parts"))
    model, dims = mlp(), DataParallelMeshDims(shard="parts", replicate="copies")
    assert fully_shard([model[2], model[4]], mesh=mesh, dp_mesh_dims=dims) == [model[2], model[4]]
    fully_shard(model, mesh=mesh, dp_mesh_dims=dims)
    assert isinstance(model[4], FSDPModule) and not isinstance(model[0], FSDPModule)
    for m in (model[0], model[2]):
        assert m.weight.placements == (Replicate(), Replicate(), Shard(0))
    assert train(model)[0] == pytest.approx(expected[0], abs=1e-5)
    with pytest.raises(NotImplementedError, match="one dimension to shard along"):
        fully_shard(mlp(), mesh=mesh, dp_mesh_dims=DataParallelMeshDims(replicate="copies"))
    with pytest.raises(NotImplementedError, match="multiply the loss"):
        model.set_gradient_divide_factor(2.0)


def test_in_a_job_of_one_process(expected):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = FSDP(mlp(), auto_wrap_policy=LINEARS)
        losses, _ = train(model)
        assert losses == pytest.approx(expected[0], abs=1e-5)
        x = torch.arange(32.0).view(16, 2)
        out = model[0](x.repeat(1, 8)).sum(1)  # on eight devices, where XLA likes
        total, found = out.detach().clone(), [torch.empty(16)]
        dist.all_reduce(total), dist.all_gather(found, out.detach())
        np.testing.assert_array_equal(total.numpy(), out.detach().numpy())
        np.testing.assert_array_equal(found[0].numpy(), out.detach().numpy())
        weight = model.module[0].module.weight
        before = weight.detach().clone()
        dist.broadcast(weight.detach(), 0)
        assert torch.equal(weight, before)
        sums = torch.zeros(2)
        sums[0] += out.sum()
        dist.all_reduce(sums)
        assert sums[0].item() == pytest.approx(out.sum().item())
        with pytest.raises(TypeError, match="process group"):
            FSDP(mlp(), process_group=3)
    finally:
        dist.destroy_process_group()


def test_what_the_wrapper_refuses():
    with pytest.raises(NotImplementedError, match="offload"):
        FSDP(mlp(), cpu_offload=CPUOffload(offload_params=True))
    with pytest.raises(ValueError, match="needs device_mesh"):
        FSDP(mlp(), sharding_strategy=ShardingStrategy.HYBRID_SHARD)
    with pytest.raises(ValueError, match="already have FSDP applied"):
        FSDP(FSDP(mlp(), auto_wrap_policy=LINEARS), auto_wrap_policy=LINEARS)
    with pytest.raises(NotImplementedError, match="keep_low_precision_grads"):
        FSDP(mlp(), mixed_precision=MixedPrecision(keep_low_precision_grads=True))
    with pytest.raises(NotImplementedError, match="register_hook"):
        FSDP(mlp()).register_comm_hook(None, None)
    with pytest.raises(ValueError, match="only pass ignored_states|just pass ignored_states"):
        model = mlp()
        FSDP(model, ignored_modules=[model[0]], ignored_states=[model[2].weight])
