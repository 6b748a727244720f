"""``compile(dynamic=True)``: few programs for many sizes, and the same results; the ordinary way where unproven."""

import copy
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jtorch as torch
from jtorch import nn
from jtorch.compiler.buckets import bucket
from jtorch.nn import functional as F
from jtorch.trace import resize
from jtorch.trace.jaxapi import x64
from jtorch.trace.prover import Prover
from jtorch.trace.rows import NotProven, Rows

# what is tested is how programs are compiled
pytestmark = pytest.mark.usefixtures("compiled_at_once")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(torch.config, "quick_compile", True)  # programs run once or twice here
    torch.compiler.reset()
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


# --- the proof -------------------------------------------------------------------------------------------------------

BIG, SMALL = 8, 5
TABLE = np.arange(40, dtype=np.float32).reshape(10, 4) / 7
SQUARE = np.arange(16, dtype=np.float32).reshape(4, 4) / 5


def attempt(f, *shapes, kinds=None):
    """The relations proven of ``f``'s results for arguments of these shapes (``...``: the rows), and true of them."""
    rng = np.random.default_rng(0)
    rows, small, big = [], [], []
    for k, shape in enumerate(shapes):
        d = shape.index(...) if ... in shape else None
        full = [SMALL if n is ... else n for n in shape]
        x = rng.standard_normal(full).astype(np.float32)
        if kinds and kinds[k] == "index":
            x = rng.integers(0, 4, full).astype(np.int32)
        small.append(x)
        rows.append(None if d is None else Rows(d))
        big.append(x if d is None else np.concatenate([x, np.repeat(x.take([-1], d), BIG - SMALL, d)], d))
    found = Prover(BIG, SMALL).closed(jax.make_jaxpr(f)(*big), jax.make_jaxpr(f)(*small), rows)
    quick = jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})
    outs = [jax.tree.leaves(quick(*given)) for given in (big, small)]
    for r, a, b in zip(found, *outs, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if r is not None:
            split = (*a.shape[: r.dim], r.outer, BIG, r.inner, *a.shape[r.dim + 1 :])
            a = a.reshape(split)
            if r.copies:
                last = a.take([SMALL - 1], r.dim + 1)
                rest = a.take(range(SMALL, BIG), r.dim + 1)
                np.testing.assert_allclose(rest, np.broadcast_to(last, rest.shape), 1e-5, 1e-6)
            a = a.take(range(SMALL), r.dim + 1).reshape(b.shape)
        np.testing.assert_allclose(a, b, 1e-5, 1e-6)
    return found


PROVEN = {
    "elementwise": (lambda x: jnp.where(x > 0, jnp.exp(x), -x) / (1 + x * x), (..., 4)),
    "with a vector": (lambda x: x * SQUARE[0] + 1, (..., 4)),
    "second dimension": (lambda x: jnp.tanh(x).T, (4, ...)),
    "split and merge": (lambda x: x.reshape(-1, 3).reshape(x.shape[0], 2, 6).reshape(-1), (..., 4, 3)),
    "merge behind": (lambda x: x.reshape(-1, 4) @ SQUARE, (3, ..., 4)),
    "merge in the middle": (lambda x: x.reshape(-1, 4).reshape(3, -1, 4) + 1, (3, ..., 4)),
    "matmul left": (lambda x: x @ SQUARE, (..., 4)),
    "matmul right": (lambda x: SQUARE @ x, (4, ...)),
    "batched matmul": (lambda x, y: x @ y, (..., 3, 4), (..., 4, 2)),
    "attention": (lambda q, k: jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k)), (..., 3, 2, 4), (..., 3, 2, 4)),
    "reductions": (lambda x: (x.sum(1), x.max(-1), jnp.argmax(x, 1), x.std(1, keepdims=True)), (..., 4)),
    "maximum of all": (lambda x: x / jnp.abs(x).max(), (..., 4)),
    "sort": (lambda x: (jnp.sort(x, 1), lax.top_k(x, 2), jnp.cumsum(x, 1)), (..., 4)),
    "slices": (lambda x: (x[:, 1:3], x[:, ::2], lax.dynamic_slice_in_dim(x, 1, 2, 1), x[:, ::-1]), (..., 4)),
    "join": (lambda x: (jnp.concatenate([x, -x], 1), jnp.stack([x, x], 1), jnp.pad(x, ((0, 0), (1, 2)))), (..., 4)),
    "look-up": (lambda i: jnp.asarray(TABLE)[i], (..., 3)),
    "columns": (lambda x: x[:, jnp.array([2, 0])], (..., 4)),
    "take along": (lambda x, i: jnp.take_along_axis(x, i, 1), (..., 4), (..., 2)),
    "writes": (lambda x: (x.at[:, 1].set(0), x.at[:, jnp.array([0, 2])].add(1.0)), (..., 4)),
    "positions": (lambda x: x + jnp.arange(x.shape[0])[:, None], (..., 4)),
    "made rows": (lambda x: jnp.zeros((x.shape[0], 4)) + jnp.ones((x.shape[0], 1)) * x, (..., 4)),
    "constant": (lambda x: SQUARE.sum() + 0 * SQUARE, (..., 4)),
    "convolution": (
        lambda x: lax.conv_general_dilated(x, jnp.ones((2, 3, 2, 2)), (1, 1), "SAME"), (..., 3, 5, 5)),
    "pooling": (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2), (1, 1, 2), "VALID"), (..., 3, 6)),
    "scan": (
        lambda x: lax.scan(lambda h, a: (jnp.tanh(h @ SQUARE + a), h), jnp.zeros((x.shape[1], 4)), x), (3, ..., 4)),
    "loop": (lambda x: lax.fori_loop(0, 3, lambda i, h: h @ SQUARE / 9 + x, x), (..., 4)),
    "branches": (lambda x: lax.cond(SQUARE.sum() > 0, lambda: x + 1, lambda: x - 1), (..., 4)),
    "nested": (lambda x: jax.checkpoint(jax.jit(lambda y: jax.nn.relu(y) * 2))(x), (..., 4)),
    "linear algebra": (lambda x: jnp.linalg.cholesky(x @ x.mT + 9 * jnp.eye(3)), (..., 3, 3)),
    "fft": (lambda x: jnp.fft.rfft(x).real, (..., 8)),
}  # fmt: skip

UNPROVEN = {
    "sum": (lambda x: x - x.sum(0), (..., 4)),
    "mean": (lambda x: x - x.mean(0), (..., 4)),
    "divisor": (lambda x: x / x.shape[0], (..., 4)),
    "softmax": (lambda x: jax.nn.softmax(x, 0), (..., 4)),
    "sort": (lambda x: jnp.sort(x, 0), (..., 4)),
    "cumulative": (lambda x: jnp.cumsum(x, 0), (..., 4)),
    "gram": (lambda x: x @ x.T, (..., 4)),
    "contraction": (lambda x: x.T @ x, (..., 4)),
    "pairs": (lambda x: x[:, None] - x[None], (..., 4)),
    "flipped": (lambda x: x[::-1], (..., 4)),
    "shifted": (lambda x: jnp.concatenate([x[1:], x[:1]]), (..., 4)),
    "last": (lambda x: x[-1], (..., 4)),
    "every other": (lambda x: x[::2], (..., 4)),
    "mixed rows": (lambda x: x.reshape(4, -1), (..., 4)),
    "transposed merge": (lambda x: x.T.reshape(-1, 2), (..., 4)),
    "scatter": (lambda i: jnp.zeros(4).at[i].add(1.0), (...,)),
    "scan over rows": (lambda x: lax.scan(lambda h, a: (h + a, h), jnp.zeros(4), x)[1], (..., 4)),
    "convolution over rows": (
        lambda x: lax.conv_general_dilated(x[None], jnp.ones((2, 4, 3)), (1,), "SAME",
                                           dimension_numbers=("NWC", "OIW", "NWC")), (..., 4)),
    "window over rows": (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (1, 1), "SAME"), (..., 4)),
    "which row": (lambda x: jnp.argmax(x, 0), (..., 4)),
    "most of positions": (lambda x: x + jnp.arange(x.shape[0]).max(), (..., 4)),
    "random": (lambda x: x + jax.random.normal(jax.random.key(0), (x.shape[0], 4)), (..., 4)),
    "a loop that ends by its sum": (
        lambda x: lax.while_loop(lambda h: h.sum() < 9, lambda h: h + 1, x), (..., 4)),
    "batch norm": (lambda x: (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True), (..., 3, 4)),
    "callback": (lambda x: jax.pure_callback(lambda a: a, jax.ShapeDtypeStruct(x.shape, x.dtype), x), (..., 4)),
    "inverse": (lambda x: jnp.fft.fft(x, axis=0).real if x.ndim == 1 else x, (...,)),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVEN)
def test_proven(name):
    f, *shapes = PROVEN[name]
    kinds = {"look-up": ["index"], "take along": ["", "index"]}.get(name)
    found = attempt(f, *shapes, kinds=kinds)
    assert all(r is None for r in found) if name == "constant" else all(found)


@pytest.mark.parametrize("name", UNPROVEN)
def test_unproven(name):
    f, *shapes = UNPROVEN[name]
    with pytest.raises(NotProven):
        attempt(f, *shapes, kinds=["index"] if name == "scatter" else None)


def test_buckets():
    assert [bucket(n) for n in (1, 2, 3, 5, 9, 16, 17, 24, 25, 33, 49, 100, 1025)] == [
        1, 2, 4, 8, 16, 16, 24, 24, 32, 48, 64, 128, 1536]  # fmt: skip
    assert all(n <= bucket(n) < 2 * n for n in range(1, 3000))


@pytest.mark.parametrize("dim", [0, 1])
def test_padding_and_cutting_on_the_host_and_on_a_device_are_the_same(dim):
    x = torch.arange(12).view(3, 4).bfloat16()
    padded = resize.pad(x._value(), dim, 6)
    array = np.asarray(x._value().array)
    with x64(True):
        assert np.array_equal(padded.array, resize._padded(array, dim, 6))
        assert np.array_equal(padded.array, np.pad(array, ((0, 0), (0, 2)) if dim else ((0, 3), (0, 0)), mode="edge"))
        assert np.array_equal(resize.cut(padded, dim, x.shape[dim]).array, array)
        assert np.array_equal(resize._cut(padded.array, dim, x.shape[dim]), array)


# --- compiled functions ----------------------------------------------------------------------------------------------


def function(compiled):
    return getattr(compiled, "_compiled", compiled)


def padded(compiled) -> list[int]:
    """The sizes that are run by the program of another size."""
    plans = [p for _, plans in function(compiled)._buckets.families.values() for p in plans]
    return sorted({n for p in plans for c in p.cases for n, s in c.sized.items() if n != s.bucket})


def same(a, b) -> None:
    flat = [torch.utils._pytree.tree_flatten(x) for x in (a, b)]
    assert flat[0][1] == flat[1][1]
    for x, y in zip(flat[0][0], flat[1][0], strict=True):
        if isinstance(y, torch.Tensor):
            assert x.shape == y.shape and x.dtype is y.dtype and x.stride() == y.stride()
            np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), 1e-5, 1e-5)
        else:
            assert x == y


def check(fn, make, sizes=(5, 3, 7, 6), **options):
    """Compile ``fn``, compare calls at these sizes, and return what was compiled."""
    compiled = torch.compile(fn, dynamic=True, **options)
    with torch.no_grad():
        for n in sizes:
            args = make(n)
            same(compiled(*args), fn(*args))
    return compiled


def rows(*shape):
    return lambda n: (torch.randn(n, *shape),)


def test_forty_sizes_cost_few_programs():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(), nn.Linear(8, 3)).eval()
    compiled = torch.compile(model, dynamic=True)
    x = torch.randn(40, 4)
    inputs = [torch.tensor(x[:n].tolist()) for n in range(1, 41)]
    with torch.no_grad():
        expected = model(x).numpy()
        before = torch.debug.counters()["compiles"]
        for _ in range(2):
            for n, given in enumerate(inputs, 1):
                np.testing.assert_allclose(compiled(given).numpy(), expected[:n], 1e-5, 1e-5)
    # sizes 1 and 2, which showed what varies, and the buckets: 4, 8, 16, 24, 32, 48
    assert torch.debug.counters()["compiles"] - before == 8
    assert padded(compiled) == [n for n in range(3, 41) if n != bucket(n)]
    assert function(compiled).unpadded is None


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.position = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.norm, self.qkv, self.head = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 11)
        self.register_buffer("mask", torch.tril(torch.ones(6, 6)).view(1, 1, 6, 6))

    def forward(self, ids):
        batch, length = ids.size()
        x = self.embed(ids) + self.position(torch.arange(length))
        q, k, v = (t.view(batch, length, 2, 4).transpose(1, 2) for t in self.qkv(self.norm(x)).split(8, dim=2))
        scores = (q @ k.transpose(-2, -1)).masked_fill(self.mask[:, :, :length, :length] == 0, -torch.inf)
        x = x + (scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(batch, length, 8)
        return {"logits": self.head(x), "batch": batch, "flat": x.view(-1, 8), "more": [x.mean(1), self.mask.sum()]}


def test_transformer():
    compiled = check(Transformer().eval(), lambda n: (torch.randint(0, 11, (n, 6)),))
    assert padded(compiled) == [6, 7]


def test_convolutional_network_and_recurrent_network():
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    assert padded(check(nn.Sequential(*layers, nn.Linear(4, 2)).eval(), rows(3, 8, 8))) == [6, 7]
    assert padded(check(nn.LSTM(4, 3, batch_first=True), rows(5, 4))) == [6, 7]
    assert padded(check(nn.LSTM(4, 3), lambda n: (torch.randn(5, n, 4),))) == [6, 7]


def test_what_was_traced_before_does_not_matter():
    """Operations traced while a function is watched name more than those that were traced already: that of a linear
    layer calls ``affine``, which is an attribute of the other layer."""
    model = nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 2)).eval()
    with torch.no_grad():
        for n in (5, 3):
            model(torch.randn(n, 13))
    assert padded(check(model, rows(13))) == [6, 7]


def test_sorting_gathering_and_losses_by_row():
    def fn(x, y):
        top = x.topk(2, dim=1)
        picked = x.gather(1, x.argmax(1, keepdim=True))
        return *top, picked, F.cross_entropy(x, y, reduction="none"), F.one_hot(y, 5), x.sort(-1).values[:, ::2]

    assert padded(check(fn, lambda n: (torch.randn(n, 5), torch.randint(0, 5, (n,))))) == [6, 7]


def test_constants_made_by_size():
    def fn(x):
        scale = torch.tensor([float(i) for i in range(x.shape[0])])
        return x * scale.unsqueeze(1) + torch.zeros(x.shape[0], 4) + torch.tensor([float(x.shape[0])])

    assert padded(check(fn, rows(4))) == [6, 7]


def test_other_dimensions_and_layouts():
    compiled = check(lambda x, y: (x.transpose(0, 1).relu(), {"y": [y + 1, (y.T @ y).diagonal()]}),
                     lambda n: (torch.randn(3, n), torch.randn(2, 2)))  # fmt: skip
    assert padded(compiled) == [6, 7]
    compiled = check(lambda x: x.sum(1), lambda n: (torch.randn(4, n).T,))  # strides vary with the size
    assert padded(compiled) == []


REFUSED = {
    "mean over the batch": (lambda x: x - x.mean(0), "reduce_sum"),
    "sort over the batch": (lambda x: x.sort(0).values, "combines rows"),
    "softmax over the batch": (lambda x: x.softmax(0), "reduce_sum"),
    "gram matrix": (lambda x: x @ x.T, "dot_general"),
    "divided by the size": (lambda x: x.sum(1) / x.shape[0], "a number .* depends on the size"),
    "random": (lambda x: x + 0 * torch.rand_like(x), "random"),
    "another count of operations": (lambda x: sum(x[i : i + 1].sum(1) for i in range(x.shape[0])), "other operations"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, capsys):
    fn, why = REFUSED[name]
    torch.config.logs = frozenset(("graph_breaks",))
    try:
        compiled = check(fn, rows(4), (5, 7, 9, 10, 11))
    finally:
        torch.config.logs = frozenset()
    assert padded(compiled) == []
    said = [line for line in capsys.readouterr().err.splitlines() if "a program of its own" in line]
    assert len(said) == 1
    assert re.search(why, function(compiled).unpadded) and re.search(why, said[0])


def test_sizes_that_take_another_branch_go_their_own_way():
    compiled = check(lambda x: x * 2 if x.shape[0] % 2 else x.exp(), rows(4), (5, 7, 9, 10, 11, 12, 11))
    assert padded(compiled) == [9, 11]
    compiled = check(lambda x: x * 2 if x.sum() > 100 else x, rows(4))  # it reads a value, and is not captured
    assert padded(compiled) == [] and "a value is needed" in function(compiled).reason


def test_batch_norm_in_training_writes_its_statistics_once_per_call():
    plain = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model = copy.deepcopy(plain)
    compiled = torch.compile(model, dynamic=True)
    with torch.no_grad():
        for n in (5, 3, 7, 6):
            x = torch.randn(n, 4)
            same(compiled(x), plain(x))
    same(dict(model.state_dict()), dict(plain.state_dict()))
    assert padded(compiled) == [] and "writes to tensors" in function(compiled).unpadded
    model.eval(), plain.eval()
    with torch.no_grad():
        for n in (5, 3, 7, 6):
            x = torch.randn(n, 4)
            same(compiled(x), plain(x))
    assert padded(compiled)  # the other way through it is another case


def test_training_steps_are_left_alone():
    results = []
    for dynamic in (None, True):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        compiled = torch.compile(step, dynamic=dynamic)
        results.append([compiled(torch.randn(n, 4)).item() for n in (6, 6, 5, 7, 6)] + [*model.parameters()])
        if dynamic:
            assert padded(compiled) == []
    same(*results)
    model = nn.Linear(4, 2)  # gradients flow through the results of a module
    compiled = torch.compile(model, dynamic=True)
    for n in (6, 5, 7, 3, 5):
        x = torch.randn(n, 4, requires_grad=True)
        compiled(x).sum().backward()
        assert x.grad.shape == (n, 4)
    assert padded(compiled) == [] and "autograd history" in function(compiled).unpadded
    with torch.no_grad():
        for n in (6, 5, 7, 3, 5):
            compiled(torch.randn(n, 4))
    assert padded(compiled) != []


def test_whatever_changes_is_noticed():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.factor = nn.Linear(4, 2), 2.0

        def forward(self, x):
            return self.linear(x) * self.factor

    model = Scaled().eval()
    compiled = check(model, rows(4))
    sizes = padded(compiled)

    def again():
        with torch.no_grad():
            for n in (*sizes, *sizes):
                x = torch.randn(n, 4)
                same(compiled(x), model(x))

    with torch.no_grad():
        model.linear.weight.mul_(3.0)
    again()
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})
    again()
    model.factor = 5.0
    again()
    model.linear.bias = nn.Parameter(torch.randn(2))
    again()
    model.linear = nn.Sequential(nn.Linear(4, 2), nn.Tanh())
    again()
    handle = model.register_forward_hook(lambda module, args, out: out + 1)
    again()
    handle.remove()
    again()


def test_what_only_some_sizes_read_is_noticed():
    table = {"small": 1.0, "large": 1.0}

    def large():
        return table["large"]

    def fn(x):
        return x * (large() if x.shape[0] > 8 else table["small"])

    compiled = torch.compile(fn, dynamic=True)
    for n in (3, 5, 6, 7, 9, 10, 11, 10):
        compiled(torch.ones(n, 2))
    table["large"] = 4.0
    for n in (3, 10, 10, 9, 6, 11):
        assert compiled(torch.ones(n, 2)).unique().tolist() == [4.0 if n > 8 else 1.0]


def test_code_runs_only_at_sizes_the_program_uses():
    seen = []

    def fn(x):
        seen.append(x.shape[0])
        return x * 2

    compiled = torch.compile(fn, dynamic=True)
    for n in (3, 5, 6, 7, 6, 5):
        assert torch.equal(compiled(torch.ones(n, 2)), torch.full((n, 2), 2.0))
    assert seen == [3, 5, 6, 7, 6, 5]


def test_bad_indices_raise_and_padding_raises_none():
    table = torch.randn(7, 3)
    compiled = check(lambda i: table[i], lambda n: (torch.randint(1, 7, (n,)),))
    assert padded(compiled) == [6, 7]
    with pytest.raises(IndexError):
        compiled(torch.tensor([1, 2, 9])).tolist()
    position = torch.randn(7, 3)  # of the padded rows, the last has no entry
    compiled = check(lambda x: x + position[torch.arange(x.shape[0])], rows(3))
    assert padded(compiled) == []


def test_arguments_given_twice_and_views():
    compiled = torch.compile(lambda a, b: a * 2 + b, dynamic=True)
    data = torch.arange(40.0).view(10, 4)
    for n in (3, 5, 6, 7, 6, 3):
        x = torch.randn(n, 4)
        same(compiled(x, x), x * 3)
        same(compiled(x, -x), x)
        for start in (0, 2):
            part = data[start : start + n]
            same(compiled(part, part + 1), part * 3 + 1)
    compiled = torch.compile(lambda x: x.view(x.shape[0], 2, 2).sum(1), dynamic=True)
    for start, n in zip((0, 1, 2, 3, 0, 1, 2), (3, 5, 6, 7, 6, 3, 7), strict=True):
        same(compiled(data[start : start + n]), data[start : start + n].view(n, 2, 2).sum(1))
    assert padded(compiled) == [3, 6, 7]


def test_empty_batches_and_single_rows():
    compiled = check(nn.Linear(4, 2).eval(), rows(4), (5, 0, 1, 3, 6, 1, 0, 7))
    assert padded(compiled) == [6, 7]


def test_mark_dynamic():
    for dynamic, expected in ((None, [3, 6]), (True, [3, 6]), (False, None)):
        compiled = torch.compile(lambda x: x.exp(), dynamic=dynamic)
        for n in (6, 6, 3, 3, 6):
            x = torch.randn(n, 2)
            torch._dynamo.mark_dynamic(x, -2)
            same(compiled(x), x.exp())
        assert compiled._buckets is None if expected is None else padded(compiled) == expected


def test_default_and_other_backends_stay_as_they_are():
    for options in ({}, {"dynamic": False}, {"dynamic": True, "backend": "eager"}):
        assert torch.compile(torch.sin, **options)._buckets is None


def test_fullgraph_copies_and_pickles():
    model = nn.Linear(4, 2).eval()
    compiled = check(model, rows(4), fullgraph=True)
    assert padded(compiled) == [6, 7]
    for other in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        with torch.no_grad():
            for n in (5, 3, 7, 6):
                x = torch.randn(n, 4)
                same(other(x), model(x))
        assert padded(other)


STEPS = {
    "relu": torch.relu,
    "softmax": lambda x: x.softmax(-1),
    "softmax of rows": lambda x: x.softmax(0),
    "centred": lambda x: x - x.mean(0, keepdim=True),
    "scaled": lambda x: x / (1 + x.abs().max()),
    "transposed": lambda x: x.transpose(0, -1),
    "merged": lambda x: x.flatten(0, 1) if x.dim() > 1 else x.unsqueeze(1),
    "flat": lambda x: x.reshape(x.shape[0], -1),
    "split": lambda x: x.reshape(*x.shape[:-1], -1, 2) if x.shape[-1] % 2 == 0 else x,
    "flipped": lambda x: x.flip(-1),
    "flipped rows": lambda x: x.flip(0),
    "sorted": lambda x: x.sort(-1).values,
    "numbered": lambda x: x + torch.arange(x.shape[0]).view(-1, *[1] * (x.dim() - 1)),
    "joined": lambda x: torch.cat([x, -x], -1),
    "joined rows": lambda x: torch.cat([x, -x], 0),
    "stacked": lambda x: torch.stack([x, x * 2], 1) if x.dim() < 4 else x,
    "cut": lambda x: x[..., :2],
    "picked": lambda x: x.gather(-1, x.argmax(-1, keepdim=True)),
    "spread": lambda x: x.unsqueeze(1).expand(-1, 3, *x.shape[1:]) if x.dim() < 4 else x,
    "squares": lambda x: x @ x.mT if x.dim() == 3 else x,
    "by size": lambda x: x / x.shape[0],
    "first row": lambda x: x - x[:1],
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_chains_of_steps(seed):
    rng = np.random.default_rng(seed)
    steps = [STEPS[k] for k in rng.choice(list(STEPS), rng.integers(1, 5))]
    shape = [int(n) for n in rng.choice([1, 2, 3, 4, 8], rng.integers(0, 3))]

    def fn(x):
        for step in steps:
            x = step(x)
        return x + 0

    check(fn, rows(*shape), [int(n) for n in rng.integers(2, 10, 6)])
