"""Names that PyTorch has in more than one place, and small modules that few programs import."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Optional, Union

import numpy as np
import pytest

import jtorch
from jtorch.paths import MOVED

from .both import Table, check, check_raises, part

programs = Table()


@pytest.mark.parametrize("path", sorted(MOVED))
def test_paths(path):
    torch = pytest.importorskip("torch")
    theirs, ours = (importlib.import_module(f"{library.__name__}.{path}") for library in (torch, jtorch))
    shared = [n for n in getattr(theirs, "__all__", dir(theirs)) if hasattr(ours, n) and not n.startswith("_")]
    assert shared, f"{path} has nothing that PyTorch's has"


@programs
def binomial(torch):
    torch.manual_seed(3)
    count, prob = torch.tensor([10.0, 200.0, 3.0]), torch.tensor([0.5, 0.2, 1.0])
    return [torch.binomial(count, prob), torch.binomial(count, prob, torch.Generator().manual_seed(1))]


@programs
def batch_norms_without_statistics(torch):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    same = part(torch, "func").replace_all_batch_norm_modules_(model)
    return [same is model, repr(model), list(model.state_dict())]


@programs
def schemas(torch):
    def first(x: torch.Tensor, y: Optional[float], b: bool, s: str = "a", n: Sequence[int] = None,  # noqa: UP045
              d: torch.device = None, sc: Union[int, float, bool] = 2) -> torch.Tensor: ...  # noqa: UP007  # fmt: skip
    def second(x: torch.Tensor, ts: list[torch.Tensor], *, dt: torch.dtype = torch.float32) -> None: ...
    def third(a: int, b: float | None = 1.5) -> tuple[torch.Tensor, int]: ...

    infer = part(torch, "library").infer_schema
    for f in (first, second, third):  # the annotations of this file are strings, and name this function's torch
        f.__annotations__ = {k: eval(v, {**globals(), "torch": torch}) for k, v in f.__annotations__.items()}
    return [
        infer(first, mutates_args=()), infer(first, mutates_args={"x"}, op_name="my"), infer(third, mutates_args=()),
        infer(first, mutates_args="unknown"), infer(second, mutates_args=["ts"]),
    ]  # fmt: skip


@programs
def modules_that_are_run(torch):
    seen = []
    tracker = part(torch, "utils.module_tracker").ModuleTracker()

    class Inner(torch.nn.Module):
        def forward(self, x):
            seen.append(sorted(tracker.parents))
            if x.requires_grad:
                y = x * 2
                y.register_hook(lambda g: seen.append((sorted(tracker.parents), tracker.is_bw)))
                return y * 3
            return x

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = Inner(), torch.nn.Sequential(Inner())

        def forward(self, x):
            return self.b(self.a(x))

    x = torch.ones(2, requires_grad=True)
    with tracker:
        out = Outer()(x)
        seen.append(sorted(tracker.parents))
        out.sum().backward()
    return seen


@pytest.mark.parametrize("name", sorted(programs))
def test_same_as_pytorch(name):
    check(programs[name])


def test_errors():
    check_raises(lambda torch: torch.binomial(torch.tensor([3]), torch.tensor([0.5])), ValueError, "floating")
    check_raises(lambda torch: torch.library.infer_schema(lambda x: x, mutates_args=()), ValueError, "annotation")
    check_raises(lambda torch: part(torch, "utils").set_module(int, int), TypeError, "string")
    for kind in ("xpu", "mtia"):
        with pytest.raises(RuntimeError, match=f"no {kind} devices"):
            getattr(jtorch.ones(2), kind)()


def test_statistics_are_logged_by_windows():
    monitor, seen = jtorch.monitor, []
    handle = monitor.register_event_handler(seen.append)
    every = list(monitor.Aggregation)
    stat = monitor.Stat("loss", every, timedelta(seconds=0), max_samples=2)
    stat.add(3)
    stat.add(1)
    assert stat.get() == {kind: 1 if kind is not monitor.Aggregation.COUNT else 1 for kind in every}
    assert [e.data["loss.value"] for e in seen] == [3, 1] and seen[0].name == monitor.STAT_EVENT
    patient = monitor.Stat("wide", every, timedelta(hours=1), max_samples=3)
    for v in (2.0, 4.0, 9.0, 100.0):
        patient.add(v)
    assert patient.count == 3 and patient.get() == {}
    del patient
    assert seen[-1].data == {f"wide.{k}": v for k, v in
                             {"value": 9, "mean": 5, "count": 3, "sum": 15, "max": 9, "min": 2}.items()}  # fmt: skip
    written = []
    writer = type("Writer", (), {"add_scalar": lambda self, *a, walltime: written.append(a)})()
    monitor.TensorboardEventHandler(writer)(seen[-1])
    assert ("wide.mean", 5) in written
    monitor.unregister_event_handler(handle)
    monitor.log_event(monitor.Event("x", seen[0].timestamp, {}))
    assert seen[-1].name == monitor.STAT_EVENT


def test_operations_under_autocast():
    @jtorch.library.custom_op("names::double", mutates_args=())
    def double(x: jtorch.Tensor) -> jtorch.Tensor:
        return x * 2

    jtorch.library.register_autocast("names::double", "cpu", jtorch.bfloat16)
    assert double(jtorch.ones(2)).dtype is jtorch.float32
    with jtorch.autocast("cpu"):
        assert double(jtorch.ones(2)).dtype is jtorch.bfloat16
        assert double(jtorch.ones(2, dtype=jtorch.int64)).dtype is jtorch.int64


def test_settings_that_are_kept():
    s = jtorch.serialization
    for get, put, value in ((s.get_crc32_options, s.set_crc32_options, False),
                            (s.get_default_load_endianness, s.set_default_load_endianness, s.LoadEndianness.BIG),
                            (s.get_default_mmap_options, s.set_default_mmap_options, 1)):  # fmt: skip
        before = get()
        put(value)
        assert get() == value
        put(before)
    storage = jtorch.ones(2).untyped_storage()
    assert s.location_tag(storage) == "cpu" and s.default_restore_location(storage, "cpu") is storage
    jtorch.compiler.set_default_backend("eager")
    assert jtorch.compiler.get_default_backend() == "eager"
    jtorch.compiler.set_default_backend(None)
    assert jtorch.compiler.get_default_backend() == "inductor"


def test_functions_of_arrays_and_hooks():
    doubled = jtorch.compiler.wrap_numpy(lambda a: np.concatenate([a, a]))
    assert doubled(jtorch.ones(2)).tolist() == [1.0] * 4
    x = jtorch.ones(2, requires_grad=True)
    x.register_hook(jtorch.utils.hooks.unserializable_hook(lambda g: g))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jtorch.utils.hooks.warn_if_has_hooks(x)
    x.register_hook(lambda g: g)
    with pytest.warns(UserWarning, match="will not be serialized"):
        jtorch.utils.hooks.warn_if_has_hooks(x)


def test_lazy_modules_beside_what_they_become():
    for name in ("LazyConv2d", "LazyConvTranspose1d", "LazyBatchNorm3d", "LazyInstanceNorm2d", "LazyLinear"):
        kind = getattr(jtorch.nn, name)
        home = importlib.import_module(kind.cls_to_become.__module__)
        assert getattr(home, name) is kind
