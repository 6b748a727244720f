"""Run by ``test_distributed_devices.py`` in a process with eight (fake) CPU devices."""

from __future__ import annotations

import collections
import os
import pathlib
import re
import sys

import pytest

import jtorch as torch
import jtorch.distributed as dist
from jtorch import nn
from jtorch.distributed import tensor as dt
from jtorch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, fully_shard
from jtorch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_module, distribute_tensor
from jtorch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from jtorch.distributed.tensor.placement_types import _StridedShard
from jtorch.nn import functional as F
from jtorch.nn.parallel import DataParallel

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "examples"))
from char_gpt import GPT  # noqa: E402


def collectives() -> dict[str, int]:
    """How many of each the program that ran last holds."""
    names = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    return collections.Counter(re.findall(rf" ({names})(?:-start)?\(", torch.debug.last_trace().hlo()))


def device_bytes(tensors) -> int:
    """Bytes that the first device holds of these tensors."""
    return sum(t.to_local().nbytes for t in tensors)


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3),
            nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 16),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8))


def train(prepare, steps: int = 6, kind: str = "cnn", batch: int = 32, optimizer: str = "AdamW"):
    """The losses, the model, the optimizer and the number of programs of a few steps."""
    torch.manual_seed(0)
    if kind == "cnn":
        model, x, y = CNN(), torch.randn(batch, 1, 8, 8), torch.randint(0, 16, (batch,))
    elif kind == "gpt":
        model = GPT(16, 8, width=32, heads=4, layers=2)
        x, y = torch.randint(0, 16, (batch, 8)), torch.randint(0, 16, (batch * 8,))
    else:
        model, x, y = mlp(), torch.randn(batch, 16), torch.randint(0, 8, (batch,))
    model = prepare(model)
    opt = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-2)
    before, losses = torch.debug.counters()["compiles"], []
    for _ in range(steps):
        opt.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        losses.append(loss.item())
    return losses, model, opt, torch.debug.counters()["compiles"] - before


_single: dict = {}


def single(kind: str, **how):
    """The losses of one device."""
    key = (kind, *how.items())
    if key not in _single:
        _single[key] = train(lambda m: m, kind=kind, **how)[0]
    return _single[key]


TP_GPT = {
    "blocks.*.qkv": ColwiseParallel, "blocks.*.proj": RowwiseParallel, "blocks.*.mlp.0": ColwiseParallel,
    "blocks.*.mlp.2": RowwiseParallel,
}  # fmt: skip


def fsdp_by_block(model):
    for block in getattr(model, "blocks", ()):
        fully_shard(block)
    return fully_shard(model)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cnn", "gpt"])
@pytest.mark.parametrize("prepare", [DataParallel, fully_shard, fsdp_by_block])
def test_data_parallel_layouts_give_one_devices_losses(kind, prepare):
    losses, _, _, compiles = train(prepare, kind=kind)
    assert losses == pytest.approx(single(kind), abs=1e-5)
    assert losses[-1] < losses[0]
    assert compiles <= 1  # 0: the program of another layout that comes to the same


def test_tensor_parallel_gpt_gives_one_devices_losses():
    mesh = dist.init_device_mesh("cpu", (8,))
    losses, model, _, compiles = train(
        lambda m: parallelize_module(m, mesh, {k: s() for k, s in TP_GPT.items()}), kind="gpt"
    )
    assert losses == pytest.approx(single("gpt"), abs=1e-5)
    assert compiles == 1
    assert model.blocks[0].mlp[0].weight.placements == (Shard(0),)
    assert model.blocks[0].mlp[2].weight.placements == (Shard(1),)


def test_fsdp_over_tensor_parallel_gives_one_devices_losses():
    mesh = dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "tp"))

    def prepare(m):
        parallelize_module(m, mesh["tp"], {k: s() for k, s in TP_GPT.items()})
        return fully_shard(m, mesh=mesh["dp"])

    losses, model, _, compiles = train(prepare, kind="gpt")
    assert losses == pytest.approx(single("gpt"), abs=1e-5)
    assert compiles == 1
    weight = model.blocks[0].mlp[2].weight
    assert weight.to_local().numel() * 8 == weight.numel()


@pytest.mark.parametrize("prepare", [DataParallel, fully_shard])
@pytest.mark.parametrize("batch", [29, 5])
def test_uneven_batches_give_one_devices_losses(prepare, batch):
    losses, _, _, _ = train(prepare, kind="mlp", batch=batch)
    assert losses == pytest.approx(single("mlp", batch=batch), abs=1e-5)


def test_padding_of_uneven_batches_is_in_no_result():
    """Operations along the batch, where a row of padding would show."""

    class Along(nn.Module):
        def forward(self, x):
            return (
                x.amax(0), x.amin(0), x.prod(0), x.var(0), x.sort(0).values, x.softmax(0), x.cumsum(0), x.flip(0),
                x.argmin(0), x.T @ x, x.norm(), torch.cat([x, x]), x[-1], x.median(0).values,
            )  # fmt: skip

    x = 1 + torch.rand(13, 3)
    for a, b in zip(DataParallel(Along())(x), Along()(x), strict=True):
        assert a.shape == b.shape and torch.allclose(a, b, atol=1e-5)
    losses, _, _, _ = train(DataParallel, kind="cnn", batch=13)
    assert losses == pytest.approx(single("cnn", batch=13), abs=1e-5)


def test_batches_gathered_from_a_dataset_are_spread():
    """``x[indices]`` in the loop: one program, and each device multiplies its own rows."""
    model = DataParallel(mlp())
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(256, 16), torch.randint(0, 8, (256,))
    before = torch.debug.counters()["compiles"]
    for _ in range(3):
        chosen = torch.randint(0, 256, (48,))
        opt.zero_grad()
        F.cross_entropy(model(x[chosen]), y[chosen]).backward()
        opt.step()
    assert torch.debug.counters()["compiles"] - before == 1
    program = torch.debug.last_trace().hlo()
    assert "f32[6,32]" in program and "f32[48,32]" not in program


def test_a_loop_that_never_reads_is_kept_from_running_ahead():
    model = DataParallel(mlp())
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(64, 16), torch.randint(0, 8, (64,))
    for _ in range(100):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
    assert loss.item() < 2.0
    assert int(os.environ["NPROC"]) >= 16


# --- what the programs hold ------------------------------------------------------------------------------------------


def test_data_parallel_reduces_gradients_once_and_gathers_nothing():
    train(DataParallel, kind="mlp")
    found = collectives()
    assert set(found) == {"all-reduce"} and found["all-reduce"] <= 2  # gradients; their norm may come apart


def test_fsdp_gathers_parameters_and_never_exchanges_activations():
    train(fully_shard, kind="mlp")
    found = collectives()
    assert found["all-gather"] >= 6 and found["all-reduce"] >= 1
    assert not found["all-to-all"] and not found["collective-permute"]


def test_tensor_parallel_pair_needs_one_all_reduce():
    mesh = dist.init_device_mesh("cpu", (8,))
    model = parallelize_module(mlp(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    with torch.no_grad():
        model(torch.randn(4, 16)).sum().item()
    assert dict(collectives()) == {"all-reduce": 1}


def test_fsdp_keeps_an_eighth_of_parameters_gradients_and_state():
    _, model, opt, _ = train(fully_shard, kind="mlp")
    parameters = list(model.parameters())
    assert device_bytes(parameters) * 8 == sum(p.nbytes for p in parameters)
    assert all(p.placements == (Shard(0),) for p in parameters)
    for p in parameters:
        assert p.grad.placements == p.placements
        for name in ("exp_avg", "exp_avg_sq"):
            assert opt.state[p][name].placements == p.placements


def test_fsdp_cuts_another_dimension_or_none_where_the_first_is_uneven():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.randn(3, 16, 8))
            self.b = nn.Parameter(torch.randn(3))

        def forward(self, x):
            return (self.a.sum() + self.b.sum()) * x

    m = fully_shard(Odd())
    assert m.a.placements == (Shard(1),) and m.b.placements == (Replicate(),)
    m(torch.ones(8)).sum().backward()
    assert m.a.grad.placements == (Shard(1),)
    assert m.b.grad.tolist() == [8.0] * 3


def test_hybrid_sharding_keeps_copies():
    mesh = dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("replicate", "shard"))
    losses, model, _, _ = train(lambda m: fully_shard(m, mesh=mesh), kind="mlp")
    assert losses == pytest.approx(single("mlp"), abs=1e-5)
    assert device_bytes(model.parameters()) * 4 == sum(p.nbytes for p in model.parameters())


# --- modules stay modules --------------------------------------------------------------------------------------------


def test_data_parallel_state_dict_has_the_module_prefix():
    m = DataParallel(mlp())
    assert list(m.state_dict()) == ["module." + k for k in mlp().state_dict()]
    other = DataParallel(mlp(), device_ids=[0, 1])
    assert other.load_state_dict(m.state_dict()) == ([], [])


def test_data_parallel_on_one_device_is_a_plain_call():
    m = DataParallel(mlp(), device_ids=[3])
    assert not isinstance(m(torch.randn(4, 16)), DTensor)


def test_data_parallel_runs_the_steps_that_a_subclass_overrides():
    seen = []

    class Watched(DataParallel):
        def parallel_apply(self, replicas, inputs, kwargs):
            seen.append([len(replicas), [x.shape[0] for (x,) in inputs]])
            return super().parallel_apply(replicas, inputs, kwargs)

    m, x = mlp(), torch.randn(7, 16)
    expected = torch.autograd.grad(m(x).square().sum(), list(m.parameters()))
    out = Watched(m, device_ids=[0, 1, 2])(x)
    assert torch.allclose(out, m(x), atol=1e-5) and seen == [[3, [3, 3, 1]]]
    for got, g in zip(torch.autograd.grad(out.square().sum(), list(m.parameters())), expected, strict=True):
        assert torch.allclose(got, g, atol=1e-4)


def test_data_parallel_gradient_reaches_the_inputs():
    x = torch.randn(16, 16)
    m = mlp()
    plain, spread = x.clone().requires_grad_(), x.clone().requires_grad_()
    m(plain).square().sum().backward()
    DataParallel(m)(spread).square().sum().backward()
    assert torch.allclose(plain.grad, spread.grad, atol=1e-5)


def test_data_parallel_refuses_devices_that_are_not_there():
    with pytest.raises(RuntimeError, match=r"device numbers must lie in \[0, 8\)"):
        DataParallel(mlp(), device_ids=[8])
    with pytest.raises(RuntimeError, match="output_device 5 is not among"):
        DataParallel(mlp(), device_ids=[0, 1], output_device=5)


def test_fsdp_checkpoint_round_trip(tmp_path):
    """Saved sharded, loaded into one device and into a sharded model: the same next step; layouts stay."""
    _, model, opt, _ = train(fully_shard, kind="mlp", steps=3)
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, tmp_path / "c.pt")
    x, y = torch.randn(32, 16), torch.randint(0, 8, (32,))

    def resume(m):
        saved = torch.load(tmp_path / "c.pt")
        m.load_state_dict(saved["model"])
        o = torch.optim.AdamW(m.parameters(), lr=1e-2)
        o.load_state_dict(saved["opt"])
        out = []
        for _ in range(3):
            o.zero_grad()
            loss = F.cross_entropy(m(x), y)
            loss.backward()
            o.step()
            out.append(loss.item())
        return out, m, o

    plain, _, _ = resume(mlp())
    sharded, m, o = resume(fully_shard(mlp()))
    assert sharded == pytest.approx(plain, abs=1e-5)
    assert all(p.placements == o.state[p]["exp_avg"].placements == (Shard(0),) for p in m.parameters())


def test_parameters_are_back_after_an_exception():
    m = fully_shard(mlp())
    before = list(m.parameters())
    with pytest.raises(RuntimeError):
        m(torch.randn(8, 5))
    assert all(a is b for a, b in zip(before, m.parameters(), strict=True))
    assert isinstance(m, FSDPModule) and type(m).__name__ == "FSDPSequential"
    m(torch.randn(8, 16))


def test_fully_shard_refuses_what_it_does_not_do():
    with pytest.raises(NotImplementedError, match="offload"):
        fully_shard(mlp(), offload_policy=CPUOffloadPolicy())
    with pytest.raises(ValueError, match="already"):
        fully_shard(fully_shard(mlp()))


# --- meshes ----------------------------------------------------------------------------------------------------------


def test_device_mesh():
    mesh = dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "tp"))
    assert (mesh.shape, mesh.size(), mesh.size(1), mesh.ndim) == ((2, 4), 8, 4, 2)
    assert mesh.mesh_dim_names == ("dp", "tp") and mesh["tp"].shape == (4,)
    assert mesh["tp"].mesh.tolist() == [0, 1, 2, 3] and mesh.mesh.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert mesh["dp", "tp"] == mesh and mesh == dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "tp"))
    assert repr(mesh) == "DeviceMesh((dp=2, tp=4), 'cpu')"


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: dist.init_device_mesh("cpu", (3, 4)), RuntimeError, "found 12"),
        (lambda: dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("a",)), RuntimeError, "same length"),
        (lambda: dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("a", "a")), RuntimeError, "unique"),
        (lambda: dist.init_device_mesh("cuda", (2,)), RuntimeError, "no cuda device"),
        (lambda: dist.init_device_mesh("cpu:1", (2,)), RuntimeError, "with index"),
        (lambda: dist.DeviceMesh("cpu", [0, 0]), RuntimeError, "twice"),
        (lambda: dist.init_device_mesh("cpu", (8,))["tp"], RuntimeError, "without mesh_dim_names"),
        (lambda: dist.init_device_mesh("cpu", (8,), mesh_dim_names=("dp",))["tp"], KeyError, "Invalid mesh_dim"),
        (lambda: dist.init_device_mesh("cpu", (8,)).get_group(), RuntimeError, "one process drives"),
    ],
)
def test_device_mesh_errors(make, error, text):
    with pytest.raises(error, match=text):
        make()


# --- DTensor ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mesh():
    return dist.init_device_mesh("cpu", (8,))


def test_distributed_tensors_compute_like_others(mesh):
    t = torch.randn(16, 8)
    d = distribute_tensor(t, mesh, [Shard(0)])
    assert isinstance(d, DTensor) and not isinstance(t, DTensor) and not hasattr(t, "placements")
    assert d.to_local().shape == (2, 8) and d.device_mesh == mesh
    product = d @ d.T + 1
    assert isinstance(product, DTensor) and product.placements == (Shard(0),)
    assert torch.allclose(product.full_tensor(), t @ t.T + 1, atol=1e-5)
    assert d.sum().item() == pytest.approx(t.sum().item(), abs=1e-4)
    moved = d.redistribute(placements=[Shard(1)])
    assert moved.placements == (Shard(1),) and torch.equal(moved.full_tensor(), t)
    assert not isinstance(moved.full_tensor(), DTensor)


def test_redistribute_and_full_tensor_are_differentiable(mesh):
    p = distribute_tensor(nn.Parameter(torch.randn(8, 4)), mesh, [Shard(0)])
    assert isinstance(p, nn.Parameter) and p.is_leaf
    (p.redistribute(placements=[Replicate()]).square().sum() + p.full_tensor().sum()).backward()
    assert p.grad.placements == (Shard(0),)
    assert torch.allclose(p.grad, 2 * p.detach() + 1)


def test_from_local(mesh):
    ones = torch.ones(2, 3)
    assert DTensor.from_local(ones, mesh, [Shard(1)]).shape == (2, 24)
    assert DTensor.from_local(ones, mesh, [Partial()]).tolist() == [[8.0] * 3] * 2
    parts = [torch.full((1, 2), float(i)) for i in range(8)]
    whole = DTensor.from_local(parts, mesh, [Shard(0)])
    assert whole[:, 0].tolist() == list(range(8)) and whole.placements == (Shard(0),)
    assert DTensor.from_local(parts, mesh, [Partial("max")]).tolist() == [[7.0, 7.0]]
    with pytest.raises(ValueError, match="8 devices need as many parts"):
        DTensor.from_local(parts[:3], mesh, [Shard(0)])


def test_factories():
    mesh = dist.init_device_mesh("cpu", (2, 4))
    torch.manual_seed(1)
    a = dt.randn(8, 8, device_mesh=mesh, placements=[Shard(0), Shard(1)])
    torch.manual_seed(1)
    assert torch.equal(a.full_tensor(), torch.randn(8, 8)) and a.to_local().shape == (4, 2)
    assert dt.zeros(4, device_mesh=mesh).placements == (Replicate(), Replicate())
    assert dt.full((8,), 3, device_mesh=mesh, placements=[Shard(0), Shard(0)]).to_local().tolist() == [3]


@pytest.mark.parametrize(
    ("shape", "placements", "error", "text"),
    [
        ((9, 3), [Shard(0)], RuntimeError, "9 elements, which 8 devices cannot share evenly; pad it to 16"),
        ((8, 8), [Shard(2)], IndexError, "out of range"),
        ((8, 8), ["shard"], TypeError, "a placement must be"),
        ((8, 8), [Partial()], RuntimeError, "Partial"),
        ((8, 8), [Shard(0), Shard(1)], ValueError, "same length as `device_mesh.ndim`"),
    ],
)
def test_distribute_tensor_errors(mesh, shape, placements, error, text):
    with pytest.raises(error, match=text):
        distribute_tensor(torch.zeros(shape), mesh, placements)


def test_placements_print_like_pytorchs():
    assert [repr(p) for p in (Shard(0), Replicate(), Partial())] == ["Shard(dim=0)", "Replicate()", "Partial(sum)"]
    assert Shard(1).is_shard(1) and not Shard(1).is_shard(0) and Replicate().is_replicate()


def test_distribute_module(mesh):
    def cut(name, m, mesh):
        if isinstance(m, nn.Linear):
            m.weight = distribute_tensor(m.weight, mesh, [Shard(0)])

    plain, x = mlp(), torch.randn(4, 16)
    m = distribute_module(mlp(), mesh, cut, output_fn=lambda m, out, mesh: out.redistribute(mesh, [Replicate()]))
    assert m[0].weight.placements == (Shard(0),) and m[0].bias.placements == (Replicate(),)
    assert torch.allclose(m(x), plain(x), atol=1e-5)


def test_parallel_styles(mesh):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table, self.norm = nn.Embedding(16, 32), nn.LayerNorm(32)
            self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

        def forward(self, tokens):
            return self.down(self.up(self.norm(self.table(tokens))).relu())

    tokens = torch.randint(0, 16, (2, 8))
    plan = {
        "table": RowwiseParallel(input_layouts=Replicate()), "norm": SequenceParallel(), "up": ColwiseParallel(),
        "down": RowwiseParallel(output_layouts=Shard(1)),
    }  # fmt: skip
    m = parallelize_module(Net(), mesh, plan)
    out = m(tokens)
    assert out.placements == (Shard(1),) and m.table.weight.placements == (Shard(0),)
    assert torch.allclose(out, Net()(tokens), atol=1e-5)


def test_loading_keeps_the_layout_of_tensor_parallel_parameters(mesh):
    m = parallelize_module(mlp(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    before = m.state_dict()["2.weight"].clone()
    m.load_state_dict({k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in m.state_dict().items()})
    assert m[0].weight.placements == (Shard(0),) and m[2].weight.placements == (Shard(1),)
    assert torch.equal(m[2].weight, before)


def test_prepared_inputs_and_outputs(mesh):
    m = nn.Sequential(nn.ReLU())
    parallelize_module(m, mesh, PrepareModuleInput(input_layouts=Replicate(), desired_input_layouts=Shard(1)))
    assert m(torch.ones(2, 16)).placements == (Shard(1),)
    parallelize_module(m, mesh, PrepareModuleOutput(output_layouts=Shard(1), desired_output_layouts=Replicate()))
    assert m(torch.ones(2, 16)).placements == (Replicate(),)
    with pytest.raises(ValueError, match="same length"):
        PrepareModuleInput(input_layouts=(Shard(0),), desired_input_layouts=(Shard(0), Shard(1)))


def test_parallelize_module_errors(mesh):
    with pytest.raises(ValueError, match="no submodule of Sequential is called 'up'"):
        parallelize_module(mlp(), mesh, {"up": ColwiseParallel()})
    with pytest.raises(RuntimeError, match="cannot share evenly"):
        parallelize_module(nn.Linear(4, 10), mesh, ColwiseParallel())
    with pytest.raises(NotImplementedError, match="nn.Linear and nn.Embedding"):
        parallelize_module(nn.ReLU(), mesh, ColwiseParallel())
    with pytest.raises(ValueError, match="one dimension"):
        parallelize_module(mlp(), dist.init_device_mesh("cpu", (2, 4)), ColwiseParallel())


# --- pmap ------------------------------------------------------------------------------------------------------------


def test_pmap_collectives():
    x = torch.arange(32.0).reshape(8, 4)

    def f(v):
        return v * 2, dist.psum(v, "i"), dist.pmean(v, "i"), dist.axis_index("i"), dist.pmap.all_gather(v[0], "i")

    double, total, mean, number, gathered = dist.pmap(f, "i")(x)
    assert torch.equal(double, x * 2) and torch.equal(total, x.sum(0).expand(8, 4))
    assert torch.equal(mean[3], x.mean(0)) and number.tolist() == list(range(8))
    assert torch.equal(gathered[5], x[:, 0])


def test_pmap_axes_trees_numbers_and_closures():
    x, w = torch.randn(4, 8), torch.randn(4)

    def f(batch, scale):
        return {"y": (batch["x"] * w).sum() * scale}

    run = dist.pmap(f, in_axes=(1, None))
    for scale in (2.0, 3.0):
        assert torch.allclose(run({"x": x}, scale)["y"], (x.T * w).sum(1) * scale, atol=1e-5)
    before = torch.debug.counters()["compiles"]
    run({"x": x}, 4.0)["y"].sum().item(), run({"x": x}, 5.0)["y"].sum().item()
    assert torch.debug.counters()["compiles"] - before <= 2


def test_pmap_training_step_gives_one_devices_losses():
    model = mlp()
    params = list(model.parameters())
    x, y = torch.randn(32, 16), torch.randint(0, 8, (32,))

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        grads = torch.autograd.grad(loss, params)
        return dist.pmean(loss, "batch"), dist.pmean(list(grads), "batch")

    step = dist.pmap(step, "batch", out_axes=None)
    opt = torch.optim.SGD(params, lr=0.5)
    before, losses = torch.debug.counters()["compiles"], []
    for _ in range(5):
        loss, grads = step(x.view(8, 4, 16), y.view(8, 4))
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        opt.step()
        losses.append(loss.item())
    assert torch.debug.counters()["compiles"] - before == 1
    plain = mlp()
    opt, expected = torch.optim.SGD(plain.parameters(), lr=0.5), []
    for _ in range(5):
        opt.zero_grad()
        loss = F.cross_entropy(plain(x), y)
        loss.backward()
        opt.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("collective", ["psum", "all_gather"])
def test_gradients_through_pmap_are_jaxs(collective):
    import jax
    import jax.numpy as jnp

    x = torch.arange(8.0).reshape(8, 1).requires_grad_()
    ours = getattr(dist.pmap, collective)
    dist.pmap(lambda v: ours(v * v, "i"), "i")(x)[2].sum().backward()
    theirs = getattr(jax.lax, collective)
    expected = jax.grad(lambda v: jax.pmap(lambda u: theirs(u * u, "i"), "i")(v)[2].sum())(
        jnp.arange(8.0).reshape(8, 1)
    )
    assert x.grad.tolist() == expected.tolist()


@pytest.mark.parametrize("n", [9, 16, 0])
def test_pmap_checks_the_leading_axis(n):
    with pytest.raises(ValueError, match=f"has {n} elements, one for each device, but there are 8 cpu devices"):
        dist.pmap(lambda v: v)(torch.zeros(n, 2))


def test_pmap_errors():
    x, w = torch.ones(8, 2), torch.ones(2)
    with pytest.raises(ValueError, match="differ in length"):
        dist.pmap(lambda a, b: a + b)(x, torch.ones(4, 2))
    with pytest.raises(RuntimeError, match="no content yet"):
        dist.pmap(lambda v: v.sum().item())(x)
    with pytest.raises(RuntimeError, match="must not write"):
        dist.pmap(lambda v: w.add_(v))(x)
    assert w.tolist() == [1.0, 1.0]
    with pytest.raises(NameError, match="unbound axis name"):
        dist.psum(x, "i")
    with pytest.raises(NameError, match="unbound axis name 'j'"):
        dist.pmap(lambda v: dist.psum(v, "j"), "i")(x)
    kept = []
    dist.pmap(lambda v: kept.append(v + 1) or v)(x)
    with pytest.raises(RuntimeError, match="not returned by it"):
        kept[0].tolist()
    with pytest.raises(IndexError, match="out of bounds"):
        pick = dist.pmap(lambda e, i: e[i], in_axes=(None, 0))
        pick(torch.arange(5.0), torch.tensor([0, 1, 2, 9, 0, 0, 0, 0])).tolist()


def test_which_part_a_device_holds():
    from jtorch.distributed.tensor._utils import compute_local_shape_and_global_offset as part

    mesh = dist.init_device_mesh("cpu", (2, 4))
    assert part((8, 6), mesh, [Shard(0), Replicate()]) == ((4, 6), (0, 0))
    assert part((16, 6), mesh, [Shard(0), Shard(0)], skip_offset=True) == ((2, 6), ())
    assert [Shard.local_shard_size_and_offset(5, 4, rank) for rank in range(4)] == [(2, 0), (2, 2), (1, 4), (0, 5)]
    with pytest.raises(NotImplementedError, match="interleaved"):
        torch.distributed.tensor.distribute_tensor(torch.ones(8), mesh, [Replicate(), _StridedShard(0, split_factor=2)])
