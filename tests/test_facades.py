"""The small modules around the core: func, checkpoint, profiler, benchmark, hub, tensorboard, accelerators."""

from __future__ import annotations

import collections
import gzip
import importlib
import json
import os
import platform
import struct
import zlib

import numpy as np
import pytest

import jtorch
from jtorch import nn

from .both import Table, check, check_raises

programs = Table()


def part(library, name):
    return importlib.import_module(f"{library.__name__}.{name}")


@programs
def func_grad(torch):
    func, x = part(torch, "func"), torch.tensor([0.5, 2.0])
    return [
        func.grad(lambda x: (x**3).sum())(x),
        func.grad(lambda x, y: (x * y["a"]).sum(), argnums=1)(x, {"a": x + 1}),
        func.grad(lambda x, y: (x * y).sum(), argnums=(0, 1))(x, x + 1),
        func.grad(lambda x, y: (x * y).sum(), argnums=-1)(x, x + 1),
        func.grad(lambda x: (x.sin().sum(), x * 2), has_aux=True)(x),
        func.grad_and_value(lambda x: x.exp().sum())(x),
    ]


@programs
def func_grad_nested(torch):
    func, x = part(torch, "func"), torch.tensor(0.7)
    return [
        func.grad(func.grad(torch.sin))(x),
        func.grad(func.grad(func.grad(lambda x: x**4)))(x),
        func.grad(lambda a: func.grad(lambda b: a * b * b)(x))(x),
        func.grad(lambda a: func.grad(lambda b: a * a)(x) + a)(x),
    ]


@programs
def func_grad_beside_autograd(torch):
    """A parameter outside keeps its history, an argument alone does not."""
    func, x = part(torch, "func"), torch.tensor([0.5, 2.0])
    w = torch.ones(2, requires_grad=True)
    through = func.grad(lambda x: (w * x**2).sum())(x)
    through.sum().backward()
    y = x.clone().requires_grad_()
    inner = func.grad(lambda y: (y**3).sum())(y)
    inner.sum().backward()
    with torch.no_grad():
        quiet = func.grad(lambda x: (x**2).sum())(x)
    return [through, w.grad, inner, y.grad, quiet]


@programs
def func_vjp(torch):
    func, x = part(torch, "func"), torch.tensor([0.5, 2.0])
    out, pull = func.vjp(lambda a, b: {"p": a * b, "q": (a.sin(),)}, x, x + 1)
    single, pull_single = func.vjp(torch.exp, x)
    return [out, pull({"p": torch.ones(2), "q": (torch.ones(2),)}), single, pull_single(x), pull_single(x + 1)]


@programs
def func_module_state(torch):
    func = part(torch, "func")
    torch.manual_seed(0)
    models = [torch.nn.Linear(3, 2) for _ in range(3)]
    params, buffers = func.stack_module_state(models)
    x = torch.ones(4, 3)
    one = {name: p.detach()[1] for name, p in params.items()}
    gradients = func.grad(lambda p: func.functional_call(models[0], p, (x,)).sum())(one)
    return [params, buffers, func.functional_call(models[0], one, (x,)), gradients, list(gradients)]


@programs
def pytree(torch):
    tree_of = part(torch, "utils._pytree")
    tree = {"b": (1, None), "a": [2, collections.OrderedDict(z=3, y=(4,))], "c": collections.deque([5], 3)}
    leaves, spec = tree_of.tree_flatten(tree)
    doubled = tree_of.tree_map(lambda x, y: (x, y), tree, tree)
    only = tree_of.tree_map_only(int, lambda x: -x, tree)
    return [
        leaves, repr(tree_of.tree_unflatten(leaves, spec)), repr(doubled), repr(only), spec.num_leaves,
        tree_of.tree_structure(tree) == spec, tree_of.tree_map(abs, torch.max(torch.ones(2, 2), 0)).values,
    ]  # fmt: skip


@programs
def checkpoint_gradients(torch):
    checkpoint = part(torch, "utils.checkpoint")
    results = []
    for reentrant in (True, False):
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Linear(8, 2))
        x = torch.randn(5, 4, requires_grad=True)
        loss = checkpoint.checkpoint(layers, x, use_reentrant=reentrant).square().sum()
        after = torch.rand(2)
        loss.backward()
        results += [loss, x.grad, *(p.grad for p in layers.parameters()), after, torch.rand(2)]
    return results


@programs
def checkpoint_without_reentry(torch):
    """Keyword arguments, nested tensors, several outputs, and inputs that do not require grad."""
    checkpoint = part(torch, "utils.checkpoint")
    layer = torch.nn.Linear(3, 3)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    a, b = torch.arange(3.0), torch.ones(3, requires_grad=True)

    def f(x, pair, scale=1.0, none=None):
        return layer(x) * scale, pair["b"] * x

    p, q = checkpoint.checkpoint(f, a, {"b": b * 2}, scale=3.0, use_reentrant=False)
    (p.sum() + (q * q).sum()).backward()
    return [p, q, b.grad, layer.weight.grad, layer.bias.grad]


@programs
def checkpoint_sequential(torch):
    checkpoint = part(torch, "utils.checkpoint")
    torch.manual_seed(1)
    layers = torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(5)])
    x = torch.randn(2, 4, requires_grad=True)
    out = checkpoint.checkpoint_sequential(layers, 2, x, use_reentrant=False)
    out.sum().backward()
    return [out, x.grad, *(p.grad for p in layers.parameters())]


@programs
def profiler_schedule(torch):
    profiler = part(torch, "profiler")
    one = profiler.schedule(wait=1, warmup=1, active=2, repeat=2, skip_first=1)
    two = profiler.schedule(wait=2, warmup=0, active=1, skip_first_wait=1)
    return [[s(i).name for i in range(14)] for s in (one, two)]


@programs
def no_accelerator(torch):
    accelerator, mps, xpu = (part(torch, n) for n in ("accelerator", "mps", "xpu"))
    if accelerator.is_available():
        return []
    with accelerator.device_index(None):
        pass
    return [
        accelerator.device_count(), accelerator.current_accelerator(), mps.is_available(), mps.device_count(),
        xpu.is_available(), xpu.device_count(),
    ]  # fmt: skip


@programs
def activation_checkpointing_in_place(torch):
    wrapping = part(torch, "distributed.algorithms._checkpoint.checkpoint_wrapper")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(4, 2)))
    state, x = model.state_dict(), torch.ones(2, 3)
    expected = model(x)
    wrapping.apply_activation_checkpointing(model, check_fn=lambda m: isinstance(m, torch.nn.Linear))
    assert isinstance(model[1][1], wrapping.CheckpointWrapper) and not isinstance(
        model[1][0], wrapping.CheckpointWrapper
    )
    assert list(model.state_dict()) == list(state) == ["0.weight", "0.bias", "1.1.weight", "1.1.bias"]
    model.load_state_dict({k: v + 0.5 for k, v in state.items()})
    out = model(x)
    out.sum().backward()
    grads = [p.grad for p in model.parameters()]
    inner = [name for name, _ in model[0].named_parameters()]
    return expected, out, grads, inner, model[0].in_features, model[1][1].weight


@programs
def reentrant_checkpoint_wrapper(torch):
    wrapping = part(torch, "distributed.algorithms._checkpoint.checkpoint_wrapper")
    torch.manual_seed(0)
    layer = wrapping.checkpoint_wrapper(torch.nn.Linear(3, 2), wrapping.CheckpointImpl.REENTRANT)
    x = torch.ones(2, 3, requires_grad=True)
    layer(x).sum().backward()
    return x.grad, layer.weight.grad, list(layer.state_dict()), layer.load_state_dict(layer.state_dict())


@pytest.mark.parametrize("name", programs)
def test_same_as_pytorch(name):
    check(programs[name])


def test_errors():
    x = jtorch.ones(2)
    check_raises(lambda torch: part(torch, "func").grad(torch.sin)(torch.ones(2)), RuntimeError, "scalar")
    check_raises(lambda torch: part(torch, "func").grad(torch.sum, 3)(torch.ones(2)), RuntimeError, "argnum")
    check_raises(lambda torch: part(torch, "func").stack_module_state([]), RuntimeError, "at least one")
    check_raises(
        lambda torch: part(torch, "utils.checkpoint").checkpoint(torch.sin, torch.ones(2), use_reentrant=True, y=1),
        ValueError, "Unexpected keyword",
    )  # fmt: skip
    checkpoint = part(jtorch, "utils.checkpoint").checkpoint
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint(jtorch.sin, jtorch.ones(2, requires_grad=True))
    with pytest.raises(NotImplementedError, match="debug"):
        checkpoint(jtorch.sin, x, use_reentrant=False, debug=True)
    accelerator = part(jtorch, "accelerator")
    if not accelerator.is_available():
        with pytest.raises(RuntimeError, match="none is available"):
            accelerator.current_device_index()


def test_checkpoint_recomputes_behind_barriers():
    """What is lowered keeps forward and recomputation apart (what a backend makes of it is up to XLA)."""
    checkpoint = part(jtorch, "utils.checkpoint").checkpoint

    def lowered(wrap):
        blocks = [nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Sigmoid()) for _ in range(3)]
        optimizer = jtorch.optim.SGD([p for b in blocks for p in b.parameters()], lr=0.1)
        x = jtorch.ones(8, 4)
        for b in blocks:
            x = wrap(b, x)
        x.sum().backward()
        optimizer.step()
        return jtorch.debug.last_trace()

    kept = lowered(lambda b, x: b(x))
    recomputed = lowered(lambda b, x: checkpoint(b, x, use_reentrant=False))
    barriers = [trace.stablehlo().count("optimization_barrier") for trace in (kept, recomputed)]
    assert barriers[1] > barriers[0]  # one more at least: alike calls share a function
    assert sum("= _after(" in line for line in recomputed.calls) == 3
    assert sum("tanh(" in line for line in recomputed.calls) > sum("tanh(" in line for line in kept.calls)


def test_profiler(tmp_path):
    profiler = part(jtorch, "profiler")
    with profiler.profile(activities=[profiler.ProfilerActivity.CPU]) as prof:
        with profiler.record_function("my region"):
            (jtorch.ones(64, 64) @ jtorch.ones(64, 64)).sum().item()
        entered = jtorch.ops.profiler._record_function_enter("by operations")  # which graphs may hold
        jtorch.ops.profiler._record_function_exit(entered)
    averages = prof.key_averages()
    assert averages.self_cpu_time_total >= 0 and prof.total_average().count >= len(averages)
    assert any(e.key == "by operations" for e in averages)
    region = next(e for e in averages if e.key == "my region")
    assert region.count == 1 and region.cpu_time_total > 0
    assert "my region" in averages.table(sort_by="cpu_time_total", row_limit=-1)
    with pytest.raises(ValueError, match="cannot sort by"):
        averages.table(sort_by="beauty")
    prof.export_chrome_trace(tmp_path / "trace.json.gz")
    events = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    assert any(e.get("name") == "my region" for e in events)


def test_profiler_schedule(tmp_path):
    profiler = part(jtorch, "profiler")
    with pytest.raises(RuntimeError, match="nothing is recorded"):
        profiler.profile().events()
    names = []

    def ready(prof):
        names.append([n for e in prof.events() if (n := e.name).startswith("step ")])
        profiler.tensorboard_trace_handler(str(tmp_path), "w")(prof)

    schedule = profiler.schedule(wait=1, warmup=0, active=1, repeat=2)
    with profiler.profile(schedule=schedule, on_trace_ready=ready) as prof:
        for i in range(6):
            with profiler.record_function(f"step {i}"):
                jtorch.ones(3).sum().item()
            prof.step()
    assert names == [["step 1"], ["step 3"]]
    assert len(list(tmp_path.glob("w.*.pt.trace.json"))) == 2


def test_benchmark():
    benchmark = part(jtorch, "utils.benchmark")
    timer = benchmark.Timer("x + 1", globals={"x": jtorch.ones(3)}, label="add", description="small")
    benchmark.Timer("\n    y = x\n    y\n    ", "\n        x = 1\n    ").timeit(2)  # indented, as in a call
    once, many = timer.timeit(20), timer.blocked_autorange(min_run_time=0.02)
    assert once.number_per_run == 20 and len(once.times) == 1 and 0 < once.mean == once.median < 1
    assert sum(many.raw_times) >= 0.02 and "add" in repr(many) and "small" in repr(many)
    assert benchmark.Measurement(10, [1.0, 2.0, 3.0, 4.0]).iqr == pytest.approx(0.15)
    assert benchmark.select_unit(2e-6) == (2.0, "us")
    with pytest.raises(NotImplementedError):
        benchmark.Timer("x", language="c++")


def test_hub(tmp_path, monkeypatch):
    hub = part(jtorch, "hub")
    monkeypatch.setattr(hub, "_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    assert hub.get_dir() == str(tmp_path / "home" / "hub")
    hub.set_dir(tmp_path / "hub")
    jtorch.save({"w": jtorch.arange(3)}, tmp_path / "weights-00000000.pth")
    url = (tmp_path / "weights-00000000.pth").as_uri()
    with pytest.raises(RuntimeError, match="invalid hash"):
        hub.load_state_dict_from_url(url, check_hash=True)
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())
    for _ in range(2):
        assert hub.load_state_dict_from_url(url, progress=False)["w"].tolist() == [0, 1, 2]
        (tmp_path / "weights-00000000.pth").unlink(missing_ok=True)  # the second time it is there already

    (tmp_path / "hubconf.py").write_text(
        'dependencies = ["numpy"]\ndef tiny(n=1):\n    """A list."""\n    return [n]\n_hidden = tiny\n'
    )
    monkeypatch.setattr(part(jtorch, "shim"), "install", lambda: None)
    assert hub.list(tmp_path) == ["tiny"] and hub.help(tmp_path, "tiny", source="local") == "A list."
    assert hub.load(tmp_path, "tiny", source="local", n=4) == [4]
    with pytest.raises(RuntimeError, match="Cannot find callable big"):
        hub.load(tmp_path, "big", source="local")
    with pytest.raises(NotImplementedError, match="clone"):
        hub.load("owner/name", "tiny")


def _fields(data):
    """The fields of a protocol-buffer message: (number, value)."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = varint() if size is None else size
        yield key >> 3, data[at : at + size]
        at += size


def test_tensorboard(tmp_path):
    writer_class = part(jtorch, "utils.tensorboard").SummaryWriter
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    with writer_class(tmp_path) as writer:
        writer.add_scalar("loss", jtorch.tensor(0.5), 3)
        writer.add_image("picture", image, dataformats="HWC")
        writer.add_histogram("weights", jtorch.arange(10.0), 1)
        writer.add_text("note", "hello")
        writer.add_scalars("both", {"a": 1, "b": 2}, 0)
        with pytest.raises(ValueError, match="one number"):
            writer.add_scalar("loss", jtorch.ones(2))
    with pytest.raises(ValueError, match="closed"):
        writer.add_scalar("loss", 1.0)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["both_a", "both_b"]
    data = next(p for p in tmp_path.iterdir() if p.is_file()).read_bytes()
    events = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(dict(_fields(data[12 : 12 + length])))
        data = data[16 + length :]
    assert events[0][3] == b"brain.Event:2" and events[1][2] == 3
    values = [dict(_fields(dict(_fields(e[5]))[1])) for e in events[1:]]
    assert [v[1] for v in values] == [b"loss", b"picture", b"weights", b"note/text_summary"]
    assert struct.unpack("<f", values[0][2]) == (0.5,)
    picture = dict(_fields(values[1][4]))
    assert (picture[1], picture[2], picture[3]) == (2, 2, 3)
    start = picture[4].index(b"IDAT")
    rows = zlib.decompress(picture[4][start + 4 :])
    assert rows == b"\0" + image[0].tobytes() + b"\0" + image[1].tobytes()


def test_streams_of_the_cpu():
    for lib in (jtorch, pytest.importorskip("torch")):
        cpu = lib.get_device_module("cpu")
        before, own = cpu.current_stream(), cpu.Stream()
        with cpu.stream(own):
            assert cpu.current_stream() is own
        assert cpu.current_stream() is before and cpu.is_initialized() and cpu.set_device("cpu") is None
        event = cpu.Event()
        event.record(own)
        own.wait_event(event)
        own.wait_stream(before)
        assert event.query() is True and own.record_event() is None


def test_dlpack_and_hooks():
    dlpack = part(jtorch, "utils.dlpack")
    assert dlpack.from_dlpack(np.arange(3.0)).tolist() == [0.0, 1.0, 2.0]
    capsule = np.arange(3.0).__dlpack__()
    assert dlpack.from_dlpack(capsule).tolist() == [0.0, 1.0, 2.0]
    for used in (capsule, 3):
        with pytest.raises(TypeError, match="__dlpack__ or a capsule that has not been used"):
            dlpack.from_dlpack(used)
    assert part(jtorch, "utils.hooks").RemovableHandle is part(jtorch, "tape.node").RemovableHandle
    assert part(jtorch, "utils.model_zoo").load_url is part(jtorch, "hub").load_state_dict_from_url
    assert part(jtorch, "utils.model_zoo").tqdm is part(jtorch, "hub").tqdm
    assert isinstance(jtorch.ones(1).device, part(jtorch, "types").Device.__args__[0])


# --- other names, and wrappers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("old, new, name", [
    ("distributed._tensor", "distributed.tensor", "distribute_tensor"),
    ("distributed._composable.fsdp", "distributed.fsdp", "fully_shard"),
    ("distributed.tensor.placement_types", "distributed.tensor", "Shard"),
    ("distributed.tensor", "distributed.device_mesh", "init_device_mesh"),
    ("cuda.amp.grad_scaler", "cuda.amp", "GradScaler"),
    ("cuda.amp.autocast_mode", "cuda.amp", "autocast"),
])  # fmt: skip
def test_one_thing_by_two_names(old, new, name):
    assert getattr(part(jtorch, old), name) is getattr(part(jtorch, new), name)


def test_cpu_capability():
    assert jtorch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2", "AVX512")
    torch = pytest.importorskip("torch")
    if platform.machine() == "x86_64" and "ATEN_CPU_CAPABILITY" not in os.environ:
        assert jtorch.backends.cpu.get_cpu_capability() == torch.backends.cpu.get_cpu_capability()


def test_set_logs_chooses_topics():
    from jtorch import config

    before = config.logs
    try:
        jtorch._logging.set_logs(graph_breaks=True, recompiles=True, inductor=10, guards=True)
        assert {"graph_breaks", "recompiles"} <= config.logs
        jtorch._logging.set_logs(recompiles=True)
        assert "graph_breaks" not in config.logs
        jtorch._logging.set_logs()
        assert not {"graph_breaks", "recompiles"} & config.logs
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
            jtorch._logging.set_logs(nonsense=True)
    finally:
        config.logs = before


def test_every_topic_of_pytorch_is_known():
    import inspect

    from jtorch._logging import _TOPICS, _WITHOUT_EFFECT

    logging = pytest.importorskip("torch._logging")
    names = set(inspect.signature(logging.set_logs).parameters) - {"modules"}
    assert names <= {*_TOPICS, *_WITHOUT_EFFECT}


def test_settings_of_aot_autograd_are_kept():
    from jtorch._functorch import config

    with pytest.raises(AttributeError, match="jtorch._functorch.config has no setting 'enable_autograd_cache'"):
        config.enable_autograd_cache  # noqa: B018
    config.enable_autograd_cache = True
    assert config.enable_autograd_cache
    del config.enable_autograd_cache


def test_memory_under_its_second_name():
    assert jtorch.cuda.memory.memory_allocated is jtorch.cuda.memory_allocated
    with pytest.raises(NotImplementedError, match="save_device_memory_profile"):
        jtorch.cuda.memory._record_memory_history()


def test_default_backends_of_devices():
    dist = jtorch.distributed
    assert dist.get_default_backend_for_device("cpu") == "gloo"
    assert dist.get_default_backend_for_device(jtorch.device("cuda:1")) == "nccl"
    with pytest.raises(ValueError, match="Default backend not registered for device : meta"):
        dist.get_default_backend_for_device("meta")


def test_the_old_name_of_dtensor():
    from jtorch.distributed._tensor import Shard, distribute_tensor, placement_types
    from jtorch.distributed._tensor.device_mesh import init_device_mesh

    assert placement_types.Shard is Shard is jtorch.distributed.tensor.Shard
    assert distribute_tensor is jtorch.distributed.tensor.distribute_tensor
    assert init_device_mesh is jtorch.distributed.init_device_mesh


def test_file_baton_is_held_by_one(tmp_path):
    from jtorch.utils.file_baton import FileBaton

    one, other = FileBaton(tmp_path / "lock"), FileBaton(str(tmp_path / "lock"))
    assert one.try_acquire() and not other.try_acquire()
    one.release()
    other.wait()
    assert other.try_acquire()
    other.release()
    assert not (tmp_path / "lock").exists()


def test_scatter_replicate_apply_gather():
    parallel, devices = nn.parallel, ["cpu", "cpu"]
    jtorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = jtorch.randn(7, 3)
    model(x).square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    parts = parallel.scatter((x, {"scale": 1}), devices)
    assert [tuple(a.shape) for a, _ in parts] == [(4, 3), (3, 3)] and parts[1][1] == {"scale": 1}
    copies = parallel.replicate(model, devices)
    assert not list(copies[0].parameters())
    out = parallel.gather(parallel.parallel_apply(copies, [a for a, _ in parts]), "cpu")
    assert out.shape == (7, 2)
    out.square().sum().backward()
    for p, g in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g.numpy(), rtol=1e-5, atol=1e-6)
    assert not parallel.replicate(model, devices, detach=True)[0][0].weight.requires_grad


def test_steps_of_data_parallel():
    """PyTorch's need a GPU: what they give together is the plain call."""
    model, x = nn.DataParallel(nn.Linear(3, 2)), jtorch.randn(5, 3)
    assert model.src_device_obj == model.module.weight.device
    inputs, kwargs = model.scatter((x,), {"scale": 2}, ["cpu", "cpu"])
    assert [a.shape[0] for (a,) in inputs] == [3, 2] and list(kwargs) == [{"scale": 2}] * 2
    copies = model.replicate(model.module, ["cpu", "cpu"])
    whole = model.gather(model.parallel_apply(copies, inputs, [{}, {}]), "cpu")
    assert jtorch.allclose(whole, model(x), atol=1e-6)
    whole.sum().backward()
    assert model.module.bias.grad.tolist() == [5, 5]
    with jtorch.no_grad():
        assert not model.replicate(model.module, ["cpu"])[0].weight.requires_grad


def test_data_parallel_runs_the_steps_that_a_subclass_overrides():
    class Doubling(nn.DataParallel):
        def scatter(self, inputs, kwargs, device_ids):
            return super().scatter(tuple(2 * x for x in inputs), kwargs, device_ids)

    assert Doubling(nn.Identity(), device_ids=[0])(jtorch.ones(3)).tolist() == [2, 2, 2]


def test_scatter_and_gather_of_nested_arguments():
    from jtorch.nn.parallel.scatter_gather import gather, scatter_kwargs

    pair = collections.namedtuple("pair", "loss rows")
    x = jtorch.arange(6.0).reshape(3, 2)
    args, kwargs = scatter_kwargs((), {"p": pair(None, x)}, ["cpu", "cpu"])
    assert args == ((), ()) and [k["p"].rows.tolist() for k in kwargs] == [[[0, 1], [2, 3]], [[4, 5]]]
    whole = gather([pair(jtorch.tensor(1.0), {"x": x[:2]}), pair(jtorch.tensor(2.0), {"x": x[2:]})], "cpu")
    assert whole.loss.tolist() == [1, 2] and whole.rows["x"].tolist() == x.tolist()
    with pytest.raises(ValueError, match="same number of keys"):
        gather([{"a": x}, {}], "cpu")
    with pytest.raises(ValueError, match="modules 1 is not equal"):
        nn.parallel.parallel_apply([nn.Identity()], [x, x])


@pytest.mark.usefixtures("compiled_at_once")
def test_a_fresh_cache_knows_no_program():
    from jtorch._inductor.utils import fresh_inductor_cache

    def compiled():
        before = jtorch.debug.counters()["compiles"]
        assert (jtorch.ones(5) * 3).sum().item() == 15
        return jtorch.debug.counters()["compiles"] - before

    compiled()
    assert compiled() == 0
    with fresh_inductor_cache():
        assert compiled() == 1
    assert jtorch._inductor.utils.fresh_cache is fresh_inductor_cache


def test_dims_under_pytorchs_name():
    assert part(jtorch, "export.dynamic_shapes").Dim is jtorch.export.Dim
