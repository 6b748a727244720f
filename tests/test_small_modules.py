"""Modules beside the main namespaces: hooks on saved tensors, pytrees with paths, Sobol points, flop counts, selective
checkpoints, more of tensorboard and benchmark, devices that are not there."""

from __future__ import annotations

import collections
import functools
import importlib
import os

import numpy as np
import pytest

import jtorch

from .both import Table, check

table = Table()


def part(library, name):
    return importlib.import_module(f"{library.__name__}.{name}")


@table
def saved_tensors_hooks(torch):
    graph, log = torch.autograd.graph, []
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([2.0, 3.0], requires_grad=True)

    def pack(t):
        log.append("pack")
        return t

    def unpack(t):
        log.append("unpack")
        return t * 2

    with graph.saved_tensors_hooks(pack, unpack):
        z = (x * y).sum()
    z.backward()

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx, g):
            (a,) = ctx.saved_tensors
            return 2 * a * g

    with graph.save_on_cpu():
        w = Square.apply(x).exp().sum()
    found = [log, x.grad.clone(), y.grad.clone()]
    w.backward()
    with graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        q = (x**3).sum()
    (g,) = torch.autograd.grad(q, x, create_graph=True)
    g.sum().backward()
    try:
        with graph.disable_saved_tensors_hooks("not here"), graph.saved_tensors_hooks(pack, unpack):
            pass
    except RuntimeError as error:
        found.append(str(error))
    return [*found, x.grad]


@table
def multi_grad_hooks(torch):
    graph, seen = torch.autograd.graph, []
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    handle = graph.register_multi_grad_hook((a, b), lambda grads: seen.append(list(grads)))
    (a * 2 + b * 3).sum().backward()
    (a * 2).sum().backward()
    handle.remove()
    (a + b).sum().backward()
    with graph.register_multi_grad_hook((a, b), lambda grad: seen.append(grad), mode="any"):
        (a * 2 + b * 2).sum().backward()
    return seen


@table
def pytree_paths(torch):
    pytree = part(torch, "utils._pytree")
    Pair = collections.namedtuple("Pair", "a b")
    tree = {"x": [1, Pair(2, (3,))], "y": collections.deque([4])}
    found = pytree.tree_leaves_with_path(tree)
    mapped = pytree.tree_map_with_path(lambda path, x: pytree.keystr(path) + str(x), tree)
    spec = pytree.tree_structure(tree)
    return [
        [(pytree.keystr(path), leaf) for path, leaf in found], repr(mapped), list(pytree.tree_iter(tree)),
        [pytree.key_get(tree, path) for path, _ in found], spec.num_leaves, spec.num_children,
        pytree.tree_map_only(int, lambda n: -n, [1, "a"]), pytree.tree_leaves([torch.Size([2, 3])]),
        list(pytree.tree_map(str, torch.zeros(2, 3).shape)), pytree.tree_map(abs, {"s": torch.Size([2, 3])})["s"],
        pytree.arg_tree_leaves(1, [2], k=3),
        pytree.tree_all(lambda n: n > 0, tree), pytree.tree_any_only(int, lambda n: n > 3, tree),
        list in pytree.SUPPORTED_NODES, isinstance(pytree.tree_structure(1), pytree.LeafSpec),
        isinstance(spec, pytree.LeafSpec),
    ]  # fmt: skip


def test_making_a_leaf_spec_is_deprecated():
    def program(torch):
        with pytest.warns(FutureWarning) as caught:
            leaf = part(torch, "utils._pytree").LeafSpec()
        return [leaf.is_leaf(), leaf.num_leaves, *(str(w.message) for w in caught)]

    check(program)


@table
def pytree_of_a_dict_of_ones_own(torch):
    pytree = part(torch, "utils._pytree")
    Output = type("Output", (collections.OrderedDict,), {})
    pytree.register_pytree_node(
        Output, lambda x: (list(x.values()), list(x)), lambda parts, keys: Output(zip(keys, parts, strict=True)),
        flatten_with_keys_fn=pytree._dict_flatten_with_keys, serialized_type_name="tests.Output",
    )  # fmt: skip
    try:
        paths = [(pytree.keystr(path), leaf) for path, leaf in pytree.tree_leaves_with_path([Output(a=1, b=2)])]
        return [paths, dict(pytree.tree_map(lambda x: x + 1, Output(a=1))), pytree._is_leaf(3), pytree._is_leaf([3])]
    finally:
        del pytree.SUPPORTED_NODES[Output]


@table
def questions_of_libraries(torch):
    """What libraries ask before they choose among ways to compute the same."""
    active, seen = torch._C._are_functorch_transforms_active, []

    def watched(x):
        seen.append(active())
        return x.sum()

    torch.vmap(watched)(torch.ones(2, 3))
    part(torch, "func").grad(watched)(torch.ones(3))
    x = torch.ones(2)
    dual = part(torch, "autograd.forward_ad").unpack_dual(x)
    states = part(torch, "utils.checkpoint").get_device_states(x, [x])
    part(torch, "utils.checkpoint").set_device_states(*states)
    return [
        active(), seen, dual.tangent, dual.primal is x, states, part(torch, "hub").urlparse("https://a.b/c").path,
        part(torch, "_subclasses.fake_tensor").is_fake(x), part(torch, "fx.experimental.proxy_tensor").get_proxy_mode(),
        part(torch, "nn.modules.transformer")._get_activation_fn("relu")(-x),
        part(torch, "serialization").DEFAULT_PROTOCOL,
        part(torch, "jit.annotations").BroadcastingList2 is not None, torch.nn.modules.module._EXTRA_STATE_KEY_SUFFIX,
        part(torch, "_dynamo.utils").is_compile_supported("cpu"),
    ]  # fmt: skip


@table
def masks_by_vmap(torch):
    context = part(torch, "_dynamo._trace_wrapped_higher_order_op").TransformGetItemToIndex
    lengths = torch.tensor([1, 3])
    with context():
        row = torch.vmap(lambda b, k: k < lengths[b], (None, 0))
        return torch.vmap(row, (0, None))(torch.arange(2), torch.arange(4))


@table
def selective_checkpoint(torch):
    module = part(torch, "utils.checkpoint")
    seen = []

    def policy(ctx, op, *args, **kwargs):
        seen.append((ctx.is_recompute, str(op)))
        save = op == torch.ops.aten.mm.default
        return module.CheckpointPolicy.MUST_SAVE if save else module.CheckpointPolicy.PREFER_RECOMPUTE

    w = (torch.arange(9.0).reshape(3, 3) / 9).requires_grad_()
    x = torch.ones(3, 3, requires_grad=True)

    def function(a):
        return torch.sin(torch.mm(a, w)).mm(w).exp().sum()

    contexts = functools.partial(module.create_selective_checkpoint_contexts, policy)
    out = module.checkpoint(function, x * 0.1, use_reentrant=False, context_fn=contexts)
    out.backward()
    listed = functools.partial(module.create_selective_checkpoint_contexts, [torch.ops.aten.mm.default])
    module.checkpoint(function, x * 0.1, use_reentrant=False, context_fn=listed).backward()
    return [out, x.grad, w.grad, seen[0], (False, "aten.mm.default") in seen, len(module.detach_variable((x, 1)))]


@table
def flop_counts(torch):
    Counter = part(torch, "utils.flop_counter").FlopCounterMode
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    with Counter(display=False) as a:
        model(torch.ones(3, 4)).sum().backward()
    x = torch.ones(2, 3, 8, 8, requires_grad=True)
    with Counter(display=False) as b:
        torch.nn.Conv2d(3, 6, 3, padding=1, stride=2)(x).sum().backward()
    with Counter(display=False) as c:
        torch.nn.ConvTranspose2d(3, 6, 3, stride=2)(x).sum().backward()
    with Counter(display=False) as d:
        torch.bmm(torch.ones(2, 3, 4), torch.ones(2, 4, 5)) + 1
    counts = [{str(op): n for op, n in x.get_flop_counts()["Global"].items()} for x in (a, b)]
    return [x.get_total_flops() for x in (a, b, c, d)] + [counts, sorted(a.get_flop_counts())]


@table
def swapped(torch):
    a, b = torch.ones(2), torch.nn.Parameter(torch.zeros(3))
    torch.utils.swap_tensors(a, b)
    return [type(a).__name__, a, b, a.requires_grad]


@table
def names(torch):
    c = part(torch, "_C")
    return [
        isinstance(3, torch.SymInt), torch.legacy_contiguous_format is torch.contiguous_format, repr(torch.jagged),
        torch.get_device_module("cpu").__name__.rpartition(".")[2], c._nn._parse_to("cpu", torch.float16)[:3],
        isinstance(torch.ones(1), torch.autograd.Variable), torch._shape_as_tensor(torch.ones(2, 3)),
        torch.ops.aten.alias(torch.ones(2)), torch.ops.aten.slice(torch.arange(5), 0, 1, 3),
        torch.ops.aten.index(torch.ones(3, 3), [None, torch.tensor([0, 1])]),
        torch._int_mm(torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8)),
        torch.xpu.is_available(), torch.xpu.device_count(), torch.mps.is_available(), c._get_tracing_state() is None,
        torch.cuda._initialized is torch.cuda.is_initialized(),
        part(torch, "hub")._get_torch_home() == os.path.expanduser("~/.cache/torch"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", table)
def test_programs(name, monkeypatch):
    for variable in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    check(table[name])


@pytest.mark.parametrize(
    "dimension, scramble, seed", [(1, False, None), (50, False, None), (3, True, 5), (40, True, 0), (6, True, None)]
)
def test_sobol_points_are_bit_equal(dimension, scramble, seed):
    torch = pytest.importorskip("torch")
    for library in (jtorch, torch):
        library.manual_seed(1)
    ours = part(jtorch, "quasirandom").SobolEngine(dimension, scramble, seed)
    theirs = torch.quasirandom.SobolEngine(dimension, scramble, seed)
    for n in (1, 5, 8):
        np.testing.assert_array_equal(ours.draw(n).numpy(), theirs.draw(n).numpy())
    ours.fast_forward(7)
    theirs.fast_forward(7)
    np.testing.assert_array_equal(
        ours.draw(3, dtype=jtorch.float64).numpy(), theirs.draw(3, dtype=torch.float64).numpy()
    )
    np.testing.assert_array_equal(ours.reset().draw_base2(2).numpy(), theirs.reset().draw_base2(2).numpy())
    assert repr(ours) == repr(theirs)
    with pytest.raises(ValueError, match="power of 2"):
        ours.draw_base2(4)


def test_tensorboard_messages(tmp_path):
    tensorboard = part(jtorch, "utils.tensorboard")
    model = jtorch.nn.Sequential(jtorch.nn.Linear(3, 4), jtorch.nn.ReLU())
    with tensorboard.SummaryWriter(tmp_path) as writer:
        writer.add_images("images", jtorch.rand(5, 3, 4, 4), 1)
        writer.add_audio("sound", jtorch.rand(100) * 2 - 1, 1, sample_rate=8000)
        writer.add_hparams({"lr": 0.1, "n": 3, "s": "x", "b": True}, {"metric": 1.0}, run_name="run")
        writer.add_graph(model, jtorch.ones(2, 3))
        writer.add_embedding(jtorch.rand(4, 3), metadata=list("abcd"), label_img=jtorch.rand(4, 3, 2, 2), global_step=2)
        writer.add_pr_curve("curve", jtorch.tensor([0, 1, 1, 0]), jtorch.tensor([0.1, 0.9, 0.4, 0.6]), 0)
        with pytest.raises(TypeError, match="dictionary"):
            writer.add_hparams([], {})
    (events,) = tmp_path.glob("events*")
    data = events.read_bytes()
    for text in (b"RIFF", b"\x89PNG", b"Sequential/0", b"in_features=3", b"pr_curves"):
        assert text in data, text
    (run,) = (tmp_path / "run").glob("events*")
    assert b"_hparams_/session_start_info" in run.read_bytes()
    assert (tmp_path / "00002/default/tensors.tsv").read_text().count("\n") == 4
    assert 'metadata_path: "00002/default/metadata.tsv"' in (tmp_path / "projector_config.pbtxt").read_text()


def test_benchmark_compare():
    benchmark = part(jtorch, "utils.benchmark")
    rows = [
        benchmark.Measurement(1, [1e-6 * n * k] * 5, label="sum", sub_label=f"n={n}", description=d)
        for n in (1, 10) for d, k in (("small", 1), ("large", 3))
    ]  # fmt: skip
    compare = benchmark.Compare(rows)
    compare.trim_significant_figures()
    text = str(compare)
    assert " sum " in text and "n=10" in text and "10     |  30" in text and "(us)" in text
    compare.colorize(rowwise=True)
    assert "\033[32m" in str(compare)
    with pytest.raises(ValueError, match="Measurement"):
        compare.extend_results([1])
    timed = benchmark.Timer("x + 1", globals={"x": jtorch.ones(2)}).adaptive_autorange(
        min_run_time=0.001, max_run_time=0.01
    )
    assert timed.median > 0


def test_absent_devices_say_so():
    for name in ("get_device_name", "current_device", "get_rng_state", "synchronize"):
        with pytest.raises(RuntimeError, match="no xpu devices"):
            getattr(jtorch.xpu, name)()
    assert jtorch.xpu.memory_allocated() == 0 and jtorch.mps.driver_allocated_memory() == 0
    jtorch.xpu.manual_seed_all(0)
    with pytest.raises(RuntimeError, match="no mps devices"):
        jtorch.mps.get_rng_state()
    with pytest.raises(RuntimeError, match="device_module"):
        jtorch.get_device_module("meta")
