"""What trainers, metric and probabilistic libraries ask of ``torch`` besides its documented functions."""

from __future__ import annotations

import io
import pathlib

import pytest

import jtorch as torch
from jtorch import nn


def test_optimizer_that_wraps_another_and_never_calls_init():
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer = optimizer

        def step(self, closure=None):
            self.optimizer.step(closure)

    w = nn.Parameter(torch.ones(2))
    w.grad = torch.ones(2)
    Wrapper(torch.optim.SGD([w], lr=0.5)).step()
    assert w.tolist() == [0.5, 0.5]


class Broadcasting(torch.autograd.Function):
    """``x[0] * 2``; the gradient is given for a larger shape, in double precision."""

    shape = (3, 2)

    @staticmethod
    def forward(ctx, x):
        return x.sum() * 2

    @staticmethod
    def backward(ctx, grad):
        return torch.full(Broadcasting.shape, 2.0, dtype=torch.float64) * grad


def test_gradients_of_custom_functions_are_summed_to_the_shape_of_the_input(monkeypatch):
    x = torch.ones(1, 2, requires_grad=True)
    Broadcasting.apply(x).backward()
    assert x.grad.tolist() == [[6.0, 6.0]]
    assert x.grad.dtype is torch.float32
    monkeypatch.setattr(Broadcasting, "shape", (3, 5))
    with pytest.raises(RuntimeError, match=r"invalid gradient at index 0 - got \[3, 5\] but expected .* \[1, 2\]"):
        Broadcasting.apply(x).backward()


def test_numpy_of_a_tensor_that_requires_grad():
    x = torch.ones(2, requires_grad=True) * 3
    with pytest.raises(RuntimeError, match="requires grad"):
        x.numpy()
    with torch.no_grad():
        assert x.numpy().tolist() == [3.0, 3.0]


def test_is_tensor_asks_nobody():
    class Lazy:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            raise NotImplementedError

    class Loud(torch.Tensor):  # switches asking on
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return super().__torch_function__(func, types, args, kwargs or {})

    assert torch.is_tensor(torch.ones(1).as_subclass(Loud))
    assert not torch.is_tensor(Lazy())


def test_register_kl_of_a_class_that_is_no_distribution():
    from jtorch.distributions import Distribution, kl_divergence, register_kl

    class Mixin:
        pass

    class Mine(Mixin, Distribution):
        arg_constraints = {}

    @register_kl(Mine, Mixin)
    def divergence(p, q):
        return "mine"

    assert kl_divergence(Mine(), Mine()) == "mine"
    with pytest.raises(TypeError, match="type_q"):
        register_kl(Mine, "Mine")


def test_scatter_and_gather():
    from jtorch.nn.parallel.scatter_gather import gather, scatter, scatter_kwargs

    x = torch.arange(5.0, requires_grad=True)
    copies = scatter({"x": [x], "n": 3}, ["cpu", "cpu"])
    assert [c["x"][0].tolist() for c in copies] == [[0.0, 1.0, 2.0], [3.0, 4.0]]
    assert [c["n"] for c in copies] == [3, 3]
    assert isinstance(scatter(x, ["cpu"]), tuple)
    whole = gather([{"x": c["x"]} for c in copies], -1)
    assert whole["x"][0].tolist() == x.tolist()
    whole["x"][0].sum().backward()
    assert x.grad.tolist() == [1.0] * 5
    args, kwargs = scatter_kwargs((x,), {}, ["cpu", "cpu"])
    assert (len(args), kwargs) == (2, ({}, {}))
    assert gather([torch.tensor(1.0), torch.tensor(2.0)], "cpu").tolist() == [1.0, 2.0]


def test_records_of_a_file():
    stream = io.BytesIO()
    torch.save({"w": torch.arange(4.0)}, stream)
    reader = torch.PyTorchFileReader(stream)
    assert reader.has_record("data.pkl") and "data/0" in reader.get_all_records()
    assert reader.get_storage_from_record("data/0", 4, torch.float32).tolist() == [0.0, 1.0, 2.0, 3.0]
    bytes_ = reader.get_storage_from_record("data/0", 8, torch.UntypedStorage)._typed_storage().untyped()
    assert torch.TypedStorage(wrap_storage=bytes_, dtype=torch.float32).tolist() == [0.0, 1.0]
    with pytest.raises(RuntimeError, match="locating file data/7"):
        reader.get_record("data/7")


def test_iterators_of_loaders():
    from jtorch.utils.data.dataloader import _BaseDataLoaderIter, _SingleProcessDataLoaderIter

    loader = torch.utils.data.DataLoader(torch.arange(4), batch_size=2)
    found = iter(loader)
    assert isinstance(found, _BaseDataLoaderIter) and isinstance(found, _SingleProcessDataLoaderIter)
    assert len(found) == 2


def test_parts_of_printed_tensors():
    from jtorch._tensor_str import PRINT_OPTS, _add_suffixes, _tensor_str

    assert _tensor_str(torch.tensor([[1, 2], [3, 4]]), 3) == "[[1, 2],\n    [3, 4]]"
    assert _tensor_str(torch.ones(0), 0) == "[]"
    assert _add_suffixes("Index([1]", ["size=1"], 6) == "Index([1], size=1)"
    assert PRINT_OPTS.threshold == 1000


def test_names_for_annotations():
    from jtorch.serialization import MAP_LOCATION  # noqa: F401
    from jtorch.utils.data.dataloader import _collate_fn_t

    assert _collate_fn_t[int]

    assert torch.futures.Future[int].__origin__ is torch.futures.Future
    assert torch.ScriptModule is torch.jit.ScriptModule
    assert torch.distributed.rpc.is_available()
    assert torch.distributed.autograd.is_available()


def test_regions_for_a_profiler():
    nvtx = torch.cuda.nvtx
    assert torch.profiler.kineto_available()
    assert [nvtx.range_push("a"), nvtx.range_push("b"), nvtx.range_pop(), nvtx.range_pop(), nvtx.range_pop()] == [
        0, 1, 1, 0, -2,
    ]  # fmt: skip
    with nvtx.range("step {}", 1):
        nvtx.mark("here")


@pytest.fixture
def alone(tmp_path: pathlib.Path):
    """A process group of this process."""
    dist = torch.distributed
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield dist
    dist.destroy_process_group()


def test_optimizer_with_divided_state_in_one_process(alone):
    from jtorch.distributed.optim import ZeroRedundancyOptimizer

    def trained(make):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = make(model)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            schedule.step()
        return model, optimizer

    plain, adam = trained(lambda m: torch.optim.Adam(m.parameters(), lr=0.1))
    model, divided = trained(lambda m: ZeroRedundancyOptimizer(m.parameters(), torch.optim.Adam, lr=0.1))
    assert torch.equal(plain.weight, model.weight)
    with pytest.raises(RuntimeError, match="consolidated"):
        divided.state_dict()
    divided.consolidate_state_dict()
    saved, expected = divided.state_dict(), adam.state_dict()
    assert saved["param_groups"][0]["lr"] == expected["param_groups"][0]["lr"] == 0.0125
    assert torch.equal(saved["state"][0]["exp_avg"], expected["state"][0]["exp_avg"])
    fresh = ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, lr=1.0)
    fresh.load_state_dict(saved)
    assert fresh.optim.param_groups[0]["lr"] == 0.0125
    assert torch.equal(fresh.optim.state[model.bias]["exp_avg"], expected["state"][1]["exp_avg"])
    with pytest.raises(NotImplementedError, match="overlap"):
        ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, overlap_with_ddp=True)


def test_plain_tensors_among_distributed_ones_count_as_replicated(alone):
    from jtorch.distributed._tensor.experimental import implicit_replication
    from jtorch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    x = distribute_tensor(torch.arange(4.0), init_device_mesh("cpu", (1,)), [Shard(0)])
    with implicit_replication():
        assert (x + torch.ones(4)).full_tensor().tolist() == [1.0, 2.0, 3.0, 4.0]


def test_transforms_and_distributions_that_are_modules():
    class TransformModule(torch.distributions.Transform, nn.Module):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    class Shift(TransformModule):
        domain = codomain = torch.distributions.constraints.real
        bijective = True

        def __init__(self):
            super().__init__(cache_size=1)
            self.layer = nn.Linear(1, 1)

        def _call(self, x):
            return x + self.layer.bias

        def log_abs_det_jacobian(self, x, y):
            return torch.zeros_like(x)

    class Flow(torch.distributions.Normal, nn.Module):
        def __init__(self):
            super().__init__(0.0, 1.0)
            self.layer = nn.Linear(1, 1)

    shift = Shift()
    assert [name for name, _ in shift.named_parameters()] == ["layer.weight", "layer.bias"]
    assert len(list(Flow().parameters())) == 2
    base = torch.distributions.Normal(torch.zeros(1), torch.ones(1))
    torch.distributions.TransformedDistribution(base, [shift]).rsample((3,)).sum().backward()
    assert shift.layer.bias.grad.tolist() == [3.0]


def test_tensors_are_told_apart_by_their_cdata():
    x, y = nn.Parameter(torch.ones(2)), torch.ones(2)
    assert isinstance(x._cdata, int) and x._cdata == x._cdata
    assert x._cdata != y._cdata and x._cdata != x.data._cdata


def test_switches_are_set_as_monai_sets_them(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    with torch.backends.__allow_nonbracketed_mutation():
        torch.backends.cudnn.deterministic = True
    assert torch.backends.cudnn.deterministic
